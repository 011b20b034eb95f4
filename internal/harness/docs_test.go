//go:build linux

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIntoDocs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	const begin, end = "<!-- x: begin -->\n", "<!-- x: end -->\n"
	if err := os.WriteFile(file, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := IntoDocs(file, "x", "| new |\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + begin + "\n| new |\n" + end + "after\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := IntoDocs(file, "y", "x"); err == nil {
		t.Error("no error without markers")
	}
}
