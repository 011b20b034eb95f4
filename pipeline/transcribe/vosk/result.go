package vosk

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
)

// shortest is the shortest silence that ends an utterance, in samples. Kaldi's
// rules have half a second.
const shortest = 300 * audio.FrameRate / 1000

// reply is any message of a server. With its option for alternatives the best
// stands first.
type reply struct {
	Text         *string `json:"text"`
	Partial      string  `json:"partial"`
	Result       []word  `json:"result"`
	Alternatives []struct {
		Text   string `json:"text"`
		Result []word `json:"result"`
	} `json:"alternatives"`
	Error any `json:"error"`
}

// word has times in seconds since the beginning of the stream.
type word struct {
	Word  string   `json:"word"`
	Start float64  `json:"start"`
	End   float64  `json:"end"`
	Conf  *float64 `json:"conf"`
}

type kind uint8

const (
	inOrder    kind = iota
	doubled         // a final that came already
	outOfOrder      // a final that should have come before another
)

// parser reads replies. It is for one goroutine at a time.
type parser struct {
	end   int64  // up to which finals have spoken, in samples
	words int64  // where the last word of all finals ends
	text  string // of the final just before, "" after anything else
}

// parse reads a reply of a server that has heard so many samples.
func (p *parser) parse(message []byte, heard int64) (r transcribe.Result, k kind, err error) {
	var m reply
	if err := json.Unmarshal(message, &m); err != nil {
		return r, k, fmt.Errorf("vosk: a reply cannot be read: %w", err)
	}
	if m.Error != nil {
		return r, k, fmt.Errorf("vosk: the server says %s", socket.Reason(fmt.Sprint(m.Error), ""))
	}
	if m.Text == nil && len(m.Alternatives) > 0 {
		m.Text, m.Result = &m.Alternatives[0].Text, m.Alternatives[0].Result
	}
	if m.Text == nil {
		p.text = ""
		return transcribe.Result{Start: p.end, End: max(heard, p.end), Text: m.Partial}, inOrder, nil
	}
	words, err := place(m.Result)
	if err != nil {
		return r, k, err
	}
	r = transcribe.Result{Final: true, Start: p.end, Text: strings.TrimSpace(*m.Text), Words: words}
	same := r.Text != "" && r.Text == p.text
	p.text = r.Text
	switch n := len(words); {
	case n > 0 && words[n-1].End <= p.words && same, n == 0 && same:
		return r, doubled, nil
	case n > 0 && words[n-1].End <= p.words:
		r.Start, r.End = words[0].Start, words[n-1].End
		return r, outOfOrder, nil
	case n > 0:
		r.Start, p.words = words[0].Start, words[n-1].End
		// An utterance ends with a silence, or because it is too long: then the
		// next word may have begun.
		if heard-p.words < shortest {
			heard = p.words
		}
	}
	r.End = max(heard, p.end)
	p.end = r.End
	return r, inOrder, nil
}

// place takes words to samples.
func place(words []word) (placed []transcribe.Word, err error) {
	for _, w := range words {
		if !(w.Start >= 0 && w.End >= w.Start && w.End < math.MaxInt32) {
			return nil, fmt.Errorf("vosk: a word from %v to %v s", w.Start, w.End)
		}
		if w.Conf != nil {
			*w.Conf = min(max(*w.Conf, 0), 1)
		}
		placed = append(placed, transcribe.Word{
			Text: w.Word, Start: sample(w.Start), End: sample(w.End), Confidence: w.Conf,
		})
	}
	return placed, nil
}

func sample(seconds float64) int64 { return int64(math.Round(seconds * audio.FrameRate)) }
