package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	// A segment is taken for silence that the model made words of if it says so
	// itself, by both numbers. These are OpenAI's own.
	noSpeech = 0.6
	unsure   = -1
	// blank is what whisper.cpp writes for silence.
	blank = "[BLANK_AUDIO]"
	// Some servers count in nanoseconds. No utterance lasts so many seconds.
	absurd = 1e6
)

// answer is verbose_json, or json, of which it has the text alone. Servers
// differ in where they put words and in how they write numbers.
type answer struct {
	Text     *string         `json:"text"`
	Error    json.RawMessage `json:"error"`
	Words    []word          `json:"words"`
	Segments []segment       `json:"segments"`
}

type segment struct {
	Start        number `json:"start"` // seconds
	End          number `json:"end"`
	Text         string `json:"text"`
	Words        []word `json:"words"`
	NoSpeechProb number `json:"no_speech_prob"`
	AvgLogprob   number `json:"avg_logprob"`
}

type word struct {
	Word        string `json:"word"`
	Text        string `json:"text"`
	Start       number `json:"start"` // seconds
	End         number `json:"end"`
	Probability number `json:"probability"`
	Confidence  number `json:"confidence"`
}

func (w word) text() string {
	if w.Word != "" {
		return w.Word
	}
	return w.Text
}

// number is a JSON number, or a string of one. What is neither is not there.
type number struct {
	value float64
	ok    bool
}

// UnmarshalJSON never fails: a number that cannot be read is one that the
// server did not send.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `" `), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		*n = number{}
		return nil //nolint:nilerr // see above
	}
	*n = number{v, true}
	return nil
}

// samples is a time in samples (16 kHz), limit at most.
func (n number) samples(limit int) int64 {
	v := n.value
	if v >= absurd {
		v /= 1e9
	}
	v = v*audio.FrameRate + 0.5
	return int64(min(max(v, 0), float64(limit)))
}

// parse reads the answer to an utterance of so many samples. Its errors hold
// nothing of it.
func parse(body []byte, samples int) (r transcribe.Result, err error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return r, fmt.Errorf("is not as expected (%w)", err)
	}
	switch string(bytes.TrimSpace(a.Error)) {
	case "", "null", `""`, "false", "{}":
	default:
		return r, errors.New("is an error")
	}
	if a.Text == nil && a.Segments == nil {
		return r, errors.New("has no text")
	}
	silent := func(s segment) bool {
		return s.NoSpeechProb.value > noSpeech && s.AvgLogprob.ok && s.AvgLogprob.value < unsure
	}
	spoken := slices.DeleteFunc(slices.Clone(a.Segments), silent)
	if a.Text != nil {
		r.Text = *a.Text
	}
	if len(spoken) < len(a.Segments) || a.Text == nil {
		r.Text = together(spoken)
	}
	words := a.Words
	if len(words) == 0 {
		for _, s := range spoken {
			words = append(words, s.Words...)
		}
	} else {
		words = slices.DeleteFunc(words, func(w word) bool {
			middle := (w.Start.value + w.End.value) / 2
			return slices.ContainsFunc(a.Segments, func(s segment) bool {
				return silent(s) && s.Start.value <= middle && middle < s.End.value
			})
		})
	}
	r.Text = strings.ReplaceAll(r.Text, blank, "")
	r.Words = joined(words, samples)
	return r, nil
}

// together is the text of segments, most of which bring their own space.
func together(segments []segment) string {
	var b strings.Builder
	for _, s := range segments {
		if !strings.HasPrefix(s.Text, " ") {
			b.WriteByte(' ')
		}
		b.WriteString(s.Text)
	}
	return b.String()
}

// joined makes words of what may be parts of words, of which only the first has
// a space before it. A word without its times is none: then there are no words.
func joined(parts []word, samples int) (words []transcribe.Word) {
	inParts := slices.ContainsFunc(parts, func(w word) bool { return strings.HasPrefix(w.text(), " ") })
	for _, p := range parts {
		if !p.Start.ok || !p.End.ok {
			return nil
		}
		start, end := p.Start.samples(samples), p.End.samples(samples)
		text := p.text()
		if n := len(words); inParts && n > 0 && !strings.HasPrefix(text, " ") {
			words[n-1].Text += text
			words[n-1].End = max(words[n-1].End, end)
			words[n-1].Confidence = less(words[n-1].Confidence, p.confidence())
			continue
		}
		words = append(words, transcribe.Word{Text: text, Start: start, End: end, Confidence: p.confidence()})
	}
	return slices.DeleteFunc(words, func(w transcribe.Word) bool {
		t := strings.TrimSpace(w.Text)
		return t == "" || t == blank
	})
}

func (w word) confidence() *float64 {
	n := w.Probability
	if !n.ok {
		n = w.Confidence
	}
	if !n.ok {
		return nil
	}
	c := min(max(n.value, 0), 1)
	return &c
}

// less is the lower of two confidences: a word is as sure as its worst part.
func less(a, b *float64) *float64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}
