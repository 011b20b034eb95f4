package store

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// How PostgreSQL's index has words: as FTS5's unicode61 with remove_diacritics 2
// has them, so that both find the same. PostgreSQL's own parser takes "a-b" and
// "x.org" for one word each, and its unaccent is an extension with rules of its own.

const (
	maxWord  = 1000 // bytes of a word that are looked at: PostgreSQL has 2,046 at most
	maxWords = 4000 // of a segment: PostgreSQL has a MiB for all
)

// lexemes are the words of text in the form in which they are compared, with a
// space between them.
func lexemes(text string) string {
	return strings.Join(split(text), " ")
}

func split(text string) []string {
	words := strings.FieldsFunc(fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Co, r)
	})
	for i, w := range words {
		if len(w) > maxWord {
			words[i] = strings.ToValidUTF8(w[:maxWord], "")
		}
	}
	slices.Sort(words)
	words = slices.Compact(words)
	return words[:min(len(words), maxWords)]
}

// fold makes all letters small and takes the accents from those of ASCII; those of
// other scripts make other letters, as й is none of и.
func fold(text string) string {
	var b strings.Builder
	plain := false // the last letter is ASCII, with or without accents
	for _, r := range norm.NFD.String(text) {
		if unicode.Is(unicode.Mn, r) && plain {
			continue
		}
		plain = r < unicode.MaxASCII
		if r == 'ς' {
			r = 'σ'
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return norm.NFC.String(b.String())
}

// tsquery is a search in PostgreSQL's language: all words, the last of which may be
// the beginning of one.
func tsquery(words []string) string {
	var terms []string
	for _, w := range words {
		for _, l := range split(w) {
			terms = append(terms, "'"+strings.ReplaceAll(strings.ReplaceAll(l, `\`, `\\`), "'", "''")+"'")
		}
	}
	if len(terms) == 0 {
		return "" // finds nothing
	}
	return strings.Join(terms, " & ") + ":*"
}
