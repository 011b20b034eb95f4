package spec

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct{ text, err string }{
		{"engine://host:1/v1?streams=3&wait=2s&words=false&model=m", ""},
		{"engine://host", ""},
		{"engine", "not of the form"},
		{"engine://host?streams=0", "option streams is a number from 1 on"},
		{"engine://host?wait=soon", "such as 30s"},
		{"engine://host?words=maybe", "true or false"},
		{"engine://host?model=a&model=b", "one value"},
		{"engine://host?modell=a", `there is no option "modell", there are: key_env, key_file, model, streams, wait, words`},
		{"engine://host?api_key=abc", "key_file"},
		{"engine://me:abc@host", "must not hold a password"},
		{"engine://host?access_token=abc", "key_file"},
		{"engine://host?model=%zz&token=abc", "name=value"},
		{"engine:", "names no host"},
		{"engine://host,other", "one recognizer"},
		{"engine://host/v1,other:", "one recognizer"},
		{"engine://host?key_file=a&key_env=b", "one is enough"},
	} {
		s, err := Parse(c.text)
		if err == nil {
			s.Endpoint("http")
			s.Int("streams", 1, 1)
			s.Duration("wait", time.Second, 0)
			s.Bool("words", true)
			s.Option("model", "")
			s.Key("KEY", os.Getenv)
			err = s.Err()
		}
		switch {
		case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: error %v, want %q", c.text, err, c.err)
		case err != nil && strings.Contains(err.Error(), "abc"):
			t.Errorf("%s: the error tells the secret: %v", c.text, err)
		}
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"engine:", "wss://usual/v1", ""},
		{"engine:?endpoint=ws://host:1/v2", "ws://host:1/v2", ""},
		{"engine:?endpoint=http://host", "", "a URL of ws or wss"},
		{"engine:?endpoint=ws://me:abc@host", "", "must not hold a password"},
		{"engine:?endpoint=ws://host/v1?token=abc", "", "key_file"},
		{"engine:?endpoint=ws://host/v1?region=eu", "ws://host/v1?region=eu", ""},
		{"engine:?endpoint=host", "", "names no host"},
		{"engine:?endpoint=ws://me:abc%25zz@host", "", "cannot be read"},
		{"engine:abc", "", "engine:?option=value"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		s.Bare()
		u := s.URL("endpoint", "wss://usual/v1", "ws", "wss")
		err = s.Err()
		switch {
		case c.err == "" && (err != nil || u.String() != c.want):
			t.Errorf("%s: %v, %v", c.text, u, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "abc")):
			t.Errorf("%s: error %v, want %q", c.text, err, c.err)
		}
	}
}

func TestCommandOptionsStandFirst(t *testing.T) {
	for text, want := range map[string]string{
		"command:?streams=2 ./prog --a='b?c=d'": "./prog --a='b?c=d'",
		"command:./prog ?x=1":                   "./prog ?x=1",
	} {
		s, err := Parse(text)
		if err != nil || s.Rest != want {
			t.Errorf("%s: %q, %v, want %q", text, s.Rest, err, want)
		}
	}
}

func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string {
		return map[string]string{"USUAL": "usual ", "OTHER": "other"}[name]
	}
	for query, want := range map[string]string{"": "usual", "?key_env=OTHER": "other", "?key_file=" + file: "from a file"} {
		s, err := Parse("engine:" + query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Key("USUAL", env).Require(); err != nil || got != want {
			t.Errorf("%q: key %q, %v, want %q", query, got, err, want)
		}
	}
	s, _ := Parse("engine:")
	if _, err := s.Key("NONE", env).Require(); err == nil || !strings.Contains(err.Error(), "NONE") {
		t.Errorf("no key: %v", err)
	}
	// It is read anew each time.
	s, _ = Parse("engine:?key_file=" + file)
	k := s.Key("USUAL", env)
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := k.Read(); got != "another" {
		t.Errorf("key %q after it was replaced", got)
	}
}

func TestMissingKeyIsToldAtTheStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string {
		return map[string]string{"USUAL": "abc"}[name]
	}
	for _, c := range []struct {
		query, env string
		needed     bool
		want       string
	}{
		{"", "USUAL", true, ""},
		{"", "NONE", false, ""},
		{"", "NONE", true, "environment variable NONE"},
		{"?key_env=OTHER", "USUAL", false, "environment variable OTHER"},
		{"?key_env=USUAL", "NONE", false, ""},
		{"?key_file=" + empty, "USUAL", false, "does not hold one"},
		{"?key_file=/nowhere/key", "USUAL", true, "/nowhere/key"},
	} {
		s, err := Parse("engine:" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		s.Key(c.env, env).Warn(slog.New(slog.NewTextHandler(&b, nil)), "engine", c.needed)
		if got := b.String(); (c.want == "") != (got == "") || !strings.Contains(got, c.want) || strings.Contains(got, "abc") {
			t.Errorf("%q, %s: %q, want %q", c.query, c.env, got, c.want)
		}
	}
}
