package conformance

import (
	"encoding/binary"
	"strings"

	"verbatim/internal/tonecode"
)

// In samples (16 kHz).
const (
	// soundOf a word; then the next one may begin.
	sound = tonecode.Symbol * 9 / 10
	// pause after which an utterance is over.
	pause = 300 * tonecode.Rate / 1000
	// longest utterance, and longest silence that nothing is said to.
	longest = 2500 * tonecode.Rate / 1000
	// unread is the end of the audio in which a word may have begun that was not
	// read yet.
	unread = 200 * tonecode.Rate / 1000
)

// Said is something that a server says: an interim or a final.
type Said struct {
	// Final ones follow each other without a hole from 0 on, in From and To.
	Final bool
	// Garbage stands for anything that the protocol does not know.
	Garbage bool
	// Withheld stands for a final that is never said. In a protocol that replies
	// to every message this one has no reply; all others leave it out.
	Withheld bool
	// From and To are the audio that it is about, in samples (16 kHz) that the
	// server has heard, To without.
	From, To int64
	Words    []Word // none for silence
}

// Word is one word, in samples that the server has heard.
type Word struct {
	Text       string
	Start, End int64
}

// Text is all words in a line.
func (s *Said) Text() string {
	texts := make([]string, 0, len(s.Words))
	for _, w := range s.Words {
		texts = append(texts, w.Text)
	}
	return strings.Join(texts, " ")
}

// Ear understands tone code. The zero value is ready.
type Ear struct {
	// Whole is for protocols in which the client says where an utterance ends:
	// only Flush ends one.
	Whole  bool
	reader tonecode.Reader
	pos    int64  // heard so far
	from   int64  // what was not yet in a final
	words  []Word // since from
	shown  int    // of them in an interim
}

// Write hears pcm and returns the finals that are due.
func (e *Ear) Write(pcm []int16) (finals []Said) {
	for len(pcm) > 0 {
		// In small pieces, so that finals do not depend on how it was cut.
		n := min(len(pcm), tonecode.Rate/50)
		e.add(e.reader.Write(pcm[:n]))
		e.pos += int64(n)
		if pcm = pcm[n:]; e.Whole {
			continue
		}
		switch last := len(e.words) - 1; {
		case last >= 0 && e.pos-e.words[last].End >= pause:
			finals = append(finals, e.cut(e.pos))
		case last >= 0 && e.pos-e.from >= longest:
			finals = append(finals, e.cut(e.words[last].End))
		case last < 0 && e.pos-e.from >= longest:
			finals = append(finals, e.cut(e.pos-unread))
		}
	}
	return finals
}

// Flush returns the final of everything heard, none if that is nothing.
func (e *Ear) Flush() (finals []Said) {
	e.add(e.reader.Finish())
	if e.pos > e.from {
		finals = append(finals, e.cut(e.pos))
	}
	return finals
}

// Interim is what was heard since the last final, if there is any more of it
// than at the last call.
func (e *Ear) Interim() (s Said, ok bool) {
	if len(e.words) <= e.shown {
		return s, false
	}
	e.shown = len(e.words)
	return Said{From: e.from, To: e.pos, Words: e.words[:e.shown:e.shown]}, true
}

func (e *Ear) add(heard []tonecode.Heard) {
	for _, h := range heard {
		e.words = append(e.words, Word{tonecode.Word(h.Index), h.Start, h.Start + sound})
	}
}

func (e *Ear) cut(to int64) Said {
	s := Said{Final: true, From: e.from, To: to, Words: e.words}
	e.from, e.words, e.shown = to, nil, 0
	return s
}

// PCM reads s16le.
func PCM(b []byte) []int16 {
	pcm := make([]int16, len(b)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return pcm
}
