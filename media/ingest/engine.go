// Package ingest takes in audio over WebSockets, for clients without WebRTC:
// PCM whose every sample has a number, so that holes, repetitions and broken
// connections are told apart from one another. docs/INGEST.md is the protocol.
//
//	WebSocket → conn → session: stream (audio.Timeline) → Log
//
// A session is one stream of one participant and outlives its connections: when
// one breaks, the next goes on by a token where the last was, and the session
// ends only when none has come for 30 s. Each session has one goroutine, which
// owns everything of it. Each connection has three: one reads and hands messages
// over one at a time (while the session takes none, nothing is read, and TCP
// slows the client down), one writes, one looks whether the peer is alive.
//
// Lock order: Engine.mu before session.mu; nothing else is called under them.
package ingest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"

	"verbatim/media/audio"
)

// Log takes the packets of one track, in order, the last one an audio.End.
type Log interface {
	// Append does not keep the payloads; it must not wait for anything slow.
	Append(ctx context.Context, p ...audio.Packet) error
	// Durable is the Seq before which all packets are durable on disk.
	Durable() uint64
}

// Sink is told what becomes of sessions. It is called from the sessions'
// goroutines, for one session never twice at a time.
type Sink interface {
	// OpenTrack begins the session's track; at is the wall time of its first
	// sample. It is called when the first audio arrived, once per session.
	OpenTrack(ctx context.Context, session string, at time.Time) (Log, error)
	// SessionClosed says that nothing more comes of the session. Its track, if
	// it had one, has got its End.
	SessionClosed(session string, reason audio.Reason)
}

// Room is where a client wants to be.
type Room interface {
	// Join begins a session there. ErrFull: there are as many as there may be.
	Join(ctx context.Context) (session, meeting string, err error)
	// Current reports whether a session is still its participant's newest, in a
	// meeting that is live.
	Current(session string) bool
	// Owner is who the client has shown to be, and where; "" if nobody asked. A
	// stream is resumed by its owner only.
	Owner() string
}

// ErrFull is why a client may not join just now.
var ErrFull = errors.New("there are too many sessions")

// Config of an Engine.
type Config struct {
	Sink   Sink
	Logger *slog.Logger
	// Now is the clock of all timelines (default time.Now). It must go on by the
	// time that passes and by nothing else.
	Now func() time.Time
	// MaxSessions bounds the sessions, with those that wait to be resumed or ended
	// less than 30 s ago (default 1,000).
	MaxSessions int
	// NodeURL is by what clients reach this server among several, where alone its
	// streams can be resumed; "": there is only one.
	NodeURL string
}

const (
	helloWithin   = 5 * time.Second  // of the connection
	resumeWithin  = 30 * time.Second // of the disconnect; also how long the end of a session is remembered
	ackEvery      = time.Second
	durableWithin = 10 * time.Second // of the end
	durablePoll   = 20 * time.Millisecond
	pingAfter     = 10 * time.Second // without a sign of life
	pongWithin    = 5 * time.Second
	writeWithin   = 10 * time.Second
	joinWithin    = 10 * time.Second
	// messages a second, and at once: AudioWorklets send up to 375, and after a
	// disconnect up to 30 s of them.
	maxMessageRate, maxMessageBurst = 2000, 12000
)

// Engine owns all sessions. Make it with New, end it with Close.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context // of Sink and Log calls and reads; ends when Close gives up
	cancel  context.CancelFunc
	closing context.Context // ends when Close begins
	close   context.CancelFunc

	mu       sync.Mutex // guards what follows
	closed   bool
	conns    int
	begun    uint64              // sessions, since New
	refused  uint64              // clients, because there were too many
	sessions map[string]*session // by id: those that are not over
	tokens   map[string]*session
	wg       sync.WaitGroup // one per connection and session
}

// New makes an engine; it starts nothing.
func New(cfg Config) *Engine {
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 1000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, log: cfg.Logger, sessions: map[string]*session{}, tokens: map[string]*session{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.closing, e.close = context.WithCancel(e.ctx)
	return e
}

// Serve speaks with one client until its connection is over, which it closes.
// The subprotocol must be Protocol. room is where the client joins with a new
// stream.
func (e *Engine) Serve(ws *websocket.Conn, room Room) {
	if code, why := e.enter(); code != 0 {
		_ = ws.Close(code, why)
		return
	}
	defer e.leave()
	c := newConn(ws)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(c.write)
	wg.Go(c.keepAlive)
	defer close(c.unread)
	if s := e.session(c, room); s != nil {
		c.read(e.ctx, s)
	}
}

// enter counts a connection, or says why there must not be one more.
func (e *Engine) enter() (code websocket.StatusCode, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return websocket.StatusGoingAway, shuttingDown
	case e.conns >= 2*e.cfg.MaxSessions:
		e.refused++
		return websocket.StatusTryAgainLater, tooMany
	}
	e.conns++
	e.wg.Add(1)
	return 0, ""
}

func (e *Engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns--
	e.wg.Done()
}

// session finds or begins the session that a connection asks for, and makes it
// the session's connection. It gives nil when it has stopped the connection.
func (e *Engine) session(c *conn, room Room) *session {
	h, err := e.hello(c)
	if err != nil {
		c.stop(codeBadMessage, err.Error(), nil)
		return nil
	}
	var s *session
	if h.Resume == "" {
		s = e.begin(c, room, h)
	} else {
		s = e.find(c, room, h)
	}
	if s == nil {
		return nil
	}
	busy := time.NewTimer(joinWithin)
	defer busy.Stop()
	select {
	case s.attach <- c:
		return s
	case <-s.over:
		c.stop(codeNoStream, noStream, nil)
	case <-busy.C:
		c.stop(websocket.StatusTryAgainLater, "the server is slow: resume in a moment", nil)
	}
	return nil
}

func (e *Engine) hello(c *conn) (hello, error) {
	timer := time.AfterFunc(helloWithin, func() { c.stop(codeTimeout, "no hello within 5 s", nil) })
	defer timer.Stop()
	closing := context.AfterFunc(e.closing, func() { c.stop(websocket.StatusGoingAway, shuttingDown, nil) })
	defer closing()
	binary, b, err := c.next(e.ctx, 0)
	switch {
	case err != nil:
		return hello{}, err // the connection is over: whoever stops it is not heard
	case binary:
		b = nil
	}
	return parseHello(b)
}

func (e *Engine) find(c *conn, room Room, h hello) *session {
	e.mu.Lock()
	s := e.tokens[h.Resume]
	e.mu.Unlock()
	switch {
	case s == nil, s.owner != room.Owner():
		c.stop(codeNoStream, noStream, nil)
		return nil
	case s.stream.rate != h.Rate:
		c.stop(codeBadMessage, fmt.Sprintf("this stream's rate is %d", s.stream.rate), nil)
		return nil
	}
	return s
}

// begin makes a session for a new stream.
func (e *Engine) begin(c *conn, room Room, h hello) *session {
	s, err := newSession(e, h, room.Owner())
	if err != nil { // parseHello knows what the resampler can do
		c.stop(codeBadMessage, "this rate is not possible", nil)
		return nil
	}
	e.mu.Lock()
	full := len(e.tokens) >= e.cfg.MaxSessions
	if full {
		e.refused++
	} else {
		e.tokens[s.token] = s // nobody knows it yet; it takes its place
	}
	e.mu.Unlock()
	if full {
		c.stop(websocket.StatusTryAgainLater, tooMany, nil)
		return nil
	}
	ctx, cancel := context.WithTimeout(e.ctx, joinWithin)
	defer cancel()
	s.id, s.meeting, err = room.Join(ctx)
	if errors.Is(err, ErrFull) {
		e.forget(s)
		c.stop(websocket.StatusTryAgainLater, tooMany, nil)
		return nil
	}
	if err != nil {
		e.log.Error("a client could not join", "err", err)
		e.forget(s)
		c.stop(websocket.StatusInternalError, "the room could not be joined; the server's log says why. Try again", nil)
		return nil
	}
	if !e.start(s) {
		e.forget(s)
		e.cfg.Sink.SessionClosed(s.id, audio.ReasonServer)
		c.stop(websocket.StatusGoingAway, shuttingDown, nil)
		return nil
	}
	// Whoever replaced it or ended the meeting meanwhile could not close it yet.
	if !room.Current(s.id) {
		s.end(audio.ReasonReplaced)
	}
	return s
}

func (e *Engine) start(s *session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.sessions[s.id] = s
	e.begun++
	e.wg.Go(func() {
		s.run(e.ctx)
		e.forget(s)
	})
	return true
}

func (e *Engine) forget(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tokens, s.token)
}

// sessionClosed is called when a session has taken in all that it will.
func (e *Engine) sessionClosed(s *session, r audio.Reason) {
	e.mu.Lock()
	delete(e.sessions, s.id)
	e.mu.Unlock()
	e.cfg.Sink.SessionClosed(s.id, r)
}

// CloseSession ends a session; its connection is closed once all that was taken
// in is durable, after the call has returned. It reports whether this call ended it.
func (e *Engine) CloseSession(id string, reason audio.Reason) bool {
	e.mu.Lock()
	s := e.sessions[id]
	e.mu.Unlock()
	return s != nil && s.end(reason)
}

// Sessions is the number of sessions that there are, with or without connection.
func (e *Engine) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// Stats are the numbers of an Engine. The first two are of now, the others count
// since New.
type Stats struct {
	Sessions, Connections int
	Begun                 uint64 // sessions
	Refused               uint64 // clients, because there were too many
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{Sessions: len(e.sessions), Connections: e.conns, Begun: e.begun, Refused: e.refused}
}

// Close ends all sessions (audio.ReasonServer) and waits until each has told its
// client what is durable. When ctx ends first it cuts them off.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	for _, s := range e.sessions {
		s.end(audio.ReasonServer)
	}
	e.mu.Unlock()
	e.close()
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("close the ingest sessions: %w", ctx.Err())
	}
	e.cancel()
	<-done
	return err
}

func newToken() string { return rand.Text() } // 130 random bits
