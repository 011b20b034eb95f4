package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secret is what must stand nowhere.
const secret = "hunter2"

// Secrets that a server is given by flags, files, the environment and requests are
// in none of its logs, at any level and in either format, and not in what is
// printed of its configuration.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	t.Setenv("VERBATIM_WEBHOOK_SECRET", "whsec_"+"aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization="+secret)
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nobody answers at these, so that what fails is logged.
	flags := []string{
		"--ice-server", "turn:turn.example.net?username=" + secret + "&credential=" + secret,
		"--webhook", "http://" + secret + ":" + secret + "@127.0.0.1:9/" + secret + "?token=" + secret,
		"--otlp-endpoint", "http://127.0.0.1:9/" + "?token=" + secret,
		"--nats", "nats://" + secret + ":" + secret + "@127.0.0.1:9,nats://" + secret + ":" + secret + "@127.0.0.1:10",
	}
	const engine = "openai+http://127.0.0.1:9/v1"
	for _, format := range []string{"text", "json"} {
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		given := append([]string{"--log-level", "debug", "--log-format", format, "--drain", "1s"}, flags...)
		s := serveTo(t, log, t.TempDir(), engine+"?key_file="+keyFile, given...)
		out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", s.url, "--wait", "1s").CombinedOutput()
		if err == nil {
			t.Errorf("there is a recognizer: %s", out)
		}
		for _, path := range []string{
			"/v1/meetings?token=" + secret, "/v1/sessions/" + secret, "/" + secret, "/v1/rooms/" + secret + "/whip?token=" + secret,
			"/v1/meetings/" + secret, "/v1/rooms/r/ingest?token=" + secret, "/v1/meetings?cursor=" + secret,
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPatch} {
				req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(secret))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+secret)
				req.Header.Set("Cookie", secret)
				req.Header.Set("Traceparent", secret)
				req.Header.Set("If-Match", secret)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
		}
		s.stop()
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, secret) {
				t.Errorf("in the log: %s", line)
			}
		}
		for _, want := range []string{"/v1/sessions/{session}", "/v1/rooms/{room}/whip"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no request of %s is in the log (%d bytes)", want, len(text))
			}
		}
	}

	args := append([]string{
		"config", "print", "--recognizer", engine + "?key_file=" + keyFile, "--recordings", "s3://bucket?region=x&accesskey=" + secret,
		"--db", "postgres://" + secret + ":" + secret + "@127.0.0.1/db?sslpassword=" + secret,
	}, flags...)
	out, err := verbatim(t.Context(), args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), secret) || strings.Count(string(out), "(set)") < 5 {
		t.Errorf("%v: %s", err, out)
	}
	// What is wrong is told without them, too.
	for i, wrong := range []string{"--otlp-endpoint=" + secret, "--ice-server=turn:" + secret + "?x=" + secret, "--webhook=" + secret, "--nats=" + secret + ":" + secret + "@x", "--recordings=" + secret + "://" + secret} {
		out, err := verbatim(t.Context(), "config", "check", "--recognizer", "none:", wrong).CombinedOutput()
		if err == nil || (i < 4 && strings.Contains(string(out), secret)) {
			t.Errorf("%v: %s", err, out)
		}
	}
}
