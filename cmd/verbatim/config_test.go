package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const exampleFile = "../../docs/verbatim.example.yaml"

// configRun is `verbatim config check` or print, with none of our own environment.
func configRun(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	cmd := verbatim(t.Context(), append([]string{"config"}, args...)...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// The example has every key there is, no other, and what it says are the defaults;
// the lines that are commented out are right, too.
func TestExampleFile(t *testing.T) {
	keys := func(text string) map[string]any {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	b, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := configRun(t, "print")
	if err != nil {
		t.Fatalf("%v: %s", err, defaults)
	}
	effective, err := configRun(t, "print", "--config", exampleFile)
	if err != nil {
		t.Fatalf("%v: %s", err, effective)
	}
	comment := regexp.MustCompile(`(?m) # .*$`)
	if got, want := comment.ReplaceAllString(effective, ""), comment.ReplaceAllString(defaults, ""); got != want {
		t.Errorf("with the example it is\n%s\nwithout\n%s", got, want)
	}
	for key := range keys(defaults) {
		if _, ok := keys(string(b))[key]; !ok {
			t.Errorf("the example has no %s", key)
		}
	}
	if n := strings.Count(effective, "# file: line"); n != len(keys(defaults)) {
		t.Errorf("%d of %d keys are from the file", n, len(keys(defaults)))
	}

	// With what is commented out in place of what stands before it.
	lines := strings.Split(string(b), "\n")
	var out []string
	for _, line := range lines {
		switch rest, ok := strings.CutPrefix(line, "#"); {
		case ok && strings.HasPrefix(rest, "  - "):
			out[len(out)-1] = strings.TrimSuffix(out[len(out)-1], " []")
			out = append(out, rest)
		case ok && regexp.MustCompile(`^[a-z-]+: `).MatchString(rest):
			out[len(out)-1] = rest
		case !ok:
			out = append(out, line)
		}
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(strings.Join(out, "\n"), "/etc/verbatim/key", key), "credential=…", "credential=x")
	text = strings.Replace(text, `"pocketsphinx:"`, "wyoming+tcp://127.0.0.1:9", 1) // which is there
	path := filepath.Join(dir, "v.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VERBATIM_WEBHOOK_SECRET", "whsec_"+"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if out, err := configRun(t, "check", "--config", path); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
}

// Everything that is wrong is said, and the exit code tells.
func TestConfigCheck(t *testing.T) {
	example, err := filepath.Abs(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"unknown recognizer": {[]string{"--recognizer", "wishper:"}, []string{"--recognizer: "}},
		"missing program":    {[]string{"--recognizer", "command:/nowhere/at-all"}, []string{"--recognizer: "}},
		"three recognizers":  {[]string{"--recognizer", "none:", "--recognizer", "none:", "--recognizer", "none:"}, []string{"--recognizer: "}},
		"addresses":          {[]string{"--listen", "8080", "--media-listen", "localhost:1", "--admin", "x"}, []string{"--listen: ", "--media-listen: ", "--admin: "}},
		"reachable":          {[]string{"--listen", ":8080", "--admin", ":9090"}, []string{"--insecure ", "--insecure-admin"}},
		"durations":          {[]string{"--drain=-1s", "--linger=-1s", "--drain-delay=-1s"}, []string{"--drain: ", "--linger: ", "--drain-delay"}},
		"webhooks":           {[]string{"--webhook", "https://example.org", "--webhook-secret-file", "/nowhere"}, []string{"--webhook-secret-file: "}},
		"half of TLS":        {[]string{"--tls-cert", "/nowhere"}, []string{"--tls-key"}},
		"a certificate":      {[]string{"--tls-cert", "/nowhere", "--tls-key", "/nowhere"}, []string{"/nowhere"}},
		"a proxy":            {[]string{"--behind-proxy"}, []string{"can be reached from other machines"}},
		"a public address":   {[]string{"--public-ip", "meet.example"}, []string{"--public-ip: "}},
		"other ways":         {[]string{"--media-tcp", "x", "--turn-listen", "y", "--turns-listen", ":z", "--turn-secret-file", "/nowhere"}, []string{"--media-tcp: ", "--turn-listen: ", "--turns-listen: ", "--turn-secret-file: "}},
		"no secret":          {[]string{"--webhook", "https://example.org"}, []string{"VERBATIM_WEBHOOK_SECRET"}},
		"ice":                {[]string{"--ice-server", "http://x"}, []string{"--ice-server, number 1"}},
		"origin":             {[]string{"--cors-origin", "example.org"}, []string{"--cors-origin example.org"}},
		"all origins":        {[]string{"--cors-origin", "*"}, []string{"--cors-origin *"}},
		"recordings":         {[]string{"--recordings", "ftp://x"}, []string{"--recordings: "}},
		"data":               {[]string{"--data", exampleFile}, []string{"is no folder"}},
		"a folder in a file": {[]string{"--recordings", "file://" + example + "/x"}, []string{"--recordings: "}},
		"files for NATS": {
			[]string{"--nats", "nats://127.0.0.1:9", "--nats-creds", "/nowhere/1", "--nats-ca", "/nowhere/2", "--nats-cert", "/nowhere/3"},
			[]string{"--nats-creds: ", "/nowhere/1", "--nats-ca: ", "/nowhere/2", "--nats-key: ", "/nowhere/3"},
		},
		"no credentials":     {[]string{"--nats", "nats://127.0.0.1:9", "--nats-creds", exampleFile}, []string{"--nats-creds: "}},
		"file of a database": {[]string{"--db", "postgres://u:" + secret + "@h/d?sslmode=verify-full&sslrootcert=/nowhere"}, []string{"--db: open /nowhere"}},
		"links":              {[]string{"--auth-link-secret-file", "/nowhere"}, []string{"--auth-link-secret-file: "}},
		"auth":               {[]string{"--auth-secret-file", "/nowhere"}, []string{"--auth-secret-file: "}},
		"keys":               {[]string{"--auth-jwks", "id.example.org"}, []string{"--auth-jwks: "}},
		"database":           {[]string{"--db", "mysql://x:" + secret + "@h", "--node-url", "h"}, []string{"--db: "}},
		"node":               {[]string{"--node", "A B"}, []string{"--node: "}},
		"size":               {[]string{"--min-free", "lots"}, []string{"min-free"}},
		"traces":             {[]string{"--trace-ratio", "2", "--otlp-endpoint", "http://x"}, []string{"--trace-ratio"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"check"}, c.args...)
			if !strings.Contains(name, "recognizer") && name != "missing program" {
				args = append(args, "--recognizer", "none:")
			}
			out, err := configRun(t, args...)
			if err == nil || strings.Contains(out, secret) {
				t.Errorf("%v: %s", err, out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in %s", want, out)
				}
			}
		})
	}
	dir := t.TempDir()
	out, err := configRun(t, "check", "--recognizer", "none:", "--data", dir+"/new/data", "--recordings", "file://"+dir+"/recordings")
	if err != nil || !strings.Contains(out, "good") {
		t.Errorf("%v: %s", err, out)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("it has made %v, %v", made, err)
	}
}

// Variables that nothing reads are told of, and are no error.
func TestUnknownVariables(t *testing.T) {
	t.Setenv("VERBATIM_LISTN", "127.0.0.1:1")
	t.Setenv("VERBATIM_ENGINE_KEY", "k")
	for _, flags := range [][]string{{"config", "check"}, {"serve", "--listen", "127.0.0.1:0", "--admin", "nowhere"}} {
		out, err := verbatim(t.Context(), append(flags, "--recognizer", "openai+http://127.0.0.1:9/v1?key_env=VERBATIM_ENGINE_KEY")...).CombinedOutput()
		if flags[0] == "config" && err != nil || !strings.Contains(string(out), "variable=VERBATIM_LISTN did_you_mean=VERBATIM_LISTEN") ||
			strings.Contains(string(out), "ENGINE_KEY") {
			t.Errorf("%v: %v: %s", flags, err, out)
		}
	}
}

// What serve would only warn of is told, too.
func TestConfigCheckWarns(t *testing.T) {
	out, err := configRun(t, "check", "--recognizer", "openai+http://127.0.0.1:9/v1?key_file=/nowhere")
	if err != nil || !strings.Contains(out, "level=WARN") || !strings.Contains(out, "/nowhere") {
		t.Errorf("%v: %s", err, out)
	}
}

// What serve would fail on is told by config check in the same words.
func TestConfigCheckSaysWhatServeSays(t *testing.T) {
	for _, flags := range [][]string{
		{"--data", exampleFile + "/x"},
		{"--recordings", "file:///dev/null/x"},
		{"--nats", "nats://127.0.0.1:9", "--nats-ca", exampleFile},
		{"--nats", "nats://127.0.0.1:9", "--nats-creds", "/nowhere"},
		{"--auth-link-secret-file", "/nowhere"},
		{"--tls-cert", exampleFile, "--tls-key", "/nowhere"},
	} {
		args := append([]string{"--recognizer", "none:", "--data", t.TempDir()}, flags...)
		checked, err := configRun(t, append([]string{"check"}, args...)...)
		if err == nil {
			t.Errorf("%v: %s", flags, checked)
		}
		served, err := verbatim(t.Context(), append([]string{"serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0"}, args...)...).CombinedOutput()
		if err == nil || string(served) != checked {
			t.Errorf("%v: serve says\n%s and config check\n%s", flags, served, checked)
		}
	}
}

// A folder that may not be written to is told of; root may write to all.
func TestCheckFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{dir, filepath.Join(dir, "new", "data")} {
		if err := checkFolder(folder); errors.Is(err, fs.ErrPermission) != (os.Getuid() != 0) {
			t.Errorf("%s: %v", folder, err)
		}
	}
}
