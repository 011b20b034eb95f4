package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files with secrets that others can read are told of, once each; those that only the
// server reads are not, nor those of an orchestrator.
func TestSecretFilesThatOthersRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(tokenSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "volume")
	volume := filepath.Dir(file("..2026_11_28_10_00_00.123/secret", 0o644))
	if err := os.Symlink(volume, link); err != nil {
		t.Fatal(err)
	}
	c := serveCmd{
		ICEServer:  []string{"turn:h?secret-file=" + file("group", 0o640), "turn:i?secret-file=" + file("group", 0o640)},
		Recognizer: []string{"openai+http://h/v1?key_file=" + file("key", 0o604)},
		NATS:       natsFlags{Creds: filepath.Join(link, "secret"), Key: filepath.Join(dir, "nowhere")},
		TLS:        tlsFlags{TLSKey: file("closed", 0o600)},
	}
	c.AuthSecretFile = file("auth", 0o644)
	var log strings.Builder
	c.warnOfReaders(slog.New(slog.NewTextHandler(&log, nil)))
	var got []string
	for line := range strings.Lines(log.String()) {
		_, path, _ := strings.Cut(line, " file="+dir+"/")
		name, rest, _ := strings.Cut(path, " mode=")
		_, who, _ := strings.Cut(rest, "readers=")
		got = append(got, name+" "+strings.TrimSuffix(who, "\n"))
	}
	want := []string{"auth everybody", `group "its group"`, "key everybody"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q: %s", got, want, log.String())
	}
	if strings.Contains(log.String(), tokenSecret) {
		t.Error("the secret is in it")
	}
}
