package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"verbatim/pipeline/transcribe"
)

const (
	resultRoom = 16
	// pingAfter is how long nothing was sent until the server is asked whether
	// it is there, and how long it has to answer.
	pingAfter = 20 * time.Second
	// grace is how long a reason is waited for after a write failed.
	grace = time.Second
	// farewell is how long a server that has said everything has to close.
	farewell = 2 * time.Second
)

var (
	errClosed = errors.New("the stream is closed")
	errGone   = errors.New("the server is not there any more")
	// ErrEnded is for what is written after Finish.
	ErrEnded = errors.New("the stream is finished: no audio can follow")
)

// Protocol is what a Stream calls of its engine.
type Protocol struct {
	// Hear takes a message of the server and returns the results that come of
	// it. An error ends the stream. done says that the server has said all that
	// was to be said: then it may close, and what it says until it does counts,
	// too. It is called by one goroutine.
	Hear func(message []byte) (results []transcribe.Result, done bool, err error)
	// KeepAlive is sent as text after nothing was sent for KeepAfter; if it is
	// "", the server is pinged now and then.
	KeepAlive string
	KeepAfter time.Duration
}

// Stream is one connection. Server.Open makes it; the engine's stream embeds it
// and closes it. Send is for one goroutine at a time; all else may be called by
// any.
type Stream struct {
	ws      *websocket.Conn
	p       Protocol
	results chan transcribe.Result
	life    context.Context //nolint:containedctx // it is the connection's
	cancel  context.CancelFunc
	turn    chan struct{} // holds one while results are sent
	over    chan struct{} // nothing is read any more
	kept    chan struct{} // nothing is kept alive any more

	sending  atomic.Bool
	lastSent atomic.Int64 // since the epoch, in ns

	mu     sync.Mutex // guards what follows
	cause  error      // what went wrong first
	done   bool       // everything was said
	closed bool
}

func start(ws *websocket.Conn, p Protocol) *Stream {
	s := &Stream{
		ws: ws, p: p,
		results: make(chan transcribe.Result, resultRoom),
		turn:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		kept:    make(chan struct{}),
	}
	s.life, s.cancel = context.WithCancel(context.Background())
	s.lastSent.Store(time.Now().UnixNano())
	go s.read()
	go s.keep()
	return s
}

// Results delivers what Hear makes of the server's messages.
func (s *Stream) Results() <-chan transcribe.Result { return s.results }

// Text sends a text message, Binary a binary one. They block as long as the
// server does not read, up to ctx's end, which ends the stream.
func (s *Stream) Text(ctx context.Context, message []byte) error {
	return s.send(ctx, websocket.MessageText, message)
}

// Binary sends a binary message; see Text.
func (s *Stream) Binary(ctx context.Context, message []byte) error {
	return s.send(ctx, websocket.MessageBinary, message)
}

func (s *Stream) send(ctx context.Context, kind websocket.MessageType, message []byte) error {
	if err := s.Err(); err != nil {
		return err
	}
	s.sending.Store(true)
	err := s.ws.Write(ctx, kind, message)
	s.lastSent.Store(time.Now().UnixNano())
	s.sending.Store(false)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		s.Fail(ctx.Err())
		return ctx.Err()
	}
	// Who reads learns the reason: the server may have said it.
	select {
	case <-s.over:
	case <-time.After(grace):
	}
	s.Fail(fmt.Errorf("the connection broke: %w", err))
	return s.Err()
}

// Deliver sends the results that due returns, which no other call does
// meanwhile. It is for engines whose results don't all come of messages, and
// blocks until they are taken or the stream ends.
func (s *Stream) Deliver(due func() []transcribe.Result) {
	select {
	case s.turn <- struct{}{}:
	case <-s.life.Done():
		return
	}
	defer func() { <-s.turn }()
	if s.life.Err() != nil {
		return
	}
	for _, r := range due() {
		select {
		case s.results <- r:
		case <-s.life.Done():
			return
		}
	}
}

// Complete ends the stream because everything was said, and delivered. It is
// for engines whose servers do not say so.
func (s *Stream) Complete() {
	if s.Err() == nil {
		s.finish()
		s.cancel()
	}
}

// Over is closed when nothing is heard any more.
func (s *Stream) Over() <-chan struct{} { return s.over }

// Wait waits until the server has said everything, or ctx ends. For an engine's
// Finish.
func (s *Stream) Wait(ctx context.Context) error {
	select {
	case <-s.over:
	case <-ctx.Done():
		s.Fail(fmt.Errorf("not finished in time: %w", ctx.Err()))
		<-s.over
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done && s.cause == nil {
		return nil
	}
	return s.err()
}

// Err is why nothing can be sent any more, or nil.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil || s.closed || s.done {
		return s.err()
	}
	return nil
}

// err is the reason of an end. s.mu is held.
func (s *Stream) err() error {
	switch {
	case s.cause != nil:
		return s.cause
	case s.done:
		return ErrEnded
	}
	return errClosed
}

// Fail ends the stream because of err, unless it has ended before.
func (s *Stream) Fail(err error) {
	s.mu.Lock()
	if s.cause == nil && !s.closed && !s.done {
		s.cause = err
	}
	s.mu.Unlock()
	s.cancel()
}

// Close ends the connection and waits for it. It returns why the stream ended
// when that was not by Finish or Close.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	<-s.over
	<-s.kept
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// read hears the server until it has nothing to say any more.
func (s *Stream) read() {
	defer close(s.over)
	defer func() {
		s.turn <- struct{}{} // for good: nobody sends any more
		close(s.results)
	}()
	defer s.ws.CloseNow() //nolint:errcheck // it is of no use any more
	defer s.cancel()
	for {
		message, err := receive(s.life, s.ws)
		if err != nil {
			s.ended(err)
			return
		}
		results, done, err := s.p.Hear(message)
		s.Deliver(func() []transcribe.Result { return results })
		if err != nil {
			s.Fail(err)
			return
		}
		if done && s.finish() {
			defer time.AfterFunc(farewell, s.cancel).Stop() //nolint:gocritic // once: it is new once
		}
	}
}

func receive(ctx context.Context, ws *websocket.Conn) ([]byte, error) {
	_, r, err := ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// finish notes that everything was said, and reports whether that is new.
func (s *Stream) finish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.done
	s.done = true
	return !was
}

// ended notes that the connection ended with err.
func (s *Stream) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil && !s.closed && !s.done {
		s.cause = closed(err)
	}
}

// keep keeps an idle connection alive, and notices when it is dead.
func (s *Stream) keep() {
	defer close(s.kept)
	every := s.p.KeepAfter
	if s.p.KeepAlive == "" {
		every = pingAfter
	}
	next := every
	for {
		select {
		case <-s.life.Done():
			return
		case <-time.After(next):
		}
		idle := time.Since(time.Unix(0, s.lastSent.Load()))
		if next = every - idle; s.sending.Load() {
			next = every
		}
		if next > 0 {
			continue
		}
		next = every
		s.alive()
	}
}

func (s *Stream) alive() {
	defer time.AfterFunc(pingAfter, func() { s.Fail(errGone) }).Stop()
	// Their errors are those of the connection, which its reader notices.
	if s.p.KeepAlive == "" {
		_ = s.ws.Ping(s.life)
	} else {
		_ = s.ws.Write(s.life, websocket.MessageText, []byte(s.p.KeepAlive))
	}
}
