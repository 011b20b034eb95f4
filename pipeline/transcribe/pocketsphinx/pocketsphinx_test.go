package pocketsphinx

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

// script makes a helper of a few lines of shell.
func script(t *testing.T, dir, body string) string {
	t.Helper()
	path := filepath.Join(dir, helper)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// engine makes the engine of a query.
func engine(t *testing.T, query string) (transcribe.Engine, error) {
	t.Helper()
	s, err := spec.Parse("pocketsphinx:?" + query)
	if err != nil {
		t.Fatal(err)
	}
	return New(s, transcribe.Host{Logger: slog.New(slog.DiscardHandler)})
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		name, query, helper string
		want                []string // in the error; none: no error
		streams             int
	}{
		{"finds its model", "", `test "$*" = --check`, nil, 0},
		{"streams", "streams=5", `exit 0`, nil, 5},
		{"options are flags", "lm=a.bin&hmm=m&dict=d", `test "$*" = "--dict=d --hmm=m --lm=a.bin --check"`, nil, 0},
		{"no model", "", `echo "install pocketsphinx-en-us" >&2; exit 3`, []string{"install pocketsphinx-en-us", "exit status 3", "none:"}, 0},
		{"the last line counts", "", `echo a >&2; echo "cannot load" >&2; exit 1`, []string{"pocketsphinx: cannot load ("}, 0},
		{"fails without a word", "", `exit 1`, []string{"--check: exit status 1"}, 0},
		{"unknown option", "model=x", `exit 0`, []string{`no option "model"`, "dict, helper, hmm, lm, streams"}, 0},
		{"empty option", "lm=", `exit 0`, []string{`option lm needs one value`}, 0},
		{"option given twice", "lm=a&lm=b", `exit 0`, []string{`option lm needs one value`}, 0},
		{"no helper", "helper=/nowhere/rec", `exit 0`, []string{"/nowhere/rec"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := script(t, t.TempDir(), c.helper)
			query := c.query
			if !strings.Contains(query, "helper=") {
				query += "&helper=" + path
			}
			e, err := engine(t, query)
			if len(c.want) == 0 {
				if err != nil || e.Recognizer == nil || e.Name != "pocketsphinx" || e.Streams != c.streams && c.streams > 0 || e.Streams < 2 {
					t.Fatalf("%+v, %v", e, err)
				}
				return
			}
			wantError(t, err, c.want...)
		})
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err := engine(t, "")
	wantError(t, err, "make run", "libpocketsphinx-dev", "-tags pocketsphinx", "none:")
	want := script(t, dir, "exit 0")
	if got, err := find(); err != nil || got != want {
		t.Errorf("find() = %q, %v, want %q", got, err, want)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}
