package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A node keeps its name with its audio, and does not take another's.
func TestNodeName(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) (string, error) {
		db, err := (&storeFlags{Node: name}).open(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", err
		}
		return db.Node(), db.Close()
	}
	first, err := open("")
	if err != nil || !nodeName.MatchString(first) {
		t.Fatalf("%q, %v", first, err)
	}
	for _, name := range []string{"", first} {
		if same, err := open(name); same != first || err != nil {
			t.Errorf("%q, then %q, %v", first, same, err)
		}
	}
	if _, err := open("other"); err == nil || !strings.Contains(err.Error(), first) {
		t.Errorf("it is another one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "node"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := open(""); err == nil {
		t.Errorf("a name from an empty file: %q", name)
	}
	dir = t.TempDir()
	for _, bad := range []string{"A", "a b", "-a", strings.Repeat("a", 65), "a/b"} {
		if _, err := open(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func TestNodeURL(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "https://a.example/": "https://a.example", "http://a.example:8080/node1": "http://a.example:8080/node1",
		"a.example": "!", "ftp://a.example": "!", "https://u:p@a.example": "!", "https://a.example?x": "!", "https://": "!",
	} {
		f := storeFlags{NodeURL: text}
		err := f.checkURL()
		if want == "!" && err == nil || want != "!" && (err != nil || f.NodeURL != want) {
			t.Errorf("%q: %q, %v", text, f.NodeURL, err)
		}
	}
}

// What is no PostgreSQL is told without a password.
func TestDBRefused(t *testing.T) {
	const secret = "geheim-wort"
	for _, db := range []string{"mysql://u:" + secret + "@h/d", "host=h password=" + secret, "postgres://u:" + secret + "@h:x/d", "postgres://u:" + secret + "@127.0.0.1:1/d?connect_timeout=1"} {
		out, err := verbatim(t.Context(), "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:", "--db", db).CombinedOutput()
		if err == nil || strings.Contains(string(out), secret) {
			t.Errorf("%v: %s", err, out)
		}
	}
}
