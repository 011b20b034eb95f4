package transcribe

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// After tripAfter failures in a row, whichever track's, an engine is taken
	// to be away for minCool, and twice as long every time, up to maxCool.
	tripAfter = 3
	minCool   = 5 * time.Second
	maxCool   = 30 * time.Second
	// What an engine asks for itself (RetryError) is kept within these.
	minRetry = time.Second
	maxRetry = 10 * time.Minute
)

// engine is what all tracks share of one: the turns at its streams, and the
// circuit breaker, so that an engine that is away is asked by one track at a
// time instead of by all.
type engine struct {
	Engine

	mu     sync.Mutex // guards what follows
	held   int        // streams
	queue  []chan struct{}
	stats  EngineStats
	row    int           // failures in a row
	spoke  time.Time     // when it said something last
	cool   time.Duration // of the last time that it was open
	until  time.Time     // the circuit is open; zero: it is closed
	probe  bool          // one track tries whether it is back
	change chan struct{} // closed when the circuit changes
}

func newEngine(e Engine) *engine {
	return &engine{Engine: e, change: make(chan struct{})}
}

// acquire waits for one of the engine's streams, first come, first served.
// waits is called if there is none right now.
func (e *engine) acquire(ctx context.Context, waits func()) error {
	e.mu.Lock()
	if e.Streams <= 0 || e.held < e.Streams && len(e.queue) == 0 {
		e.held++
		e.mu.Unlock()
		return nil
	}
	turn := make(chan struct{}, 1)
	e.queue = append(e.queue, turn)
	e.mu.Unlock()
	waits()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	for i, t := range e.queue {
		if t == turn {
			e.queue = append(e.queue[:i:i], e.queue[i+1:]...)
			e.mu.Unlock()
			return ctx.Err()
		}
	}
	e.mu.Unlock()
	e.release() // it was handed over at the same moment
	return ctx.Err()
}

// release gives a stream back, to who has waited for it longest.
func (e *engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) > 0 {
		e.queue[0] <- struct{}{}
		e.queue = e.queue[1:]
		return
	}
	e.held--
}

// crowded reports whether others wait for a stream.
func (e *engine) crowded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.queue) > 0
}

// ready reports whether the engine may be tried now: the circuit is closed, or
// has been open for long enough and nobody else tries. If not, it says when to
// look again: at a time, or as soon as changed is closed.
func (e *engine) ready(now time.Time) (ok bool, at time.Time, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.until.IsZero():
		return true, now, e.change
	case e.probe:
		return false, now.Add(maxCool), e.change
	}
	return !now.Before(e.until), e.until, e.change
}

// enter is to be called before a stream is opened. Of an open circuit it makes
// the caller the one that tries; it is false if that is someone else.
func (e *engine) enter(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.until.IsZero() {
		return true
	}
	if e.probe || now.Before(e.until) {
		return false
	}
	e.probe = true
	return true
}

// opened says that a stream opened, which closes the circuit.
func (e *engine) opened() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Opened++
	if !e.until.IsZero() {
		e.until, e.probe = time.Time{}, false
		e.changed()
	}
}

// heard says that the engine has said something. Only that ends a row of
// failures: one that takes audio and dies is not back.
func (e *engine) heard(now time.Time, final bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if final {
		e.stats.Finals++
	}
	e.row, e.cool, e.spoke = 0, 0, now
}

// failed says that a stream could not be opened, or ended before its time. It
// reports whether that opens the circuit.
func (e *engine) failed(now time.Time, err error) (open bool, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Failed++
	e.row++
	var retry *RetryError
	told := errors.As(err, &retry)
	isOpen := now.Before(e.until)
	if !told && (isOpen || !e.probe && e.row < tripAfter) {
		return false, 0
	}
	e.cool = min(max(2*e.cool, minCool), maxCool)
	wait = e.cool/2 + rand.N(e.cool/2+1)
	if told {
		wait = min(max(retry.After, minRetry), maxRetry)
	}
	if until := now.Add(wait); until.After(e.until) {
		e.until = until
	}
	e.probe = false
	e.changed()
	return true, wait
}

// leave takes back an enter that came to nothing, by no fault of the engine.
func (e *engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.probe {
		e.probe = false
		e.changed()
	}
}

// changed wakes those who wait for the circuit. e.mu is held.
func (e *engine) changed() {
	close(e.change)
	e.change = make(chan struct{})
}

func (e *engine) numbers() EngineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Name, s.Streams, s.Waiting, s.CircuitOpen = e.Name, e.held, len(e.queue), !e.until.IsZero()
	return s
}

// heardSince reports whether the engine has said anything since then, to
// whatever track.
func (e *engine) heardSince(t time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.spoke.After(t)
}
