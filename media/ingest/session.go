package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"verbatim/media/audio"
)

// What close frames say; they have room for 123 bytes.
const (
	shuttingDown = "the server is shutting down: begin a new stream with what was not acknowledged"
	noStream     = "there is no such stream (any more): begin a new one with what was not acknowledged"
	tooMany      = "there are too many streams: try again later"
	replaced     = "the participant joined again elsewhere"
	superseded   = "another connection goes on with this stream"
	meetingOver  = "the meeting was ended: begin a new stream to join the next"
	notWritten   = "the track could not be written: begin a new stream with what was not acknowledged"
	complete     = "all was taken in"
)

// session is one stream of a participant. Engine.begin makes it; its goroutine,
// run, owns everything below the channels.
type session struct {
	engine      *Engine
	id, meeting string
	token       string // whoever knows it may go on with the stream,
	owner       string // and is this one

	attach chan *conn    // the session's connection from now on
	detach chan *conn    // it is over
	in     chan message  // nothing is taken while the track is ahead of the clock
	over   chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex // guards reason
	reason audio.Reason
	ended  chan struct{} // closed by the first call of end

	stream  *stream
	limiter *rate.Limiter
	rest    time.Time // nothing is taken before that, by the limiter
	log     Log       // nil until the first audio
	err     error     // of the log
	conn    *conn     // nil while disconnected
	packets []audio.Packet
}

type message struct {
	conn   *conn
	binary bool
	data   []byte // until the next message is taken
}

func newSession(e *Engine, h hello, owner string) (*session, error) {
	st, err := newStream(h.Rate, time.Duration(h.LateMS)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return &session{
		engine: e, token: newToken(), owner: owner, stream: st, limiter: rate.NewLimiter(maxMessageRate, maxMessageBurst),
		attach: make(chan *conn), detach: make(chan *conn), in: make(chan message),
		over: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// end asks the session to finish. The first reason counts; it reports whether this
// was it.
func (s *session) end(r audio.Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != 0 {
		return false
	}
	s.reason = r
	close(s.ended)
	return true
}

func (s *session) endReason() audio.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// run is the session's goroutine.
func (s *session) run(ctx context.Context) {
	defer close(s.over)
	s.live(ctx)
	s.finish(ctx)
	s.linger(ctx)
}

// live takes in audio until the session is ended.
func (s *session) live(ctx context.Context) {
	acks := time.NewTicker(ackEvery)
	defer acks.Stop()
	expire := time.NewTimer(resumeWithin) // runs while there is no connection
	defer expire.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for s.endReason() == 0 {
		in, now := s.in, s.engine.cfg.Now()
		if wait := max(s.stream.wait(now), s.rest.Sub(now)); wait > 0 {
			in = nil
			pace.Reset(wait)
		}
		select {
		case <-s.ended:
		case c := <-s.attach:
			expire.Stop()
			s.take(c)
			c.send(ready{Type: "ready", Session: s.id, Meeting: s.meeting, Resume: s.token, Next: s.stream.next, Node: s.engine.cfg.NodeURL})
		case c := <-s.detach:
			if c == s.conn {
				s.conn = nil
				expire.Reset(resumeWithin)
			}
		case m := <-in:
			if m.conn == s.conn && !m.conn.ending() { // nothing counts behind a bad message
				s.receive(ctx, m)
			}
		case <-pace.C:
		case <-acks.C:
			if s.conn != nil {
				s.conn.send(s.ack())
			}
		case <-expire.C:
			s.end(audio.ReasonTimeout)
		case <-ctx.Done():
			s.end(audio.ReasonServer)
		}
	}
}

// take makes c the session's connection. One that it had before is half-open, or
// of a client that runs twice.
func (s *session) take(c *conn) {
	if s.conn != nil {
		s.conn.stop(codeReplaced, superseded, nil)
	}
	s.conn = c
}

func (s *session) receive(ctx context.Context, m message) {
	now := s.engine.cfg.Now()
	s.rest = now.Add(s.limiter.ReserveN(now, 1).DelayFrom(now))
	if !m.binary {
		if err := parseText(m.data); err != nil {
			s.conn.stop(codeBadMessage, err.Error(), nil)
			return
		}
		s.end(audio.ReasonLeft)
		return
	}
	counter, pcm, err := parseAudio(m.data)
	if err != nil {
		s.conn.stop(codeBadMessage, err.Error(), nil)
		return
	}
	s.stream.push(now, counter, pcm, s.emit)
	if s.append(ctx); s.err != nil {
		s.engine.log.Error("a track was cut off", "err", s.err)
		s.end(audio.ReasonServer)
		return
	}
	s.stream.appended()
}

func (s *session) emit(p audio.Packet) { s.packets = append(s.packets, p) }

// append hands over what was emitted, opening the log with the first packet.
func (s *session) append(ctx context.Context) {
	if len(s.packets) == 0 {
		return
	}
	if s.log == nil {
		s.log, s.err = s.engine.cfg.Sink.OpenTrack(ctx, s.id, s.packets[0].At)
		if s.err != nil {
			s.log, s.err = nil, fmt.Errorf("open a track: %w", s.err)
			return
		}
	}
	if err := s.log.Append(ctx, s.packets...); err != nil {
		s.err = fmt.Errorf("append to a track: %w", err)
	}
	clear(s.packets) // let go of the payloads
	s.packets = s.packets[:0]
}

// finish appends the End and says that the session is over.
func (s *session) finish(ctx context.Context) {
	reason := s.endReason()
	switch {
	case s.err != nil:
	case s.log == nil:
		s.stream.remember(s.stream.next) // less than a sample's worth
	default:
		s.stream.end(s.engine.cfg.Now(), reason, s.emit)
		if s.append(ctx); s.err != nil {
			s.engine.log.Error("a track was not ended", "err", s.err)
		}
	}
	if d, strange := s.stream.duplicate, s.stream.timeline.Strange(); d > 0 || strange > 0 {
		s.engine.log.Info("samples and counters that did not become audio", "duplicate_samples", d, "strange_counters", strange)
	}
	s.engine.sessionClosed(s, reason)
}

// linger tells the session's client how it ended and what is durable, even one
// that comes back within the time to resume.
func (s *session) linger(ctx context.Context) {
	expire := time.NewTimer(resumeWithin)
	defer expire.Stop()
	tick := time.NewTicker(durablePoll)
	defer tick.Stop()
	late := time.Now().Add(durableWithin)
	closing, done := s.engine.closing.Done(), ctx.Done()
	for last := false; ; {
		var poll <-chan time.Time
		if s.conn != nil && !s.dismiss(late) {
			poll = tick.C
		}
		if s.conn == nil && last {
			return
		}
		select {
		case c := <-s.attach:
			s.take(c)
			late = time.Now().Add(durableWithin)
		case c := <-s.detach:
			if c == s.conn {
				s.conn = nil
			}
		case <-poll:
		case <-closing:
			closing, last = nil, true
		case <-expire.C:
			last, late = true, time.Time{}
		case <-done:
			done, last, late = nil, true, time.Time{}
		}
	}
}

// dismiss closes the connection of a session that is over, once all of it is
// durable or that is too late.
func (s *session) dismiss(late time.Time) bool {
	a := s.ack()
	code, why := s.farewell()
	switch {
	case s.err == nil && a.Durable == s.stream.next:
	case s.err == nil && time.Now().Before(late):
		return false
	default:
		code, why = websocket.StatusInternalError, notWritten
	}
	s.conn.stop(code, why, &a)
	s.conn = nil
	return true
}

// farewell is what a session that ended well tells its client.
func (s *session) farewell() (code websocket.StatusCode, why string) {
	switch s.endReason() {
	case audio.ReasonLeft:
		return websocket.StatusNormalClosure, complete
	case audio.ReasonReplaced:
		return codeReplaced, replaced
	case audio.ReasonTimeout:
		return codeNoStream, noStream
	case audio.ReasonServer:
	}
	if s.engine.closing.Err() != nil {
		return websocket.StatusGoingAway, shuttingDown
	}
	return codeOver, meetingOver
}

func (s *session) ack() ack {
	var durable uint64
	if s.log != nil {
		durable = s.log.Durable()
	}
	return s.stream.ack(durable)
}
