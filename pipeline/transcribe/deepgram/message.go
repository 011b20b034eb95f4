package deepgram

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
)

// message is any message of the server. Channel is an object in Results and a
// list elsewhere.
type message struct {
	Type        string          `json:"type"`
	Channel     json.RawMessage `json:"channel"`
	Start       float64         `json:"start"`    // s
	Duration    float64         `json:"duration"` // s
	IsFinal     bool            `json:"is_final"`
	Description string          `json:"description"` // of an error
	Message     string          `json:"message"`     // of an error
	ErrMsg      string          `json:"err_msg"`     // of an error

	result transcribe.Result // of Results
}

type channel struct {
	Alternatives []struct {
		Transcript string `json:"transcript"`
		Words      []struct {
			Word       string   `json:"word"`
			Punctuated string   `json:"punctuated_word"`
			Start      float64  `json:"start"` // s
			End        float64  `json:"end"`
			Confidence *float64 `json:"confidence"`
		} `json:"words"`
	} `json:"alternatives"`
}

// parse reads a message. One of Results has its result, which may lie anywhere
// in time.
func parse(b []byte) (m message, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("deepgram: a message cannot be read: %w", err)
	}
	if m.Type == "Error" || m.ErrMsg != "" {
		return m, fmt.Errorf("deepgram: the server says %s", socket.Reason(m.ErrMsg+" "+m.Description+" "+m.Message, ""))
	}
	if m.Type != "Results" {
		return m, nil
	}
	var c channel
	if err := json.Unmarshal(m.Channel, &c); err != nil {
		return m, fmt.Errorf("deepgram: a result cannot be read: %w", err)
	}
	if !span(m.Start, m.Start+m.Duration) {
		return m, fmt.Errorf("deepgram: a result from %v s, of %v s", m.Start, m.Duration)
	}
	m.result = transcribe.Result{Final: m.IsFinal, Start: sample(m.Start), End: sample(m.Start + m.Duration)}
	if len(c.Alternatives) == 0 {
		return m, nil
	}
	best := c.Alternatives[0]
	m.result.Text = strings.TrimSpace(best.Transcript)
	for _, w := range best.Words {
		if !span(w.Start, w.End) {
			return m, fmt.Errorf("deepgram: a word from %v to %v s", w.Start, w.End)
		}
		text := w.Punctuated
		if text == "" {
			text = w.Word
		}
		if w.Confidence != nil {
			*w.Confidence = min(max(*w.Confidence, 0), 1)
		}
		m.result.Words = append(m.result.Words, transcribe.Word{
			Text: text, Start: sample(w.Start), End: sample(w.End), Confidence: w.Confidence,
		})
	}
	return m, nil
}

// span reports whether two times in seconds are one.
func span(start, end float64) bool { return start >= 0 && end >= start && end < math.MaxInt32 }

func sample(seconds float64) int64 { return int64(math.Round(seconds * audio.FrameRate)) }
