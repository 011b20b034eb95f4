package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"verbatim/pipeline/meeting"
)

// hooked is a program that is told what happens.
type hooked struct {
	t      *testing.T
	mu     sync.Mutex // guards what follows
	away   bool
	events []string          // in the order in which they came
	bodies map[string][]byte // the last of each type
	ids    map[string]int    // how often each event came
}

const hookSecret = "0123456789abcdefghijklmnop"

func (h *hooked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body, _ := io.ReadAll(r.Body)
	hook, _ := standardwebhooks.NewWebhookRaw([]byte(hookSecret))
	if err := hook.Verify(body, r.Header); err != nil {
		h.t.Error(err)
	}
	var e struct{ Type string }
	if err := json.Unmarshal(body, &e); err != nil {
		h.t.Error(err)
	}
	h.events = append(h.events, e.Type)
	h.bodies[e.Type] = body
	h.ids[r.Header.Get("Webhook-Id")]++
}

// until waits for what has come, at most a minute, and gives it. More may come
// meanwhile.
func (h *hooked) until(what string, ok func(events []string) bool) []string {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		h.mu.Lock()
		events := slices.Clone(h.events)
		h.mu.Unlock()
		if ok(events) {
			return events
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: %v", what, events)
		}
	}
}

// A program is told of everything, once and in order, though it is away for a
// while and the server is killed meanwhile: each event was stored with what it
// tells of.
func TestWebhooks(t *testing.T) {
	t.Setenv(beRecognizer, "hello")
	h := &hooked{t: t, bodies: map[string][]byte{}, ids: map[string]int{}}
	srv := httptest.NewServer(h)
	defer srv.Close()
	data := t.TempDir()
	file := filepath.Join(data, "secret")
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookSecret))
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	flags := []string{
		"--webhook", srv.URL + "/hook?token=hidden", "--webhook-secret-file", file, "--recordings", "none",
		"--webhook-events", "meeting.started,participant.joined,participant.left,segment.final,meeting.complete",
	}
	s := serveTo(t, log, data, "command:"+os.Args[0], flags...)

	c := s.ingest("?name=Ada&participant=ada", 16000, "")
	pcm := make([]int16, 16000)
	c.send(pcm, 0, len(pcm))
	first := h.until("the first words", func(es []string) bool { return slices.Contains(es, "segment.final") })
	if got := first[:3]; !slices.Equal(got, []string{"meeting.started", "participant.joined", "segment.final"}) {
		t.Errorf("began with %v", got)
	}

	h.mu.Lock()
	h.away = true
	h.mu.Unlock()
	c.end(len(pcm))
	m := s.complete("the track is transcribed")
	s.request(http.MethodPost, "/v1/meetings/"+m.ID+"/end", "")
	s.until("the meeting is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
	s.kill()
	h.mu.Lock()
	h.away = false
	h.mu.Unlock()
	s = serveTo(t, log, data, "command:"+os.Args[0], flags...)
	all := h.until("the end", func(es []string) bool { return slices.Contains(es, "meeting.complete") })

	segments := len(strings.Split(strings.TrimSpace(string(s.get("/v1/meetings/"+m.ID+"/transcript.txt"))), "hello")) - 1
	want := slices.Concat([]string{"meeting.started", "participant.joined"}, slices.Repeat([]string{"segment.final"}, segments), []string{"participant.left", "meeting.complete"})
	got := slices.Clone(all)
	// The last segments may come before the participant has left, or after it.
	if left := slices.Index(got, "participant.left"); left > 2 {
		got = slices.Insert(slices.Delete(got, left, left+1), len(got)-2, "participant.left")
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", all, want)
	}
	h.mu.Lock()
	ids, bodies := maps.Clone(h.ids), maps.Clone(h.bodies)
	h.mu.Unlock()
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	doc := s.held(t).doc
	for kind, schema := range map[string]string{
		"meeting.started": "WebhookMeeting", "participant.joined": "WebhookParticipant", "participant.left": "WebhookParticipant",
		"segment.final": "WebhookSegment", "meeting.complete": "WebhookMeeting",
	} {
		if err := doc.CheckSchema(schema, bodies[kind]); err != nil {
			t.Errorf("%s: %v: %s", kind, err, bodies[kind])
		}
	}
	if n := s.scrape()[`verbatim_webhook_events_total{outcome=delivered}`]; n == 0 {
		t.Error("no delivery is counted")
	}
	s.stop()
	text, err := os.ReadFile(log.Name())
	if err != nil || strings.Contains(string(text), "hidden") || strings.Contains(string(text), secret) {
		t.Errorf("%v: secrets in the log: %s", err, text)
	}
}

// A server without what it needs for webhooks does not start, and says what is
// missing.
func TestWebhooksRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env, want string
		flags     []string
	}{
		"no secret":   {"", "openssl rand", []string{"--webhook", "http://127.0.0.1:1/"}},
		"bad secret":  {"hunter2", "VERBATIM_WEBHOOK_SECRET: a secret is whsec_", []string{"--webhook", "http://127.0.0.1:1/"}},
		"bad address": {"whsec_" + base64.StdEncoding.EncodeToString([]byte(hookSecret)), "--webhook, number 1", []string{"--webhook", "hunter2"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := verbatim(t.Context(), slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:"}, c.flags)...)
			cmd.Env = append(cmd.Env, webhookSecrets+"="+c.env)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "hunter2") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
