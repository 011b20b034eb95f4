package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 24))
}

// receiver is an endpoint: it answers what the test wants, and keeps what it got.
type receiver struct {
	t      *testing.T
	secret string
	answer func(n int, e string, w http.ResponseWriter) // nil: 204
	mu     sync.Mutex
	rooms  []string // of each event that came
	times  []time.Time
	hooks  []string // webhook-id
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	hook, _ := standardwebhooks.NewWebhook(r.secret)
	if err := hook.VerifyIgnoringTimestamp(body, req.Header); err != nil { // the bubble's clock is not the library's
		r.t.Errorf("signature: %v", err)
	}
	var e struct {
		Type string
		Data struct{ Meeting struct{ Room string } }
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Type != store.MeetingStarted || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %s %v", req.Method, body, err)
	}
	r.mu.Lock()
	r.rooms = append(r.rooms, e.Data.Meeting.Room)
	r.times = append(r.times, time.Now())
	r.hooks = append(r.hooks, req.Header.Get("Webhook-Id"))
	n := len(r.rooms)
	r.mu.Unlock()
	if r.answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	r.answer(n, e.Data.Meeting.Room, w)
}

// RoundTrip lets a bubble's client talk to the receiver: its clock stands still
// while real connections are waited for.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	if w.Code == noConnection {
		return nil, fmt.Errorf("connection refused")
	}
	return w.Result(), nil
}

// What came, copied: it goes on coming.
func (r *receiver) got() []string   { return copied(r, &r.rooms) }
func (r *receiver) at() []time.Time { return copied(r, &r.times) }
func (r *receiver) ids() []string   { return copied(r, &r.hooks) }

func copied[T any](r *receiver, all *[]T) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*all)
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// world is a store and the sender of one endpoint.
type world struct {
	*testing.T
	store  *store.Store
	sender *Sender
	logged buffer
	rooms  int
}

// noConnection is an answer in place of none.
const noConnection = 599

const address = "https://ada:password@example.org/hook?token=hidden"

func newWorld(t *testing.T, r *receiver, client *http.Client, url string) *world {
	t.Helper()
	w := &world{T: t}
	var err error
	if w.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "db")); err != nil {
		t.Fatal(err)
	}
	secrets, err := ParseSecrets(secret(1) + "\n" + secret(2))
	if err != nil {
		t.Fatal(err)
	}
	r.t, r.secret = t, secret(2) // either has to do
	e, err := ParseEndpoint(url)
	if err != nil {
		t.Fatal(err)
	}
	w.sender = New(Config{Endpoint: e, Secrets: secrets, Outbox: w.store, Client: client, Logger: slog.New(slog.NewTextHandler(&w.logged, nil))})
	if _, err := w.store.SetOutbox(t.Context(), store.Outbox{Endpoints: []string{e.Name}, Types: []string{store.MeetingStarted}, Wake: w.sender.Wake}); err != nil {
		t.Fatal(err)
	}
	return w
}

// run starts the sender; stop ends it, and the store.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.sender.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
		if err := w.store.Close(); err != nil {
			w.Error(err)
		}
		for _, s := range []string{"password", "hidden", "ada:", "hook?"} {
			if strings.Contains(w.logged.String(), s) {
				w.Errorf("%q is in the log: %s", s, &w.logged)
			}
		}
	}
}

// meet makes an event, of the room a, b, c, …
func (w *world) meet() {
	w.Helper()
	room := string(rune('a' + w.rooms))
	w.rooms++
	if _, _, err := w.store.Join(w.Context(), room, transcript.Participant{ID: "p"}, "", "M"+room, time.Now()); err != nil {
		w.Fatal(err)
	}
}

func inBubble(t *testing.T, r *receiver, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, r, &http.Client{Transport: r}, address)
		stop := w.run()
		defer stop()
		test(w)
	})
}

// pass lets time go by, and what happens then be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *receiver) want(t *testing.T, got ...string) {
	t.Helper()
	if !slices.Equal(r.got(), got) {
		t.Errorf("got %v, want %v", r.got(), got)
	}
}

func TestInOrder(t *testing.T) {
	r := &receiver{}
	inBubble(t, r, func(w *world) {
		for range 3 {
			w.meet()
		}
		synctest.Wait()
		r.want(t, "a", "b", "c")
		pass(time.Hour)
		w.meet()
		synctest.Wait()
		r.want(t, "a", "b", "c", "d")
		if s := w.sender.Stats(); s != (Stats{Delivered: 4}) {
			t.Errorf("%+v", s)
		}
	})
}

// An endpoint that is away gets everything in order when it is back, and is asked
// ever more seldom until then.
func TestAway(t *testing.T) {
	for name, status := range map[string]int{"no connection": noConnection, "too many": 429, "bad gateway": 502, "unavailable": 503, "gateway timeout": 504, "moved": 308, "wrong secret": 401, "wrong address": 404} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			var back atomic.Bool
			r.answer = func(_ int, _ string, w http.ResponseWriter) {
				if back.Load() {
					w.WriteHeader(http.StatusOK)
					return
				}
				w.WriteHeader(status)
			}
			inBubble(t, r, func(w *world) {
				w.meet()
				synctest.Wait()
				w.meet() // is no reason to try earlier
				synctest.Wait()
				r.want(t, "a")
				pass(time.Hour)
				tries := len(r.got())
				if tries < 15 || tries > 30 {
					t.Errorf("%d attempts in an hour", tries)
				}
				for i := 1; i < tries; i++ {
					if r.got()[i] != "a" || r.ids()[i] != r.ids()[0] {
						t.Errorf("attempt %d was %s %s", i, r.got()[i], r.ids()[i])
					}
				}
				if gap := r.at()[tries-1].Sub(r.at()[tries-2]); gap < 3*time.Minute || gap > lastDelay {
					t.Errorf("the last two attempts are %v apart", gap)
				}
				back.Store(true)
				pass(lastDelay)
				r.want(t, append(slices.Repeat([]string{"a"}, tries+1), "b")...)
				if s := w.sender.Stats(); s.Delivered != 2 || s.Failed != int64(tries) || s.Pending != 0 {
					t.Errorf("%+v", s)
				}
				if n := strings.Count(w.logged.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings: %s", n, &w.logged)
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	r := &receiver{}
	r.answer = func(n int, _ string, w http.ResponseWriter) {
		if n == 1 {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	inBubble(t, r, func(w *world) {
		w.meet()
		pass(599 * time.Second)
		r.want(t, "a")
		pass(2 * time.Second)
		r.want(t, "a", "a")
	})
}

// However the last event of an endpoint that is away goes, the next one is sent.
func TestNotDeaf(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"erased": func(w *world) {
			if _, err := w.store.EndMeeting(w.Context(), "Ma", time.Now()); err != nil {
				w.Fatal(err)
			}
			if err := w.store.Delete(w.Context(), "Ma"); err != nil {
				w.Fatal(err)
			}
		},
		"given up": func(*world) { pass(25 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			var up atomic.Bool
			r.answer = func(_ int, _ string, w http.ResponseWriter) {
				if !up.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}
			inBubble(t, r, func(w *world) {
				w.meet()
				pass(time.Second / 2)
				end(w)
				up.Store(true)
				w.meet()
				pass(lastDelay)
				if last := r.got()[len(r.got())-1]; last != "b" {
					t.Errorf("got %v", r.got())
				}
				w.meet()
				synctest.Wait()
				if last := r.got()[len(r.got())-1]; last != "c" {
					t.Errorf("then %v", r.got())
				}
			})
		})
	}
}

// An endpoint that refuses everything is not flooded, and neither is the log.
func TestRefusesAll(t *testing.T) {
	r := &receiver{answer: func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(http.StatusUnprocessableEntity) }}
	inBubble(t, r, func(w *world) {
		for range 20 {
			w.meet()
		}
		pass(23 * time.Hour)
		if n := len(r.got()); n < 20 || n > 23*60/4+60 {
			t.Errorf("%d attempts", n)
		}
		if n := strings.Count(w.logged.String(), "level=WARN"); n > 20 {
			t.Errorf("%d warnings", n)
		}
	})
}

// An error may be the endpoint's or the event's: an event that never passes holds
// up the others for a minute, not for a day.
func TestPoison(t *testing.T) {
	for name, status := range map[string]int{"error": 500, "timeout": 408, "not implemented": 501} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			r.answer = func(_ int, room string, w http.ResponseWriter) {
				if room == "a" {
					w.WriteHeader(status)
				}
			}
			inBubble(t, r, func(w *world) {
				w.meet()
				w.meet()
				pass(5 * time.Second)
				if slices.Contains(r.got(), "b") {
					t.Errorf("at once: %v", r.got())
				}
				pass(time.Minute)
				if want := append(slices.Repeat([]string{"a"}, patience+1), "b"); !slices.Equal(r.got()[:min(len(want), len(r.got()))], want) {
					t.Errorf("got %v, want %v", r.got(), want)
				}
			})
		})
	}
}

// An event that is erased while it is sent takes no other with it.
func TestErasedWhileSent(t *testing.T) {
	r := &receiver{}
	var w *world
	r.answer = func(n int, _ string, _ http.ResponseWriter) {
		if n == 1 {
			if _, err := w.store.EndMeeting(w.Context(), "Ma", time.Now()); err != nil {
				t.Error(err)
			}
			if err := w.store.Delete(w.Context(), "Ma"); err != nil {
				t.Error(err)
			}
			w.meet()
		}
	}
	inBubble(t, r, func(bubble *world) {
		w = bubble
		w.meet()
		synctest.Wait()
		r.want(t, "a", "b")
	})
}

// What an endpoint refuses holds up nothing, and is given up after a day.
func TestRefused(t *testing.T) {
	r := &receiver{}
	r.answer = func(_ int, room string, w http.ResponseWriter) {
		if room == "a" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	inBubble(t, r, func(w *world) {
		w.meet()
		w.meet()
		synctest.Wait()
		r.want(t, "a", "b")
		pass(23 * time.Hour)
		tries := len(r.got())
		if tries < 15 || tries > 40 || r.at()[tries-1].Sub(r.at()[0]) < 20*time.Hour {
			t.Errorf("%d attempts, the last after %v", tries, r.at()[tries-1].Sub(r.at()[0]))
		}
		if s := w.sender.Stats(); s.GivenUp != 0 {
			t.Errorf("%+v", s)
		}
		pass(4 * time.Hour)
		if s := w.sender.Stats(); s.GivenUp != 1 || s.Delivered != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestGivenUpAfterADay(t *testing.T) {
	r := &receiver{answer: func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }}
	inBubble(t, r, func(w *world) {
		w.meet()
		pass(12 * time.Hour)
		w.meet()
		pass(13 * time.Hour)
		if s := w.sender.Stats(); s.GivenUp != 1 {
			t.Errorf("%+v", s)
		}
		if last := r.got()[len(r.got())-1]; last != "b" {
			t.Errorf("the last attempt was for %s", last)
		}
	})
}

func TestGone(t *testing.T) {
	r := &receiver{answer: func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) }}
	inBubble(t, r, func(w *world) {
		w.meet()
		w.meet()
		pass(time.Hour)
		w.meet()
		pass(time.Hour)
		r.want(t, "a")
		if n, err := w.store.PendingDeliveries(w.Context(), w.sender.cfg.Endpoint.Name); n != 0 || err != nil {
			t.Errorf("%d wait, %v", n, err)
		}
	})
}

// With real connections: headers as they are on the wire, a long answer.
func TestHTTP(t *testing.T) {
	r := &receiver{}
	srv := httptest.NewServer(r)
	defer srv.Close()
	done := make(chan struct{})
	r.answer = func(n int, _ string, w http.ResponseWriter) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write(make([]byte, 4*maxAnswer))
		case 2:
			w.WriteHeader(http.StatusBadRequest)
		default:
			close(done)
		}
	}
	w := newWorld(t, r, nil, srv.URL+"/hook?token=hidden")
	stop := w.run()
	for range 3 {
		w.meet()
	}
	<-done
	stop()
	r.want(t, "a", "b", "c")
	if w.sender.delivered.Load() < 1 || w.sender.failed.Load() != 1 {
		t.Errorf("%+v", w.sender.Stats())
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", " ", "whsec_", "whsec_c2hvcnQ=", strings.TrimPrefix(secret(1), "whsec_"), secret(1) + " nonsense", "whsec_" + strings.Repeat("!", 40)} {
		if _, err := ParseSecrets(bad); err == nil || (len(bad) > 8 && strings.Contains(err.Error(), bad[7:])) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "example.org", "ftp://example.org", "http://", "http://a b/", "http://[::1"} {
		if _, err := ParseEndpoint(bad); err == nil || (bad != "" && strings.Contains(err.Error(), bad+"\"")) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	e, err := ParseEndpoint(address)
	if err != nil || e.Text != "https://example.org" || len(e.Name) != 16 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestRetryAfterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"": 0, "7": 7 * time.Second, "-7": 0, "99999999999999999999": 0, "999999999": maxWait, "soon": 0,
			time.Now().Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, "Thu, 01 Jan 1970 00:00:00 GMT": 0,
		} {
			if got := retryAfter(text); got != want {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	})
}
