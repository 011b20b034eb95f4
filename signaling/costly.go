package signaling

import (
	"context"
	"io"
	"iter"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"verbatim/media/audio"
)

// What costs much more than other requests goes on a few at a time, whoever asks.
const (
	// maxReads is how many searches, lists, numbers and transcripts are read at a time: each is
	// much of a database that has one connection (SQLite), and every commit waits behind
	// them. An address may have maxReadsEach of them, with those that wait; they do so
	// for readWait.
	maxReads, maxReadsEach = 4, 16
	readWait               = 10 * time.Second
	// turnFrames is how many frames are decoded until others have their turn: 20 s of
	// audio, some milliseconds.
	turnFrames = 1000
)

// costly bounds that.
type costly struct {
	reads *semaphore.Weighted
	// making are those who decode and encode audio for an answer. The processors that it
	// leaves are for those who speak.
	making *semaphore.Weighted
}

func newCostly() costly {
	return costly{semaphore.NewWeighted(maxReads), semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2)))}
}

// read runs f, which reads much, when it is its turn.
func (s *Server) read(r *http.Request, f func() error) error {
	if a := addressOf(r); a != "" {
		key := "reads " + a
		if s.gate.take(place{key, tooFast, maxReadsEach}) != "" {
			return tooCostly()
		}
		defer s.gate.give(key)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWait)
	defer cancel()
	if err := s.costly.reads.Acquire(ctx, 1); err != nil {
		if r.Context().Err() != nil {
			return err // the client is gone
		}
		return tooCostly()
	}
	defer s.costly.reads.Release(1)
	return f()
}

func tooCostly() *Problem {
	return problem(http.StatusTooManyRequests, "too-fast", "The server has more such requests than it can answer at a time; try again in a while.").after(readWait)
}

// turn is one answer's share of the making of audio. It belongs to the goroutine of its
// request, and is not held while that waits for the client: who reads slowly keeps nobody
// waiting.
type turn struct {
	ctx  context.Context //nolint:containedctx // the request's
	all  *semaphore.Weighted
	held bool
}

func (s *Server) turn(r *http.Request) *turn { return &turn{ctx: r.Context(), all: s.costly.making} }

// take waits for it. It fails only when the request is over.
func (t *turn) take() error {
	if t.held {
		return nil
	}
	if err := t.all.Acquire(t.ctx, 1); err != nil {
		return err
	}
	t.held = true
	return nil
}

func (t *turn) leave() {
	if t.held {
		t.held = false
		t.all.Release(1)
	}
}

// make runs f, which makes audio and writes it to w.
func (t *turn) make(w io.Writer, f func(io.Writer) error) error {
	if err := t.take(); err != nil {
		return err
	}
	defer t.leave()
	return f(turnWriter{w, t})
}

type turnWriter struct {
	w io.Writer
	t *turn
}

func (w turnWriter) Write(b []byte) (int, error) {
	w.t.leave()
	n, err := w.w.Write(b)
	if err == nil {
		err = w.t.take()
	}
	return n, err
}

// turnReader makes audio while it is read.
type turnReader struct {
	io.ReadSeeker
	t *turn
}

func (r turnReader) Read(b []byte) (int, error) {
	if err := r.t.take(); err != nil {
		return 0, err
	}
	defer r.t.leave()
	return r.ReadSeeker.Read(b)
}

// share has others have their turn while many frames are made.
func (t *turn) share(frames iter.Seq2[audio.Frame, error]) iter.Seq2[audio.Frame, error] {
	return func(yield func(audio.Frame, error) bool) {
		n := 0
		for f, err := range frames {
			if n++; n%turnFrames == 0 && t.held {
				t.leave()
				if terr := t.take(); err == nil {
					err = terr
				}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}
