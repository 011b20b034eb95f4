package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"verbatim/media/audio"
)

// pipes is a network of net.Pipe, which a synctest bubble can wait for.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// world is an engine behind an HTTP server, with a log that is durable at once
// unless held back.
type world struct {
	t      *testing.T
	engine *Engine
	net    *pipes
	room   testRoom

	mu     sync.Mutex
	tracks map[string]*memoryLog // by session
	closed map[string]audio.Reason
	broken error     // of the sink
	frozen bool      // nothing becomes durable
	began  time.Time // of the track that was opened last
}

type testRoom struct {
	w     *world
	n     int
	err   error
	stale bool
	owner string
}

func (r *testRoom) Join(context.Context) (session, meeting string, err error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.n++
	return fmt.Sprintf("session%d", r.n), "meeting", r.err
}

func (r *testRoom) Owner() string { return r.owner }

func (r *testRoom) Current(string) bool { return !r.stale }

type memoryLog struct {
	recorder
	w       *world
	durable uint64
}

func (w *world) OpenTrack(_ context.Context, session string, at time.Time) (Log, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = at
	if w.broken != nil {
		return nil, w.broken
	}
	w.tracks[session] = &memoryLog{recorder: recorder{t: w.t}, w: w}
	return w.tracks[session], nil
}

func (w *world) SessionClosed(session string, reason audio.Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed[session] = reason
}

func (l *memoryLog) Append(_ context.Context, packets ...audio.Packet) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	for _, p := range packets {
		l.emit(p)
	}
	return l.w.broken
}

func (l *memoryLog) Durable() uint64 {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if !l.w.frozen {
		l.durable = uint64(len(l.packets))
	}
	return l.durable
}

// pcm is all that a session's track holds, zeros where something is missing.
func (w *world) pcm(session string) (b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.tracks[session].packets {
		switch p.Kind {
		case audio.Coded:
			b = append(b, p.Payload...)
		case audio.End:
		default:
			b = append(b, make([]byte, 2*p.Samples/audio.TicksPerSample)...)
		}
	}
	return b
}

func (w *world) conns() int {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	return w.engine.conns
}

func (w *world) reason(session string) audio.Reason {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed[session]
}

// clockOff is how far the engine's clock is off time.Now.
const clockOff = -3 * time.Hour

// inWorld runs a test in a bubble; connections and goroutines that are left over
// fail it.
func inWorld(t *testing.T, most int, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, net: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})},
			tracks: map[string]*memoryLog{}, closed: map[string]audio.Reason{},
		}
		w.room.w = w
		w.engine = New(Config{Sink: w, MaxSessions: most, Now: func() time.Time { return time.Now().Round(0).Add(clockOff) }})
		srv := &http.Server{ReadTimeout: time.Second, WriteTimeout: time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
			if err != nil {
				t.Error(err)
				return
			}
			w.engine.Serve(ws, &w.room)
		})}
		done := make(chan error)
		go func() { done <- srv.Serve(w.net) }()
		test(t, w)
		if err := w.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := w.engine.Sessions(); n != 0 || len(w.engine.tokens) != 0 || w.conns() != 0 {
			t.Errorf("%d sessions, %d tokens, %d connections are left", n, len(w.engine.tokens), w.conns())
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// client is the other side of a connection. It reads all the time.
type client struct {
	t    *testing.T
	raw  *wire
	ws   *websocket.Conn
	in   chan reply // closed when the connection is over
	code websocket.StatusCode
	why  string
}

// reply is any message of the server's.
type reply struct {
	Type, Session, Meeting, Resume string
	Next, Durable, Duplicate       int64
}

func (w *world) connect() *client {
	w.t.Helper()
	c := &client{t: w.t, in: make(chan reply, 1000)}
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		c.raw = &wire{Conn: ours}
		w.net.conns <- theirs
		return c.raw, nil
	}}
	ws, _, err := websocket.Dial(w.t.Context(), "ws://verbatim/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{Protocol},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.ws = ws
	go func() {
		defer close(c.in)
		for {
			_, b, err := ws.Read(context.Background())
			if err != nil {
				var ce websocket.CloseError
				if errors.As(err, &ce) {
					c.code, c.why = ce.Code, ce.Reason
				}
				return
			}
			var r reply
			if err := json.Unmarshal(b, &r); err != nil {
				w.t.Error(err)
			}
			c.in <- r
		}
	}()
	return c
}

// hello begins or resumes a stream and returns the answer.
func (w *world) hello(rate int, resume string) (*client, reply) {
	w.t.Helper()
	c := w.connect()
	c.text(`{"type":"hello","rate":%d,"resume":%q}`, rate, resume)
	r := <-c.in
	if r.Type != "ready" || r.Resume == "" || r.Meeting != "meeting" {
		w.t.Fatalf("answer %+v, closed with %d %s", r, c.code, c.why)
	}
	return c, r
}

func (c *client) text(format string, a ...any) {
	c.t.Helper()
	if err := c.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, a...)); err != nil {
		c.t.Fatal(err)
	}
}

func frame(from, to int64) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(from)), pcm(from, to)...)
}

func (c *client) send(from, to int64) error {
	return c.ws.Write(context.Background(), websocket.MessageBinary, frame(from, to))
}

// audio sends samples in messages of 20 ms of 16 kHz.
func (c *client) audio(from, to int64) {
	c.t.Helper()
	for ; from < to; from += 320 {
		if err := c.send(from, min(from+320, to)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// cut breaks the connection without a word.
func (c *client) cut() {
	c.raw.Close()
	for range c.in {
	}
}

// rest reads to the end of the connection, and gives the last message.
func (c *client) rest() (last reply) {
	for r := range c.in {
		last = r
	}
	return last
}

func (c *client) wantClose(code websocket.StatusCode, why string) (last reply) {
	c.t.Helper()
	last = c.rest()
	if c.code != code || c.why != why {
		c.t.Errorf("closed with %d %q, want %d %q", c.code, c.why, code, why)
	}
	return last
}

// wire is a client's end of a connection. When it is deaf the client is a dead
// machine behind a network that still takes bytes.
type wire struct {
	net.Conn
	deaf atomic.Bool
}

func (w *wire) Read(b []byte) (n int, err error) {
	for n, err = w.Conn.Read(b); w.deaf.Load() && err == nil; {
		n, err = w.Conn.Read(b)
	}
	return n, err
}

func equal(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("the track is not what was sent: %d bytes, want %d", len(got), len(want))
	}
}
