package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"verbatim/internal/tonecode"
)

// All in samples (16 kHz).
const (
	piece = tonecode.Symbol // what is read at once
	// sound is how long a word is: the number's tones, without the gap to the next.
	sound = tonecode.Rate * 90 / 1000
	// pause without a number ends an utterance, and longest ends one anyway,
	// between two numbers.
	pause   = 3 * tonecode.Symbol
	longest = 60 * tonecode.Symbol
	// interimEvery is how often the words so far are said.
	interimEvery = 3 * tonecode.Symbol
	// silenceEvery is how often silence is spoken for; margin is kept back, in
	// which a number may have begun.
	silenceEvery = 5 * tonecode.Rate
	margin       = tonecode.Rate / 2
)

// line is what goes out; see docs/RECOGNIZER_COMMAND.md.
type line struct {
	Type  string     `json:"type"`
	Start float64    `json:"start"` // seconds
	End   float64    `json:"end"`
	Text  string     `json:"text"`
	Words []lineWord `json:"words,omitempty"`
}

type lineWord struct {
	Text  string  `json:"text"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

// listener finds utterances in one stream of audio and writes them down.
type listener struct {
	out    *json.Encoder
	rest   func(time.Duration) error // is called after audio of that length was read
	reader tonecode.Reader

	pos       int64            // samples that were read
	spoken    int64            // the end of the last final
	utterance []tonecode.Heard // under way
	said      int64            // pos at the last interim
}

func newListener(out io.Writer) *listener {
	return &listener{out: json.NewEncoder(out), rest: func(time.Duration) error { return nil }}
}

// listen recognizes in until it ends.
func (l *listener) listen(in io.Reader) error {
	var buf [2 * piece]byte
	var pcm [piece]int16
	for {
		n, err := io.ReadFull(in, buf[:])
		n /= 2
		for i := range n {
			pcm[i] = int16(binary.LittleEndian.Uint16(buf[2*i:]))
		}
		if herr := l.hear(pcm[:n]); herr != nil {
			return herr
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return l.flush()
		case err != nil:
			return fmt.Errorf("read audio: %w", err)
		}
	}
}

// hear takes the audio that follows and says what is new.
func (l *listener) hear(pcm []int16) error {
	l.pos += int64(len(pcm))
	for _, h := range l.reader.Write(pcm) {
		if n := len(l.utterance); n > 0 && h.Start-l.utterance[0].Start >= longest {
			if err := l.final(); err != nil {
				return err
			}
		}
		l.utterance = append(l.utterance, h)
	}
	if err := l.rest(time.Duration(len(pcm)) * time.Second / tonecode.Rate); err != nil {
		return err
	}
	switch n := len(l.utterance); {
	case n == 0 && l.pos-margin-l.spoken >= silenceEvery:
		return l.silence(l.pos - margin)
	case n > 0 && l.pos-l.utterance[n-1].Start >= tonecode.Symbol+pause:
		return l.final()
	case n > 0 && l.pos-l.said >= interimEvery:
		l.said = l.pos
		return l.say("interim")
	}
	return nil
}

// flush says what is left at the end of the audio.
func (l *listener) flush() error {
	l.utterance = append(l.utterance, l.reader.Finish()...)
	if len(l.utterance) > 0 {
		if err := l.final(); err != nil {
			return err
		}
	}
	if l.pos == l.spoken {
		return nil
	}
	return l.silence(l.pos)
}

// final ends the utterance, where a next number would begin.
func (l *listener) final() error {
	last := l.utterance[len(l.utterance)-1]
	l.spoken = min(last.Start+tonecode.Symbol, l.pos)
	err := l.say("final")
	l.utterance = l.utterance[:0]
	return err
}

func (l *listener) silence(end int64) error {
	err := l.write(line{Type: "final", Start: seconds(l.spoken), End: seconds(end)})
	l.spoken = end
	return err
}

func (l *listener) say(kind string) error {
	out := line{Type: kind}
	var text []string
	for _, h := range l.utterance {
		w := lineWord{Text: tonecode.Word(h.Index), Start: seconds(h.Start), End: seconds(min(h.Start+sound, l.pos))}
		out.Words, text = append(out.Words, w), append(text, w.Text)
	}
	out.Text = strings.Join(text, " ")
	out.Start, out.End = out.Words[0].Start, out.Words[len(out.Words)-1].End
	if kind == "final" {
		out.End = seconds(l.spoken)
	}
	return l.write(out)
}

func (l *listener) write(out line) error {
	if err := l.out.Encode(out); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// seconds is exact to a tenth of a millisecond: a sample is 0.0625 ms.
func seconds(samples int64) float64 {
	return math.Round(float64(samples)/tonecode.Rate*1e4) / 1e4
}
