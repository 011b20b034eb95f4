package transcript

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

var (
	ada = Participant{ID: "ada", Name: "Ada"}
	bob = Participant{ID: "bob", Name: "Bob"}
)

// seg makes the segment n of the participant's track.
func seg(p Participant, n int, start, end int64, text string) Segment {
	track := "T" + p.ID
	return Segment{ID: fmt.Sprintf("%s.%d", track, n), Track: track, Participant: p, StartMS: start, EndMS: end, Text: text, Final: true}
}

// spokenWords gives s the words of its text, each lasting as long as the next.
func spokenWords(s Segment) Segment {
	fields := strings.Fields(s.Text)
	step := (s.EndMS - s.StartMS) / int64(len(fields))
	for i, f := range fields {
		at := s.StartMS + int64(i)*step
		f = strings.ToLower(strings.Trim(f, ".,?!"))
		s.Words = append(s.Words, Word{Text: f, StartMS: at, EndMS: at + step})
	}
	return s
}

func TestExports(t *testing.T) {
	const hour = 3_600_000
	tests := []struct {
		name          string
		doc           Document
		vtt, srt, txt string
	}{
		{
			name: "empty",
			doc:  Document{Complete: true},
			vtt:  "WEBVTT\n",
		},
		{
			name: "two speakers",
			doc: Document{Complete: true, Segments: []Segment{
				seg(ada, 0, 1000, 2500, "Hello."),
				seg(bob, 0, 2600, 3001, "Hi, Ada."),
			}},
			vtt: "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n<v Ada>Hello.</v>\n\n00:00:02.600 --> 00:00:03.001\n<v Bob>Hi, Ada.</v>\n",
			srt: "1\n00:00:01,000 --> 00:00:02,500\nAda: Hello.\n\n2\n00:00:02,600 --> 00:00:03,001\nBob: Hi, Ada.\n",
			txt: "[00:00:01] Ada: Hello.\n[00:00:02] Bob: Hi, Ada.\n",
		},
		{
			name: "newlines, arrows and markup",
			doc: Document{Complete: true, Segments: []Segment{
				seg(Participant{ID: "x", Name: "A>\nB & <c>"}, 0, 0, 1000, "one\r\n\r\n00:00 --> 00:01\n<b>{\\an8}R&D\u2028\x1b\x00end "),
			}},
			vtt: "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v A&gt; B &amp; &lt;c&gt;>one 00:00 --&gt; 00:01 &lt;b&gt;{\\an8}R&amp;D end</v>\n",
			srt: "1\n00:00:00,000 --> 00:00:01,000\nA› B & ‹c›: one 00:00 --› 00:01 ‹b›(\\an8)R&D end\n",
			txt: "[00:00:00] A> B & <c>: one 00:00 --> 00:01 <b>{\\an8}R&D end\n",
		},
		{
			name: "strange times",
			doc: Document{Complete: true, Segments: []Segment{
				seg(ada, 0, -5, 400, "before"),
				seg(bob, 0, 5000, 5000, "no time"),
				seg(ada, 1, 6000, 5500, "backwards"),
				seg(bob, 1, 123*hour+59*60_000+59_999, 124*hour, "late"),
			}},
			vtt: "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\n<v Ada>before</v>\n\n00:00:05.000 --> 00:00:06.000\n<v Bob>no time</v>\n\n" +
				"00:00:06.000 --> 00:00:07.000\n<v Ada>backwards</v>\n\n123:59:59.999 --> 124:00:00.000\n<v Bob>late</v>\n",
			srt: "1\n00:00:00,000 --> 00:00:00,400\nAda: before\n\n2\n00:00:05,000 --> 00:00:06,000\nBob: no time\n\n" +
				"3\n00:00:06,000 --> 00:00:07,000\nAda: backwards\n\n4\n123:59:59,999 --> 124:00:00,000\nBob: late\n",
			txt: "[00:00:00] Ada: before\n[00:00:05] Bob: no time\n[00:00:06] Ada: backwards\n[123:59:59] Bob: late\n",
		},
		{
			name: "no name, no one, no text",
			doc: Document{Complete: true, Segments: []Segment{
				seg(Participant{ID: "p7"}, 0, 0, 1000, "I am nameless"),
				seg(ada, 0, 1000, 2000, " \n "),
				{ID: "t.0", Track: "t", StartMS: 3000, EndMS: 4000, Text: "who?"},
			}},
			vtt: "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v p7>I am nameless</v>\n\n00:00:03.000 --> 00:00:04.000\nwho?\n",
			srt: "1\n00:00:00,000 --> 00:00:01,000\np7: I am nameless\n\n2\n00:00:03,000 --> 00:00:04,000\nwho?\n",
			txt: "[00:00:00] p7: I am nameless\n[00:00:03] who?\n",
		},
		{
			name: "a name that would end the cue",
			doc:  Document{Complete: true, Segments: []Segment{seg(Participant{ID: "x", Name: "Ada--"}, 0, 0, 1000, "Hello--")}},
			vtt:  "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v Ada-- >Hello--</v>\n",
			srt:  "1\n00:00:00,000 --> 00:00:01,000\nAda--: Hello--\n",
			txt:  "[00:00:00] Ada--: Hello--\n",
		},
		{
			name: "paragraphs",
			doc: Document{Complete: true, Segments: []Segment{
				seg(ada, 0, 0, 20_000, "One."),
				seg(ada, 1, 22_000, 40_000, "Two."),
				seg(ada, 2, 40_100, 61_000, "Beyond a minute."),
				seg(ada, 3, 63_001, 64_000, "After a gap."),
				seg(bob, 0, 63_500, 65_000, "Over her."),
				seg(ada, 4, 64_100, 64_200, "Again."),
			}},
			vtt: "WEBVTT\n\n00:00:00.000 --> 00:00:20.000\n<v Ada>One.</v>\n\n00:00:22.000 --> 00:00:40.000\n<v Ada>Two.</v>\n\n" +
				"00:00:40.100 --> 00:01:01.000\n<v Ada>Beyond a minute.</v>\n\n00:01:03.001 --> 00:01:04.000\n<v Ada>After a gap.</v>\n\n" +
				"00:01:03.500 --> 00:01:05.000\n<v Bob>Over her.</v>\n\n00:01:04.100 --> 00:01:04.200\n<v Ada>Again.</v>\n",
			srt: "1\n00:00:00,000 --> 00:00:20,000\nAda: One.\n\n2\n00:00:22,000 --> 00:00:40,000\nAda: Two.\n\n" +
				"3\n00:00:40,100 --> 00:01:01,000\nAda: Beyond a minute.\n\n4\n00:01:03,001 --> 00:01:04,000\nAda: After a gap.\n\n" +
				"5\n00:01:03,500 --> 00:01:05,000\nBob: Over her.\n\n6\n00:01:04,100 --> 00:01:04,200\nAda: Again.\n",
			txt: "[00:00:00] Ada: One. Two.\n[00:00:40] Ada: Beyond a minute.\n[00:01:03] Ada: After a gap.\n" +
				"[00:01:03] Bob: Over her.\n[00:01:04] Ada: Again.\n",
		},
		{
			name: "not complete",
			doc: Document{
				Segments: []Segment{seg(ada, 0, 0, 1000, "So far.")},
				Missing: []Missing{
					{Track: "Tada", Participant: ada, StartMS: 61_000, EndMS: 63_250, MissingMS: 2250, Kind: Skipped, Reason: "not transcribed: cut --> off"},
					{Track: "T9", StartMS: 70_000, EndMS: 71_000, MissingMS: 60, Kind: Concealed},
				},
			},
			vtt: "WEBVTT\n\nNOTE This transcript is not complete. Missing: 2.250 s not transcribed, 0.060 s lost on the way. Where: Ada 00:01:01.000 to 00:01:03.250 (2.250 s not transcribed: cut --&gt; off); T9 00:01:10.000 to 00:01:11.000 (0.060 s lost on the way).\n\n" +
				"00:00:00.000 --> 00:00:01.000\n<v Ada>So far.</v>\n",
			srt: "1\n00:00:00,000 --> 00:00:01,000\nAda: So far.\n",
			txt: "[00:00:00] Ada: So far.\nThis transcript is not complete. Missing: 2.250 s not transcribed, 0.060 s lost on the way. Where: Ada 00:01:01.000 to 00:01:03.250 (2.250 s not transcribed: cut --> off); T9 00:01:10.000 to 00:01:11.000 (0.060 s lost on the way).\n",
		},
		{
			name: "complete but for a span",
			doc:  Document{Complete: true, Missing: []Missing{{Track: "T9", StartMS: 0, EndMS: 75_000, MissingMS: 75_000, Kind: Shed}}},
			vtt:  "WEBVTT\n\nNOTE Missing: 00:01:15.000 given up by the server, which could not store it. Where: T9 00:00:00.000 to 00:01:15.000 (00:01:15.000 given up by the server, which could not store it).\n",
			txt:  "Missing: 00:01:15.000 given up by the server, which could not store it. Where: T9 00:00:00.000 to 00:01:15.000 (00:01:15.000 given up by the server, which could not store it).\n",
		},
		{
			name: "nothing yet",
			vtt:  "WEBVTT\n\nNOTE This transcript is not complete.\n",
			txt:  "This transcript is not complete.\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check := func(format string, write func(io.Writer, Document) error, want string) {
				t.Helper()
				if got := written(t, write, tt.doc); got != want {
					t.Errorf("%s:\n%s\nwant:\n%s", format, got, want)
				}
			}
			check("vtt", WriteVTT, tt.vtt)
			check("srt", WriteSRT, tt.srt)
			check("txt", WriteTXT, tt.txt)
		})
	}
}

func written(t interface{ Fatal(...any) }, write func(io.Writer, Document) error, d Document) string {
	var b bytes.Buffer
	if err := write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCues(t *testing.T) {
	long := spokenWords(seg(ada, 0, 0, 10_000,
		"We begin with the budget of last year. Then comes the plan, which Bob has written, and after it questions from all."))
	tests := []struct {
		name string
		segs []Segment
		want []string
	}{
		{"at the end of a sentence", []Segment{long}, []string{
			"0-3632 We begin with the budget of last year.",
			"3632-10000 Then comes the plan, which Bob has written, and after it questions from all.",
		}},
		{"overlapping pieces in the order of their starts", []Segment{long, seg(bob, 0, 2000, 2500, "Yes."), seg(bob, 1, 5000, 5500, "No.")}, []string{
			"0-3632 We begin with the budget of last year.",
			"2000-2500 Yes.",
			"3632-10000 Then comes the plan, which Bob has written, and after it questions from all.",
			"5000-5500 No.",
		}},
		{"no words", []Segment{seg(ada, 0, 0, 30_000, strings.Repeat("la ", 100))}, []string{
			"0-30000 " + strings.TrimSpace(strings.Repeat("la ", 100)),
		}},
		{"words that are not the text", []Segment{func() Segment {
			s := spokenWords(seg(ada, 0, 0, 30_000, strings.Repeat("twenty percent ", 10)))
			s.Text = strings.TrimSpace(strings.Repeat("20 % ", 10))
			return s
		}()}, []string{"0-30000 " + strings.TrimSpace(strings.Repeat("20 % ", 10))}},
		{"short and slow", []Segment{{StartMS: 0, EndMS: 20_000, Text: "Well... \"Fine\" then", Words: []Word{
			{Text: "well", StartMS: 0, EndMS: 1000}, {Text: "fine", StartMS: 9000, EndMS: 9500}, {Text: "then", StartMS: 9500, EndMS: 10_000},
		}}}, []string{"0-1000 Well...", "9000-20000 \"Fine\" then"}},
		{"no spaces", []Segment{{StartMS: 0, EndMS: 9000, Text: "你好，世界", Words: []Word{
			{Text: "你好", StartMS: 0, EndMS: 1000}, {Text: "世界", StartMS: 8000, EndMS: 9000},
		}}}, []string{"0-1000 你好，", "8000-9000 世界"}},
		{"never within a word", []Segment{{StartMS: 0, EndMS: 9000, Text: "cannot be", Words: []Word{
			{Text: "can", StartMS: 0, EndMS: 100}, {Text: "not", StartMS: 8000, EndMS: 8100}, {Text: "be", StartMS: 8500, EndMS: 9000},
		}}}, []string{"0-8100 cannot", "8500-9000 be"}},
		{"words whose times run backwards", []Segment{{StartMS: 1000, EndMS: 11_000, Text: "one two three", Words: []Word{
			{Text: "one", StartMS: 9000, EndMS: 8000}, {Text: "two", StartMS: 500, EndMS: 20_000}, {Text: "three", StartMS: -4, EndMS: 30_000},
		}}}, []string{"1000-8000 one", "1000-11000 two", "1000-11000 three"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			texts := lines(tt.segs)
			var got []string
			for _, c := range cues(tt.segs, texts) {
				got = append(got, fmt.Sprintf("%d-%d %s", c.start, c.end, c.text(texts)))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestWriteJSON(t *testing.T) {
	half := 0.5
	s := seg(ada, 0, 1, 2, "a <b> & c")
	s.Words = []Word{{Text: "a", StartMS: 1, EndMS: 2, Confidence: &half}}
	tests := []struct {
		name string
		doc  Document
		want string
	}{
		{"empty", Document{}, `{"meeting":null,"segments":[],"complete":false,"missing":[]}`},
		{"all", Document{
			Meeting:  map[string]string{"id": "M"},
			Segments: []Segment{s, seg(bob, 0, 3, 4, "d")},
			Complete: true,
			Missing:  []Missing{{Track: "T", StartMS: 1, EndMS: 4, MissingMS: 2, Kind: Concealed, Reason: "lost on the way"}},
		}, `{"meeting":{"id":"M"},"segments":[` +
			`{"id":"Tada.0","meeting":"","track":"Tada","participant":{"id":"ada","name":"Ada"},"start_ms":1,"end_ms":2,"text":"a <b> & c","final":true,"revision":0,"engine":"","words":[{"text":"a","start_ms":1,"end_ms":2,"confidence":0.5}]},` +
			`{"id":"Tbob.0","meeting":"","track":"Tbob","participant":{"id":"bob","name":"Bob"},"start_ms":3,"end_ms":4,"text":"d","final":true,"revision":0,"engine":""}` +
			`],"complete":true,"missing":[{"track":"T","start_ms":1,"end_ms":4,"missing_ms":2,"kind":"concealed","reason":"lost on the way"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := written(t, WriteJSON, tt.doc)
			if strings.ReplaceAll(got, "\n", "") != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not JSON")
			}
		})
	}
	if err := WriteJSON(io.Discard, Document{Meeting: func() {}}); err == nil {
		t.Error("no error for a meeting that is no JSON")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestWriteErrors(t *testing.T) {
	d := Document{Segments: []Segment{seg(ada, 0, 0, 1, "x")}}
	for _, write := range []func(io.Writer, Document) error{WriteJSON, WriteVTT, WriteSRT, WriteTXT} {
		if err := write(brokenWriter{}, d); err == nil {
			t.Error("no error")
		}
	}
}

func BenchmarkExport(b *testing.B) {
	segs := make([]Segment, 100_000)
	text := "And then we come to the second point, which is not on the agenda. It is the budget for the next year, as far as we know it."
	for i := range segs {
		p := []Participant{ada, bob}[i/3%2]
		segs[i] = spokenWords(seg(p, i, int64(i)*9000, int64(i)*9000+8700, text))
	}
	d := Document{Segments: segs, Complete: true}
	for _, f := range []struct {
		name  string
		write func(io.Writer, Document) error
	}{{"json", WriteJSON}, {"vtt", WriteVTT}, {"srt", WriteSRT}, {"txt", WriteTXT}} {
		b.Run(f.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f.write(io.Discard, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
