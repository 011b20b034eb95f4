package pocketsphinx

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

func TestNew(t *testing.T) {
	for _, c := range []struct {
		name, query, helper string
		want                []string // in the error; none: no error
	}{
		{"finds its model", "", `test "$*" = --check`, nil},
		{"options are flags", "lm=a.bin&hmm=m&dict=d", `test "$*" = "--dict=d --hmm=m --lm=a.bin --check"`, nil},
		{"no model", "", `echo "install pocketsphinx-en-us" >&2; exit 3`, []string{"install pocketsphinx-en-us", "exit status 3", "none:"}},
		{"the last line counts", "", `echo a >&2; echo "cannot load" >&2; exit 1`, []string{"pocketsphinx: cannot load ("}},
		{"fails without a word", "", `exit 1`, []string{"--check: exit status 1"}},
		{"unknown option", "model=x", `exit 0`, []string{`no option "model"`, "dict, helper, hmm, lm"}},
		{"empty option", "lm=", `exit 0`, []string{`"lm" needs one value`}},
		{"option given twice", "lm=a&lm=b", `exit 0`, []string{`"lm" needs one value`}},
		{"no helper", "helper=/nowhere/rec", `exit 0`, []string{"/nowhere/rec"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			query, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			path := script(t, t.TempDir(), c.helper)
			if !query.Has("helper") {
				query.Set("helper", path)
			}
			r, err := New(query, slog.New(slog.DiscardHandler))
			if len(c.want) == 0 {
				if err != nil || r == nil {
					t.Fatal(err)
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
	_, err := New(nil, slog.New(slog.DiscardHandler))
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
