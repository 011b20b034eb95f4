package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/media/ingest"
	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/signaling/whipclient"
)

// service is the real server, with the real media engine on a port of its own.
type service struct {
	t        testing.TB
	url      string
	server   *Server
	handler  http.Handler // what from asks
	engine   *media.Engine
	registry *meeting.Registry

	mu       sync.Mutex
	captured int // coded packets
}

// OpenTrack implements media.Sink.
func (s *service) OpenTrack(context.Context, string, time.Time) (media.Log, error) { return s, nil }

// Append implements media.Log.
func (s *service) Append(_ context.Context, ps ...audio.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range ps {
		if p.Kind == audio.Coded {
			s.captured++
		}
	}
	return nil
}

// SessionClosed implements media.Sink.
func (s *service) SessionClosed(session string, _ audio.Reason) {
	s.server.SessionClosed(session)
	if err := s.registry.SessionClosed(context.Background(), session); err != nil {
		s.t.Error(err)
	}
}

// begin starts a server that ends with the test.
func begin(t testing.TB, cfg Config) *service {
	t.Helper()
	s := &service{t: t}
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "verbatim.db"))
	if err != nil {
		t.Fatal(err)
	}
	hub := &events.Hub{}
	cfg.Logger = slog.New(slog.DiscardHandler)
	s.registry, err = meeting.NewRegistry(t.Context(), meeting.Config{
		Store: db, Publish: hub.Publish, Linger: time.Hour, Logger: cfg.Logger,
		CloseSession: func(id string, r audio.Reason) bool { return s.engine.CloseSession(id, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.engine, err = media.Listen(media.Config{Listen: "127.0.0.1:0", Sink: s, Logger: cfg.Logger}); err != nil {
		t.Fatal(err)
	}
	streams := ingest.New(ingest.Config{}) // none is opened: what is tested is WHIP
	if cfg.Media == nil {
		cfg.Media = s.engine
	}
	cfg.Ingest, cfg.Rooms, cfg.Events, cfg.Loopback = streams, s.registry, hub, true
	s.server = New(cfg)
	front := httptest.NewUnstartedServer(nil)
	front.Config = s.server.HTTPServer(context.Background())
	front.Start()
	s.url = front.URL
	t.Cleanup(func() {
		front.Close()
		if err := errors.Join(s.engine.Close(context.Background()), streams.Close(context.Background())); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is an HTTP answer that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	kind   string // of a problem
}

// do sends a request; redirects are not followed. Headers are name and value by
// turns.
func (s *service) do(method, url, body string, headers ...string) answer {
	s.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = s.url + url
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if err := described(s.t).Check(req, a.status, a.header, b); err != nil {
		s.t.Error(err)
	}
	if resp.Header.Get("Content-Type") == "application/problem+json" && method != http.MethodHead {
		var p Problem
		if err := json.Unmarshal(b, &p); err != nil || p.Status != a.status || p.Detail == "" {
			s.t.Errorf("%s %s: not a problem that helps: %v: %s", method, url, err, b)
		}
		a.kind = strings.TrimPrefix(p.Type, "urn:verbatim:problem:")
	}
	return a
}

// offer is what a client sends, as pion makes it.
func offer(t testing.TB) string {
	t.Helper()
	var sdp string
	_, err := whipclient.Connect(t.Context(), whipclient.Options{}, func(_ context.Context, text string) (string, error) {
		sdp = text
		return "", io.EOF
	})
	if err == nil {
		t.Fatal("connected without an answer")
	}
	return sdp
}
