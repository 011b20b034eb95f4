//go:build pocketsphinx && cgo

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// All in samples (16 kHz).
const (
	sampleRate = 16000
	// piece is what the decoder gets at once: less than the 100 ms of speech
	// that turn its voice activity on, so that no change of it is missed. A
	// pause inside of a piece would make the times of the words before wrong.
	piece = sampleRate / 20
	// interimEvery is how often the words so far are looked at.
	interimEvery = sampleRate / 4
	// pauseEnds ends an utterance where noise keeps the voice activity on while
	// the decoder itself hears no words.
	pauseEnds = sampleRate * 8 / 10
	// After longUtterance a short pause will do (the decoder is sure of a word up
	// to 300 ms after it), and at maxUtterance the utterance ends anyway: the
	// second pass over it takes 4 % of its length, in which nothing is heard.
	longUtterance = 12 * sampleRate
	shortPause    = sampleRate * 35 / 100
	maxUtterance  = 30 * sampleRate
	// idleEvery is how often silence is spoken for; idleMargin is kept back
	// because speech begins before it is noticed (200 + 100 ms).
	idleEvery  = 5 * sampleRate
	idleMargin = sampleRate / 2
)

// line is what goes out; see docs/RECOGNIZER_COMMAND.md.
type line struct {
	Type  string     `json:"type"`
	Start float64    `json:"start"`
	End   float64    `json:"end"`
	Text  string     `json:"text"`
	Words []lineWord `json:"words,omitempty"`
}

type lineWord struct {
	Text       string  `json:"text"`
	Start      float64 `json:"start"`
	End        float64 `json:"end"`
	Confidence float64 `json:"confidence"`
}

// listener finds the utterances in one stream of audio and writes them down.
type listener struct {
	dec *decoder
	out *json.Encoder

	pos     int64  // samples that the decoder has got
	begun   int64  // where the utterance was started in the decoder
	spoken  int64  // the end of the last final
	speech  int64  // where speech was noticed in this utterance, -1 before
	looked  int64  // when the words so far were looked at
	interim string // the text of the last interim
}

// listen recognizes in until it ends.
func listen(dec *decoder, in io.Reader, out io.Writer) error {
	l := &listener{dec: dec, out: json.NewEncoder(out), speech: -1}
	if err := dec.startUtterance(); err != nil {
		return err
	}
	buf := make([]byte, 4*piece)
	pcm := make([]int16, piece)
	held := 0 // bytes at the front of buf that are not yet a sample
	for {
		n, err := in.Read(buf[held:])
		n += held
		for b := buf[:n&^1]; len(b) > 0; {
			k := min(len(b)/2, piece)
			for i := range k {
				pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
			}
			if err := l.hear(pcm[:k]); err != nil {
				return err
			}
			b = b[2*k:]
		}
		held = copy(buf, buf[n&^1:n])
		switch {
		case errors.Is(err, io.EOF):
			return l.flush()
		case err != nil:
			return fmt.Errorf("read audio: %w", err)
		}
	}
}

// hear gives at most one piece to the decoder and says what is new.
func (l *listener) hear(pcm []int16) error {
	if err := l.dec.process(pcm); err != nil {
		return err
	}
	l.pos += int64(len(pcm))
	in := l.dec.inSpeech()
	if in && l.speech < 0 {
		l.speech, l.looked = l.pos, l.pos
	}
	switch {
	case l.speech < 0:
		return l.idle()
	case !in || l.pos-l.speech >= maxUtterance:
		return l.next()
	case l.pos-l.looked < interimEvery:
		return nil
	}
	l.looked = l.pos
	words := l.dec.words(l.begun)
	if l.paused(words) {
		return l.next()
	}
	return l.say(words)
}

// idle says from time to time that there is nothing but silence.
func (l *listener) idle() error {
	if end := l.pos - idleMargin; end-l.spoken >= idleEvery {
		return l.final(nil, end)
	}
	return nil
}

// paused tells whether the decoder hears no words any more.
func (l *listener) paused(words []word) bool {
	quiet := l.pos - l.speech
	if len(words) > 0 {
		quiet = l.pos - words[len(words)-1].end
	}
	return quiet >= pauseEnds || quiet >= shortPause && l.pos-l.speech >= longUtterance
}

// say writes an interim if it is another than the last one.
func (l *listener) say(words []word) error {
	text := join(words)
	if text == "" || text == l.interim {
		return nil
	}
	l.interim = text
	return l.write(line{
		Type: "interim", Start: seconds(max(words[0].start, l.spoken)),
		End: seconds(min(words[len(words)-1].end, l.pos)), Text: text,
	})
}

// next ends the utterance, writes its final and starts another.
func (l *listener) next() error {
	if err := l.dec.endUtterance(); err != nil {
		return err
	}
	words := l.dec.words(l.begun)
	if len(words) == 0 {
		l.dec.forget()
	}
	if err := l.final(words, l.pos); err != nil {
		return err
	}
	l.begun, l.speech, l.interim = l.pos, -1, ""
	return l.dec.startUtterance()
}

// flush ends what is under way at the end of the audio.
func (l *listener) flush() error {
	if err := l.dec.endUtterance(); err != nil {
		return err
	}
	var words []word
	if l.speech >= 0 {
		words = l.dec.words(l.begun)
	}
	if l.pos == l.spoken {
		return nil
	}
	return l.final(words, l.pos)
}

// final says that everything up to end is spoken for by words.
func (l *listener) final(words []word, end int64) error {
	out := line{Type: "final", Start: seconds(l.spoken), End: seconds(end), Text: join(words)}
	for _, w := range words {
		out.Words = append(out.Words, lineWord{
			Text: w.text, Confidence: math.Round(w.confidence*1000) / 1000,
			Start: seconds(min(max(w.start, l.spoken), end)), End: seconds(min(max(w.end, l.spoken), end)),
		})
	}
	if len(out.Words) > 0 {
		out.Start = out.Words[0].Start
	}
	l.spoken = end
	return l.write(out)
}

func (l *listener) write(out line) error {
	if err := l.out.Encode(out); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func join(words []word) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	return strings.Join(texts, " ")
}

// seconds is exact to a tenth of a millisecond: a sample is 0.0625 ms.
func seconds(samples int64) float64 {
	return math.Round(float64(samples)/sampleRate*1e4) / 1e4
}
