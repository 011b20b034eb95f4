package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

// balancer is a load balancer in front of servers: it takes the first one that
// says that it is ready.
func balancer(t *testing.T, servers ...*process) string {
	t.Helper()
	proxies := map[*process]*httputil.ReverseProxy{}
	for _, s := range servers {
		u, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		proxies[s] = &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host },
			FlushInterval: -1,
			ErrorLog:      log.New(io.Discard, "", 0), // a server ends in this test
		}
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, s := range servers {
			resp, err := http.Get(s.url + "/readyz")
			if err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK {
				proxies[s].ServeHTTP(w, r)
				return
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// mover is somebody who speaks, and goes elsewhere when the server asks for it.
type mover struct {
	t        *testing.T
	client   *whipclient.Client
	sessions [2]atomic.Pointer[whipclient.Session]
	told     chan meeting.Moving
	moved    chan struct{}
}

func (m *mover) join(i int) {
	s, err := m.client.Join(m.t.Context(), "r", "ada", "Ada", whipclient.Options{})
	if err != nil {
		m.t.Error(err)
		return
	}
	m.sessions[i].Store(s)
}

// watch follows the room, and moves when it is asked to.
func (m *mover) watch(ctx context.Context, ready chan<- struct{}) {
	for ctx.Err() == nil { // the stream ends with its server
		_ = m.client.Events(ctx, "r", func(e whipclient.Event) {
			switch e.Type {
			case meeting.EventState:
				select {
				case ready <- struct{}{}:
				default:
				}
			case meeting.EventMoving:
				var told meeting.Moving
				if err := json.Unmarshal(e.Data, &told); err != nil {
					m.t.Error(err)
				}
				m.told <- told
				m.join(1)
				close(m.moved)
			}
		})
	}
}

// speak sends packets in time, to all sessions that there are.
func (m *mover) speak(packets []whipclient.Packet) {
	due := time.Now()
	var both time.Time
	for _, p := range packets {
		for i := range m.sessions {
			if s := m.sessions[i].Load(); s != nil {
				if err := s.Send(p.Payload, p.Ticks); err != nil && i == 1 {
					m.t.Error(err)
				}
			}
		}
		if old := m.sessions[0].Load(); old != nil && m.sessions[1].Load() != nil {
			if both.IsZero() {
				both = time.Now()
			} else if time.Since(both) > 300*time.Millisecond {
				m.sessions[0].Store(nil)
				go func() { _ = old.Leave(context.WithoutCancel(m.t.Context())) }()
			}
		}
		due = due.Add(time.Duration(p.Ticks) * time.Second / 48000)
		time.Sleep(time.Until(due))
	}
}

func packetsOf(t *testing.T, ogg []byte) (all []whipclient.Packet) {
	t.Helper()
	for p, err := range whipclient.ReadOgg(bytes.NewReader(ogg)) {
		if err != nil {
			t.Fatal(err)
		}
		p.Payload = slices.Clone(p.Payload)
		all = append(all, p)
	}
	return all
}

// sent is the packets of a meeting's only track, and where they are in what was
// sent: a run of it without a hole.
func (s *process) sent(all []whipclient.Packet) (from, to int) {
	s.t.Helper()
	m := s.until("the transcript is complete", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 1 && m.Tracks[0].State == meeting.TrackComplete
	})
	// The first packet is of the file: what a decoder needs before the first sound.
	got := packetsOf(s.t.(*testing.T), s.get("/v1/meetings/"+m.ID+"/tracks/"+m.Tracks[0].ID+"/audio.opus"))[1:]
	same := func(a, b whipclient.Packet) bool { return bytes.Equal(a.Payload, b.Payload) }
	for from := range all {
		if n := len(got); n > 0 && from+n <= len(all) && slices.EqualFunc(got, all[from:from+n], same) {
			return from, from + n
		}
	}
	s.t.Fatalf("its %d packets are no run of the %d that were sent", len(got), len(all))
	return 0, 0
}

// One of two servers behind a load balancer shuts down while somebody speaks: they
// move, and nothing that they say is missing.
func TestMoves(t *testing.T) {
	dataA := t.TempDir()
	a := serve(t, dataA, "none:", "--drain-delay", "200ms", "--drain-move", "1m", "--linger", "1s")
	b := serve(t, t.TempDir(), "none:", "--linger", "1s")
	m := &mover{t: t, client: &whipclient.Client{URL: balancer(t, a, b)}, told: make(chan meeting.Moving, 1), moved: make(chan struct{})}
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	ready := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() { defer close(ended); m.watch(watching, ready) }()
	<-ready
	m.join(0)
	if t.Failed() {
		return
	}
	// 10 s of speech: the sentences, which differ packet by packet.
	var all []whipclient.Packet
	for _, name := range []string{"sas-0870", "sas-0890"} {
		all = append(all, packetsOf(t, speech.Opus(name))...)
	}
	spoken := make(chan struct{})
	go func() { defer close(spoken); m.speak(all) }()
	a.until("two seconds of speech", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 1 && m.Tracks[0].Coverage.DurationMS > 2000
	})

	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if told := <-m.told; !slices.Equal(told.Participants, []string{"ada"}) || told.WithinMS != 60_000 {
		t.Errorf("they are told %+v", told)
	}
	<-m.moved
	asked := time.Now()
	<-a.out
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if took := time.Since(asked); took > 30*time.Second {
		t.Errorf("the server ended %v after they had moved", took)
	}
	<-spoken
	if s := m.sessions[1].Load(); s != nil {
		time.Sleep(500 * time.Millisecond) // for the last packets to arrive
		if err := s.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	}
	again := serve(t, dataA, "none:", "--linger", "10ms")
	fromA, toA := again.sent(all)
	fromB, toB := b.sent(all)
	t.Logf("packets %d to %d are in the first track, %d to %d of %d in the second", fromA, toA, fromB, toB, len(all))
	if fromA != 0 || fromB > toA || toB != len(all) {
		t.Error("something is missing")
	}
	if by := again.meetings()[0].Tracks[0].EndedBy; by != "left" {
		t.Errorf("the first track was ended by %q", by)
	}
	stop()
	<-ended
	again.stop()
	b.stop()
}

// A server that is alone refuses those whom it asked to move, and does not wait for
// them any longer then.
func TestMovesNowhere(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--drain-move", "2m")
	client := &whipclient.Client{URL: s.url}
	told, ready := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		_ = client.Events(t.Context(), "r", func(e whipclient.Event) {
			if e.Type == meeting.EventState {
				select {
				case ready <- struct{}{}:
				default:
				}
			}
			if e.Type == meeting.EventMoving {
				close(told)
			}
		})
	}()
	<-ready
	session, err := client.Join(t.Context(), "r", "ada", "Ada", whipclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-told
	resp, err := http.Get(s.url + "/readyz")
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while it shuts down it is ready: %v, %v", resp, err)
	}
	began := time.Now()
	for range triesElsewhere {
		resp, err := http.Post(s.url+"/v1/rooms/r/whip?participant=ada", "application/sdp", nil)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a join is answered %v, %v", resp, err)
		}
	}
	<-session.Lost()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it went on for %v", took)
	}
	<-s.out
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}
