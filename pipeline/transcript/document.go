package transcript

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Document is a transcript as it is exported. Segments and Missing stand in the
// order in which they are written: Sort's, and by start.
type Document struct {
	Meeting  any       `json:"meeting"`
	Segments []Segment `json:"segments"`
	// Complete says that nothing will be added to Segments any more.
	Complete bool      `json:"complete"`
	Missing  []Missing `json:"missing"`
	// Name is what to call a file of it, without a suffix: letters, digits, - and _.
	Name string `json:"-"`
}

// Sort brings segments into the order of a transcript: by start, then by end,
// then by track and by number in it.
func Sort(segments []Segment) { slices.SortStableFunc(segments, compare) }

func compare(a, b Segment) int {
	return cmp.Or(
		cmp.Compare(a.StartMS, b.StartMS),
		cmp.Compare(a.EndMS, b.EndMS),
		cmp.Compare(a.Track, b.Track),
		// IDs of a track are "<track>.<n>": the shorter has the smaller n.
		cmp.Compare(len(a.ID), len(b.ID)),
		cmp.Compare(a.ID, b.ID),
	)
}

// WriteJSON writes d with one segment a line. Lists are never null.
func WriteJSON(w io.Writer, d Document) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	b.WriteString(`{"meeting":`)
	if err := e.Encode(d.Meeting); err != nil {
		return fmt.Errorf("write meeting: %w", err)
	}
	b.WriteString(`,"segments":[`)
	if err := writeList(b, e, d.Segments); err != nil {
		return fmt.Errorf("write segments: %w", err)
	}
	fmt.Fprintf(b, `],"complete":%t,"missing":[`, d.Complete)
	if err := writeList(b, e, d.Missing); err != nil {
		return fmt.Errorf("write missing: %w", err)
	}
	b.WriteString("]}\n")
	return b.Flush()
}

func writeList[T any](b *bufio.Writer, e *json.Encoder, list []T) error {
	for i, t := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(t); err != nil {
			return err
		}
	}
	return nil
}

// speaker is the name to show: the participant's, else its ID, else nothing.
func speaker(p Participant) string { return cmp.Or(line(p.Name), line(p.ID)) }

// line makes one line of text: without control characters, with single spaces
// where there was any white space.
func line(s string) string {
	plain, space := true, true
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		// A space at the beginning or after another one has to go.
		plain = c > ' ' && c < 0x7f || c == ' ' && !space
		space = c == ' '
	}
	if plain && !space {
		return s // nearly all text there is, in Latin letters
	}
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), breaks), " ")
}

// appendTime writes ms as hh:mm:ss, a separator and three digits. Hours take as
// many digits as they need.
func appendTime(b []byte, ms int64, sep byte) []byte {
	ms = max(ms, 0)
	b = appendClock(b, ms)
	f := ms % 1000
	return append(b, sep, byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
}

// appendClock writes ms as hh:mm:ss.
func appendClock(b []byte, ms int64) []byte {
	s := max(ms, 0) / 1000
	h, m, s := s/3600, s/60%60, s%60
	if h < 10 {
		b = append(b, '0')
	}
	b = strconv.AppendInt(b, h, 10)
	return append(b, ':', byte('0'+m/10), byte('0'+m%10), ':', byte('0'+s/10), byte('0'+s%10))
}

// breaks reports what stands between words: white space, the line and paragraph
// separators among it, and control characters.
func breaks(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
