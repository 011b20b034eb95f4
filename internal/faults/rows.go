//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"verbatim/internal/harness"
)

const (
	// A server that is killed loses what it had not written yet: it writes every
	// 100 ms. Power loss takes what was not fsynced, which is done every second.
	// The rest is for a busy machine.
	unwritten = 500 * time.Millisecond
	unsynced  = 1500 * time.Millisecond
)

// row is one fault.
type row struct {
	name  string
	title string // with "%v" for how long and "%d" for how often
	// full and quick are how long the fault lasts, or its parts do.
	full, quick time.Duration
	// rounds are how many parts there are, quickly fewer.
	rounds, quickRounds int
	// edge is for how long before its death what the server got may be lost.
	edge time.Duration
	// prepare makes the data folder something else than a folder; it may be nil.
	prepare func(ctx context.Context, s *site) error
	// fault does it, while everybody talks, and returns when it is over.
	fault func(ctx context.Context, s *site, d time.Duration, rounds int) error
}

func (r row) length(quick bool) (d time.Duration, rounds int) {
	if quick {
		return r.quick, r.quickRounds
	}
	return r.full, r.rounds
}

// text is the title, filled in.
func (r row) text(quick bool) string {
	d, rounds := r.length(quick)
	switch strings.Count(r.title, "%") {
	case 1:
		return fmt.Sprintf(r.title, d)
	case 2:
		return fmt.Sprintf(r.title, d, rounds)
	}
	return r.title
}

// drift is how far a participant's tracks may be apart. A server whose clock is
// set back while it is dead cannot know for how long it was.
func (r row) drift(o *options) time.Duration {
	if r.name == "clock" {
		return time.Minute
	}
	return o.off
}

var rows = []row{
	{
		name: "none", title: "no fault",
		full: 60 * time.Second, quick: 10 * time.Second,
		fault: func(ctx context.Context, _ *site, d time.Duration, _ int) error { return harness.Sleep(ctx, d) },
	},
	{
		name: "kill-recognizer", title: "recognizer killed every %v, %d times",
		full: 5 * time.Second, rounds: 24, quick: 5 * time.Second, quickRounds: 3,
		fault: killRecognizers,
	},
	{
		name: "stop-recognizer", title: "recognizer stopped for %v",
		full: 60 * time.Second, quick: 12 * time.Second,
		fault: stopRecognizers,
	},
	{
		name: "slow-recognizer", title: "recognizer 10 × slower than real time for %v",
		full: 5 * time.Minute, quick: 20 * time.Second,
		fault: slowRecognizers,
	},
	{
		name: "disk-full", title: "disk full for %v",
		full: 60 * time.Second, quick: 12 * time.Second,
		prepare: func(_ context.Context, s *site) error { return smallDisk(s.data) },
		fault:   func(ctx context.Context, s *site, d time.Duration, _ int) error { return fill(ctx, s.data, d) },
	},
	{
		name: "kill-server", title: "server killed every %v, %d times",
		full: 8 * time.Second, rounds: 10, quick: 6 * time.Second, quickRounds: 3, edge: unwritten,
		fault: killServer,
	},
	{
		name: "clock", title: "clock set back an hour, and again while the server restarts",
		full: 20 * time.Second, quick: 6 * time.Second, edge: unwritten,
		prepare: func(_ context.Context, s *site) error { return s.setClock(0) },
		fault:   setClockBack,
	},
	{
		name: "power", title: "power lost every %v, %d times",
		full: 10 * time.Second, rounds: 5, quick: 6 * time.Second, quickRounds: 2, edge: unsynced,
		prepare: func(ctx context.Context, s *site) (err error) {
			s.plug, err = newPlug(ctx, filepath.Join(s.dir, "disk.img"), s.data)
			return err
		},
		fault: cutPower,
	},
}

// often does something as many times, that long from one to the next.
func often(ctx context.Context, rounds int, every time.Duration, do func() error) error {
	for i := range rounds {
		if i > 0 {
			if err := harness.Sleep(ctx, every); err != nil {
				return err
			}
		}
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func killRecognizers(ctx context.Context, s *site, every time.Duration, rounds int) error {
	return often(ctx, rounds, every, func() error { return signalRecognizers(s.server.PID(), syscall.SIGKILL) })
}

// stopRecognizers stops those that come meanwhile, too.
func stopRecognizers(ctx context.Context, s *site, d time.Duration, _ int) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := signalRecognizers(s.server.PID(), syscall.SIGSTOP); err != nil {
			return err
		}
		if err := harness.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return signalRecognizers(s.server.PID(), syscall.SIGCONT)
}

func slowRecognizers(ctx context.Context, s *site, d time.Duration, _ int) error {
	if err := os.WriteFile(s.speed, []byte("0.1"), 0o600); err != nil {
		return err
	}
	if err := harness.Sleep(ctx, d); err != nil {
		return err
	}
	return os.Remove(s.speed)
}

func killServer(ctx context.Context, s *site, every time.Duration, rounds int) error {
	return often(ctx, rounds, every, func() error { return s.restart(ctx, func() error { return nil }) })
}

func setClockBack(ctx context.Context, s *site, d time.Duration, _ int) error {
	if err := s.setClock(-time.Hour); err != nil {
		return err
	}
	if err := harness.Sleep(ctx, d); err != nil {
		return err
	}
	return s.restart(ctx, func() error { return s.setClock(-2 * time.Hour) })
}

func cutPower(ctx context.Context, s *site, every time.Duration, rounds int) error {
	return often(ctx, rounds, every, func() error {
		if err := s.plug.cut(); err != nil {
			return err
		}
		return s.restart(ctx, func() error { return errors.Join(s.plug.out(ctx), s.plug.in(ctx)) })
	})
}
