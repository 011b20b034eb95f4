package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// message is one line of the process's stdout; see docs/RECOGNIZER_COMMAND.md.
type message struct {
	Start *float64 `json:"start"` // seconds since the first sample
	End   *float64 `json:"end"`
	Text  string   `json:"text"`
	Words []struct {
		Text       string   `json:"text"`
		Start      float64  `json:"start"`
		End        float64  `json:"end"`
		Confidence *float64 `json:"confidence"`
	} `json:"words"`
}

// parser makes results of lines. It trusts no position: all are brought between
// the first and the last sample written, and words into their result. A final
// that comes late keeps its time, and one that comes twice counts once. One that
// lies where others do keeps its words, and loses its time, which is the lesser
// harm.
type parser struct {
	spoken int64   // the end of the finals so far
	finals []final // the last maxFinals of them
}

type final struct {
	start, end int64
	text       string
}

const maxFinals = 64

// place decides where a final lies. ok is false if it is not new.
func (p *parser) place(f final) (start int64, ok bool) {
	if slices.Contains(p.finals, f) {
		return 0, false
	}
	taken := f.end <= f.start || slices.ContainsFunc(p.finals, func(o final) bool { return f.start < o.end && o.start < f.end })
	if taken {
		f.start = max(f.start, p.spoken)
	}
	f.end = max(f.start, f.end)
	p.finals = append(p.finals, f)
	if len(p.finals) > maxFinals {
		p.finals = p.finals[1:]
	}
	p.spoken = max(p.spoken, f.end)
	return f.start, true
}

// parse reads a line. ok is false where it is of a type that is not known.
func (p *parser) parse(line []byte, written int64) (r transcribe.Result, ok bool, err error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return r, false, fmt.Errorf("not a JSON object (%w): %s", err, quote(line))
	}
	if kind.Type != "interim" && kind.Type != "final" {
		return r, false, nil
	}
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return r, false, fmt.Errorf("not as agreed (%w): %s", err, quote(line))
	}
	r.Final = kind.Type == "final"
	r.Text = strings.TrimSpace(m.Text)
	switch {
	case m.Start != nil && m.End != nil:
		r.Start = samples(*m.Start, 0, written)
		r.End = samples(*m.End, 0, written)
		if r.Final {
			if r.Start, ok = p.place(final{r.Start, r.End, r.Text}); !ok {
				return r, false, nil
			}
		}
		r.End = max(r.Start, r.End)
	case r.Final:
		return r, false, errors.New("final without start and end: " + quote(line))
	default:
		r.Start, r.End = p.spoken, written
	}
	from := r.Start
	for _, w := range m.Words {
		word := transcribe.Word{Text: strings.TrimSpace(w.Text)}
		if word.Text == "" {
			continue
		}
		word.Start = samples(w.Start, from, r.End)
		word.End = samples(w.End, word.Start, r.End)
		from = word.Start
		if w.Confidence != nil {
			c := min(max(*w.Confidence, 0), 1)
			word.Confidence = &c
		}
		r.Words = append(r.Words, word)
	}
	return r, true, nil
}

// samples is the position at seconds, between low and high.
func samples(seconds float64, low, high int64) int64 {
	at := seconds*audio.FrameRate + 0.5
	switch {
	case at <= float64(low):
		return low
	case at >= float64(high): // before the conversion, which 1e300 would break
		return high
	}
	return int64(at)
}

// quote shows the beginning of a line in an error. Errors are logged, and what was said
// does not belong there.
func quote(line []byte) string {
	const most = 80
	if bytes.Contains(line, []byte(`"text"`)) {
		return fmt.Sprintf("%d bytes, not shown, as there is text in them", len(line))
	}
	if len(line) > most {
		return fmt.Sprintf("%q…", line[:most])
	}
	return fmt.Sprintf("%q", line)
}
