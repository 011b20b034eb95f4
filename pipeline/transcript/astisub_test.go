package transcript

import (
	"html"
	"strings"
	"testing"
	"time"

	"github.com/asticode/go-astisub"
	"pgregory.net/rapid"
)

// TestAstisub: a reader that others wrote finds the cues that were meant, with
// their times, their text and who said it, whatever that is.
func TestAstisub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Document{Segments: rapid.SliceOfN(rapid.Custom(anySegment), 0, 8).Draw(t, "segments"), Complete: true}
		for i := range d.Segments {
			p := &d.Segments[i].Participant
			// It takes names for the attributes of an HTML tag, in which these mean
			// something; in WebVTT they do not.
			p.Name = strings.NewReplacer("/", "", "=", "").Replace(p.Name)
		}
		Sort(d.Segments)
		checkAstisub(t, d)
	})
}

func TestAstisubLong(t *testing.T) {
	const hour = 3_600_000
	long := strings.Repeat("Donaudampfschiffahrt <3 ", 2000)
	d := Document{Complete: true, Segments: []Segment{
		seg(Participant{ID: "r", Name: "\u202eעברית & العربية"}, 0, 0, 5000, "שלום\u200f --> 👩🏽\u200d🚀 <v Nobody>"),
		seg(Participant{ID: "l", Name: strings.Repeat("Long ", 30)}, 0, 1000, 2000, long),
		seg(ada, 0, 1000, 2000, "at the same time, and as long"),
		seg(bob, 0, 123*hour, 1000*hour+59, "on and on"),
	}}
	Sort(d.Segments)
	checkAstisub(t, d)
}

func checkAstisub(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, d Document) {
	texts := lines(d.Segments)
	want := cues(d.Segments, texts)
	read := func(name string, s *astisub.Subtitles, err error) []*astisub.Item {
		if err != nil || len(s.Items) != len(want) {
			t.Fatalf("%s: %d cues, %d were meant (%v)", name, len(s.Items), len(want), err)
		}
		for i, item := range s.Items {
			c := want[i]
			if item.StartAt != time.Duration(c.start)*time.Millisecond || item.EndAt != time.Duration(c.end)*time.Millisecond || len(item.Lines) != 1 {
				t.Fatalf("%s: cue %d: %v to %v with %d lines, want %d to %d", name, i, item.StartAt, item.EndAt, len(item.Lines), c.start, c.end)
			}
		}
		return s.Items
	}
	// It turns some character references back, and leaves others to us.
	plain := func(s string) string { return html.UnescapeString(html.UnescapeString(s)) }

	vtt, err := astisub.ReadFromWebVTT(strings.NewReader(written(t, WriteVTT, d)))
	for i, item := range read("vtt", vtt, err) {
		voice := speaker(d.Segments[want[i].segment].Participant)
		if got := item.Lines[0].VoiceName; plain(got) != plain(voice) {
			t.Fatalf("cue %d is said by %q, want %q", i, got, voice)
		}
		if got, said := item.String(), want[i].text(texts); plain(got) != plain(said) {
			t.Fatalf("cue %d says %q, want %q", i, got, said)
		}
	}
	srt, err := astisub.ReadFromSRT(strings.NewReader(written(t, WriteSRT, d)))
	for i, item := range read("srt", srt, err) {
		said := escapeSRT.Replace(speaker(d.Segments[want[i].segment].Participant) + ": " + want[i].text(texts))
		if got := item.String(); plain(got) != plain(said) || item.Index != i+1 {
			t.Fatalf("cue %d has number %d and says %q, want %q", i+1, item.Index, got, said)
		}
	}
}
