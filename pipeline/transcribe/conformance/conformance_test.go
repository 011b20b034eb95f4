package conformance

import (
	"strings"
	"testing"

	"verbatim/internal/tonecode"
	"verbatim/pipeline/transcribe"
)

// What the suite is there to find, it finds.
func TestFindsWhatIsWrong(t *testing.T) {
	// said is a sink that got everything, in utterances of a cycle.
	said := func() *sink {
		s := &sink{through: 80 * tonecode.Symbol}
		var ear Ear
		for _, f := range append(ear.Write(tonecode.Signal(0, 80)), ear.Flush()...) {
			if len(f.Words) == 0 {
				continue
			}
			r := result(f)
			s.finals = append(s.finals, transcribe.Utterance{Start: r.Start, End: r.End, Text: r.Text, Words: r.Words})
		}
		return s
	}
	for _, c := range []struct {
		want  string
		spoil func(s *sink)
	}{
		{"", func(*sink) {}},
		{"lost: 24 words", func(s *sink) { s.finals = s.finals[1:] }},
		{"more than once: 24 words", func(s *sink) { s.finals = append(s.finals[:1], s.finals...) }},
		{"out of order", func(s *sink) { s.finals[0], s.finals[1] = s.finals[1], s.finals[0] }},
		{"begin at 160 ms, want 0 ms", func(s *sink) { s.finals[0].Start += 2400 }},
		{"w0003 begins at 450 ms, want 300 ms", func(s *sink) { s.finals[0].Words[3].Start += 2400 }},
		{"23 words in", func(s *sink) { s.finals[0].Words = s.finals[0].Words[1:] }},
		{"through 127999", func(s *sink) { s.through-- }},
		{"nobody said", func(s *sink) { s.finals[0].Text += " yes" }},
	} {
		s := said()
		c.spoil(s)
		wrong := strings.Join(s.wrong(80, false, &Options{}), "\n")
		if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
			t.Errorf("want %q, got %q", c.want, wrong)
		}
	}
}
