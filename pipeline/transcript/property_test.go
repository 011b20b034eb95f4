package transcript

import (
	"fmt"
	"html"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSort(t *testing.T) {
	want := []Segment{
		{ID: "A.3", Track: "A", StartMS: 1, EndMS: 2},
		{ID: "A.9", Track: "A", StartMS: 1, EndMS: 3},
		{ID: "A.10", Track: "A", StartMS: 1, EndMS: 3},
		{ID: "B.1", Track: "B", StartMS: 1, EndMS: 3},
		{ID: "A.0", Track: "A", StartMS: 5, EndMS: 5},
	}
	rapid.Check(t, func(t *rapid.T) {
		got := rapid.Permutation(want).Draw(t, "segments")
		Sort(got)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v", got)
		}
	})
}

// nasty draws text that is made to break out of where it is put.
func nasty() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"<", ">", "&", "&amp;", "-->", "\n", "\r\n\r\n", "\x00", "</v>", "<v X>", "{\\an8}", "NOTE", "WEBVTT",
			"00:00:00.000 --> 00:00:01.000", "\u2028", "--", "\xff", "\u0085", "世界", "1", " ", ".", "word", "cannot"}),
		rapid.String(),
	)
	return rapid.Map(rapid.SliceOfN(piece, 0, 12), func(p []string) string { return strings.Join(p, "") })
}

func anySegment(t *rapid.T) Segment {
	s := seg(Participant{ID: rapid.StringMatching("[a-c]").Draw(t, "id"), Name: nasty().Draw(t, "name")},
		rapid.IntRange(0, 99).Draw(t, "n"), rapid.Int64Range(-10, 1e10).Draw(t, "start"), 0, nasty().Draw(t, "text"))
	s.EndMS = s.StartMS + rapid.Int64Range(-10, 40_000).Draw(t, "length")
	if rapid.Bool().Draw(t, "words") && strings.TrimSpace(s.Text) != "" {
		s = spokenWords(s)
	}
	return s
}

var (
	vttTiming = regexp.MustCompile(`^(\d{2,}:\d\d:\d\d\.\d{3}) --> (\d{2,}:\d\d:\d\d\.\d{3})$`)
	srtTiming = regexp.MustCompile(`^(\d{2,}:\d\d:\d\d,\d{3}) --> (\d{2,}:\d\d:\d\d,\d{3})$`)
	vttText   = regexp.MustCompile(`^(<v ([^<>&]|&(amp|lt|gt);)+>([^<>&]|&(amp|lt|gt);)+</v>|([^<>&]|&(amp|lt|gt);)+)$`)
	srtText   = regexp.MustCompile(`^[^<>{}]+$`)
)

// TestNoMarkup: whatever is said and whoever says it, a file has the cues that
// it is meant to have, and nothing in them but text.
func TestNoMarkup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Document{
			Segments: rapid.SliceOfN(rapid.Custom(anySegment), 0, 6).Draw(t, "segments"),
			Complete: rapid.Bool().Draw(t, "complete"),
			Missing: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Missing {
				return Missing{Track: nasty().Draw(t, "track"), Kind: MissingKind(nasty().Draw(t, "kind")), Reason: nasty().Draw(t, "reason")}
			}), 0, 20).Draw(t, "missing"),
		}
		Sort(d.Segments)
		n := len(cues(d.Segments, lines(d.Segments)))

		blocks := strings.Split(strings.TrimSuffix(written(t, WriteVTT, d), "\n"), "\n\n")
		if blocks[0] != "WEBVTT" {
			t.Fatalf("begins with %q", blocks[0])
		}
		blocks = blocks[1:]
		if !d.Complete || len(d.Missing) > 0 {
			if !strings.HasPrefix(blocks[0], "NOTE ") || strings.ContainsAny(blocks[0], "\n<>") {
				t.Fatalf("note %q", blocks[0])
			}
			blocks = blocks[1:]
		}
		checkCues(t, blocks, n, vttTiming, vttText)

		blocks = nil
		if srt := written(t, WriteSRT, d); srt != "" {
			blocks = strings.Split(strings.TrimSuffix(srt, "\n"), "\n\n")
		}
		for i, b := range blocks {
			number, rest, _ := strings.Cut(b, "\n")
			if number != fmt.Sprint(i+1) {
				t.Fatalf("cue %d has number %q", i+1, number)
			}
			blocks[i] = rest
		}
		checkCues(t, blocks, n, srtTiming, srtText)
	})
}

func checkCues(t *rapid.T, blocks []string, n int, timing, text *regexp.Regexp) {
	if len(blocks) != n {
		t.Fatalf("%d cues, want %d: %q", len(blocks), n, blocks)
	}
	before := ""
	for _, b := range blocks {
		lines := strings.FieldsFunc(b, func(r rune) bool { return r == '\n' || r == '\r' })
		if len(lines) != 2 {
			t.Fatalf("not two lines: %q", b)
		}
		m := timing.FindStringSubmatch(lines[0])
		if len(m) < 3 || !later(m[2], m[1]) || later(before, m[1]) {
			t.Fatalf("timing %q after %s", lines[0], before)
		}
		before = m[1]
		if !text.MatchString(lines[1]) || strings.Contains(lines[1], "-->") {
			t.Fatalf("text %q", lines[1])
		}
	}
}

// later compares two times of which one may have more digits.
func later(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// TestEveryWord: the pieces of an utterance are its text, all of it, in order.
func TestEveryWord(t *testing.T) {
	tag := regexp.MustCompile(`^<v [^>]*>|</v>$`)
	rapid.Check(t, func(t *rapid.T) {
		s := anySegment(t)
		var said []string
		for _, l := range strings.Split(written(t, WriteVTT, Document{Complete: true, Segments: []Segment{s}}), "\n")[1:] {
			if l != "" && !vttTiming.MatchString(l) {
				said = append(said, html.UnescapeString(tag.ReplaceAllString(l, "")))
			}
		}
		bare := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if got, want := bare(strings.Join(said, "")), bare(html.UnescapeString(escapeVTT.Replace(line(s.Text)))); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
