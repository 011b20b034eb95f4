//go:build linux

package harness

import (
	"bytes"
	"fmt"
	"os"
	"slices"
)

// IntoDocs puts text between the markers of that name in a Markdown file:
// <!-- name: begin --> and <!-- name: end -->, each a line.
func IntoDocs(file, name, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->\n"
	before, rest, ok := bytes.Cut(b, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table: two lines %s and %s", file, begin[:len(begin)-1], end[:len(end)-1])
	}
	return os.WriteFile(file, slices.Concat(before, []byte(begin+"\n"+text), []byte(end), after), 0o600) // #nosec G703 -- the caller's file
}
