package command

import (
	"errors"
	"strings"
)

// Parse splits a command line into the program and its arguments, as a shell
// would, without running one: words stand between white space, '…' keeps
// everything as it is, in "…" a backslash escapes " and \, and outside of
// quotes it escapes any character. Nothing is expanded.
func Parse(line string) ([]string, error) {
	var (
		argv   []string
		word   strings.Builder
		inWord bool // "" is a word too
		quote  rune // ' or " or 0
		escape bool
	)
	for _, r := range line {
		switch {
		case escape:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escape = false
		case r == '\\' && quote != '\'':
			escape, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				argv = append(argv, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	switch {
	case quote != 0:
		return nil, errors.New("a quote is not closed")
	case escape:
		return nil, errors.New("a backslash stands at the end")
	case inWord:
		argv = append(argv, word.String())
	}
	if len(argv) == 0 {
		return nil, errors.New("no program is named")
	}
	return argv, nil
}
