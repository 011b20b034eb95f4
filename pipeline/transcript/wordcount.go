package transcript

import (
	"strings"
	"unicode"
)

// WordCount is how many words were said: those that the engine gave, else those
// that stand between spaces in the text. Punctuation by itself is no word. ok is
// false where no one can know: the engine gave no words, and the text is in a
// script that puts no space between them.
func (s Segment) WordCount() (n int, ok bool) {
	for _, w := range s.Words {
		if strings.IndexFunc(w.Text, spoken) >= 0 {
			n++
		}
	}
	if len(s.Words) > 0 {
		return n, true
	}
	for piece := range strings.FieldsSeq(s.Text) {
		if strings.IndexFunc(piece, spoken) >= 0 {
			n++
		}
	}
	return n, !strings.ContainsFunc(s.Text, func(r rune) bool { return unicode.In(r, unspaced...) })
}
