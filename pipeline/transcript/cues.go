package transcript

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What one can read in one look: two lines of 42 characters, seven seconds (the
// limits of broadcasters' guidelines). Longer utterances are split where the
// engine said when each word was spoken, and stay whole where it did not: no
// time is made up.
const (
	cueRunes = 84
	cueMS    = 7000
)

// blankMS is how long a cue is shown whose segment has no duration.
const blankMS = 1000

// cue is a piece of a segment's text: a range of its bytes, for its text is
// needed only when it is written.
type cue struct {
	segment    int
	from, to   int
	start, end int64 // ms
}

// cues splits segments, whose texts are given, and puts the pieces in the order
// of their starts, as WebVTT demands: pieces of utterances that overlap
// interleave.
func cues(segments []Segment, texts []string) []cue {
	cs := make([]cue, 0, len(segments))
	for i, s := range segments {
		if texts[i] != "" {
			cs = split(cs, i, s, texts[i])
		}
	}
	byStart := func(a, b cue) int { return cmp.Compare(a.start, b.start) }
	if !slices.IsSortedFunc(cs, byStart) {
		slices.SortStableFunc(cs, byStart)
	}
	return cs
}

// split appends the cues of s, whose text is given as one line, to cs.
func split(cs []cue, i int, s Segment, text string) []cue {
	start := max(s.StartMS, 0)
	end := s.EndMS
	if end <= start {
		end = start + blankMS
	}
	whole := cue{segment: i, to: len(text), start: start, end: end}
	if len(s.Words) < 2 || utf8.RuneCountInString(text) <= cueRunes && end-start <= cueMS {
		return append(cs, whole)
	}
	cuts := align(text, s.Words)
	if cuts == nil {
		return append(cs, whole)
	}
	for first := 0; first < len(s.Words); {
		next := nextCut(text, s.Words, cuts, first)
		c := cue{segment: i, from: cuts[first], to: len(text), start: start, end: end}
		if first > 0 {
			c.start = between(s.Words[first].StartMS, cs[len(cs)-1].start, end)
		}
		if next < len(s.Words) {
			c.to = cuts[next]
			c.end = between(s.Words[next-1].EndMS, c.start, end)
		}
		if c.end <= c.start {
			c.end = c.start + blankMS
		}
		cs = append(cs, c)
		first = next
	}
	return cs
}

func between(v, lo, hi int64) int64 { return min(max(v, lo), hi) }

// nextCut is the word that begins the cue after the one that begins with word
// first: as late as fits, but sooner at the end of a sentence or a clause if the cue
// is then a third or half full.
func nextCut(text string, words []Word, cuts []int, first int) int {
	last, sentence, clause := 0, 0, 0
	runes := 0
	for k := first + 1; k <= len(words); k++ {
		from, to := cuts[k-1], len(text)
		if k < len(words) {
			to = cuts[k]
		}
		runes += utf8.RuneCountInString(text[from:to])
		fits := runes <= cueRunes+1 && words[k-1].EndMS-words[first].StartMS <= cueMS
		if !fits && last > 0 {
			return cmp.Or(sentence, clause, last)
		}
		if to == from {
			continue // no place to cut before word k
		}
		if k == len(words) {
			return k
		}
		last = k
		end, _ := utf8.DecodeLastRuneInString(strings.TrimRight(text[:to], " "))
		switch {
		case strings.ContainsRune(".?!…。？！", end) && runes >= cueRunes/3:
			sentence = k
		case strings.ContainsRune(",;:、，；：–—", end) && runes >= cueRunes/2:
			clause = k
		}
	}
	return len(words)
}

// align finds where in text each word begins. Where the text cannot be cut
// before a word, its place is that of the word before. The engine's text and
// words may differ in case and punctuation; if they differ in more, the result
// is nil.
func align(text string, words []Word) []int {
	cuts := make([]int, len(words))
	at, prev := 0, 0
	for k, w := range words {
		letters := 0
		for _, r := range w.Text {
			if !spoken(r) {
				continue
			}
			gap := at
			for at < len(text) {
				t, _ := utf8.DecodeRuneInString(text[at:])
				if spoken(t) {
					break
				}
				at += utf8.RuneLen(t)
			}
			t, size := utf8.DecodeRuneInString(text[at:])
			if size == 0 || unicode.ToLower(t) != unicode.ToLower(r) {
				return nil
			}
			if letters == 0 && k > 0 {
				if space := strings.LastIndexByte(text[gap:at], ' '); space >= 0 {
					prev = gap + space + 1
				} else if unicode.In(t, unspaced...) {
					prev = at
				}
			}
			at += size
			letters++
		}
		cuts[k] = prev
	}
	if strings.IndexFunc(text[at:], spoken) >= 0 {
		return nil
	}
	return cuts
}

// spoken reports whether r is of a word, and not of its punctuation.
func spoken(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// unspaced are the scripts that put no space between words.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}
