// Package conformance is the suite that every engine passes in its tests. It
// plays a track of tone code through the real Supervisor to the engine under
// test, whose server the engine's package scripts in the engine's own protocol,
// and which misbehaves as the Script says:
//
//	track (PCM packets) → Supervisor → engine ⇄ scripted server
//	                         ↓                     ⇅
//	                       sink                  Script: Turn, Ear
//
// After every case each word must have been committed exactly once, in order, at
// its place, and `through` must have reached the end with nothing skipped.
//
// A case runs in a synctest bubble, in which seconds cost nothing, on a network
// in memory. Engines that are processes run it in real time instead, shortened.
package conformance

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/pipeline/transcribe"
)

// Fault is how the server misbehaves in a case.
type Fault string

// The faults. Those of a connection (or request, where the protocol has one per
// utterance) come in several of a case; then the server is well again.
const (
	None         Fault = "no fault"
	CatchUp      Fault = "no fault, everything at once"
	Refuses      Fault = "refuses connections"
	Hangs        Fault = "accepts and hangs"
	Silent       Fault = "listens and goes silent"
	Stops        Fault = "stops reading"
	Closes       Fault = "closes in mid-word"
	Busy         Fault = "429 with Retry-After"
	Broken       Fault = "500"
	Unauthorized Fault = "401"
	Garbage      Fault = "garbage"
	Twice        Fault = "finals twice"
	Swapped      Fault = "finals out of order"
	Late         Fault = "results late by seconds"
	Never        Fault = "a final that never comes"
	Slow         Fault = "reads at a tenth of real time for a while"
	Limit        Fault = "closes every session at an age"
	Rotates      Fault = "a session limit that the engine knows"
)

var faults = []Fault{
	None, CatchUp, Refuses, Hangs, Silent, Stops, Closes, Busy, Broken, Unauthorized,
	Garbage, Twice, Swapped, Late, Never, Slow, Limit, Rotates,
}

// Options say what the suite has to know of an engine. The zero value is an
// engine with word times on a protocol that can express every fault.
type Options struct {
	// NoWords is for engines that give no times of words: their utterances
	// begin and end with their words then, to Tolerance.
	NoWords bool
	// Tolerance of times in samples (16 kHz), 0: 100 ms.
	Tolerance int64
	// As maps faults that the protocol cannot express to their nearest
	// equivalent, which runs in their place.
	As map[Fault]Fault
	// RealTime runs outside of a bubble, with a shorter track, which comes all
	// at once, and shorter faults.
	RealTime bool
	// Ordered says that the engine itself puts finals in order.
	Ordered bool
	// Interims says that the engine shows what is being said.
	Interims bool
}

// Run runs every case. start makes the engine under test with its server, for
// which s holds what to do; both end with t.
func Run(t *testing.T, start func(t *testing.T, s *Script) transcribe.Engine, o Options) {
	for _, f := range faults {
		as := f
		if other, ok := o.As[f]; ok {
			as = other
		}
		t.Run(string(f), func(t *testing.T) {
			if o.RealTime {
				t.Parallel()
				run(t, start, as, &o)
				return
			}
			synctest.Test(t, func(t *testing.T) { run(t, start, as, &o) })
		})
	}
}

func run(t *testing.T, start func(t *testing.T, s *Script) transcribe.Engine, f Fault, o *Options) {
	s := newScript(t, f, o.RealTime)
	engine := start(t, s)
	track := &track{packets: packets(s.numbers()), live: f != CatchUp && !o.RealTime, began: time.Now()}
	sink := &sink{}
	if f == Rotates {
		engine.Session = s.limit()
	}
	// So that an engine that never ends is a failure and not a deadlock.
	ctx, cancel := context.WithTimeout(t.Context(), s.scaled(5*time.Minute))
	defer cancel()
	err := s.supervisor(engine).Run(ctx, "track", track, 0, sink)
	s.end()
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(s.began), err)
	}
	for _, wrong := range sink.wrong(s.numbers(), f == Swapped && !o.Ordered, o) {
		t.Error(wrong)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == Rotates && s.limited > 0 {
		t.Errorf("%d of %d sessions ended by the server, not by rotation", s.limited, s.turns)
	}
	if o.Interims && (f == None || f == Slow) && sink.interims == 0 {
		t.Error("no interims")
	}
	t.Logf("%v, %d connections or requests, %d dials, %d commits", time.Since(s.began), s.turns, s.dials, sink.commits)
}

// Script is what the scripted server has in common with those of other
// protocols. Its methods are safe for concurrent use.
type Script struct {
	t        *testing.T
	fault    Fault
	realTime bool
	began    time.Time
	net      *network
	done     chan struct{} // the case is over

	mu      sync.Mutex // guards what follows
	dials   int
	turns   int
	wait    time.Time // the server wants not to be asked before
	limited int       // sessions that the server ended for their age
}

// NewScript is a Script without a fault, for tests that have a server of their
// own.
func NewScript(t *testing.T) *Script { return newScript(t, None, false) }

func newScript(t *testing.T, f Fault, realTime bool) *Script {
	s := &Script{t: t, fault: f, realTime: realTime, began: time.Now(), done: make(chan struct{})}
	s.net = newNetwork()
	t.Cleanup(func() { s.net.Close() })
	return s
}

// end lets go of what hangs.
func (s *Script) end() { close(s.done) }

// supervisor is one as the server has it, with times to match the case.
func (s *Script) supervisor(e transcribe.Engine) *transcribe.Supervisor {
	c := transcribe.Config{
		Engines:     []transcribe.Engine{e},
		Logger:      slog.New(slog.NewTextHandler(s.t.Output(), nil)),
		OpenTimeout: s.scaled(10 * time.Second), FinishTimeout: s.scaled(20 * time.Second), StallTimeout: s.scaled(20 * time.Second),
	}
	if s.realTime {
		c.MaxBackoff, c.StallTimeout, c.FinishTimeout = time.Second, 700*time.Millisecond, 700*time.Millisecond
	}
	return transcribe.New(c)
}

// numbers is how many tenths of a second the track lasts.
func (s *Script) numbers() int {
	if s.realTime {
		return 80
	}
	return 160
}

// scaled is a time of the case: real time is short.
func (s *Script) scaled(d time.Duration) time.Duration {
	if s.realTime {
		return d / 10
	}
	return d
}

// limit is the greatest age of a session.
func (s *Script) limit() time.Duration { return s.scaled(9 * time.Second) }
