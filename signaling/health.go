package signaling

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkTimeout is how long a check may take, and checkFresh how long what it
	// found is told again: whoever asks often costs nothing.
	checkTimeout = 2 * time.Second
	checkFresh   = time.Second
)

// Check is something without which a server is not ready, or not alive.
type Check struct {
	Name string
	Hint string // what is wrong then, and what to do: it is shown to anyone
	// Run finds out. The error goes to the log alone. One that has not returned by
	// ctx's end has failed, and is not run again before it returns.
	Run func(ctx context.Context) error
}

// checks runs some, one time at a time.
type checks struct {
	log *slog.Logger
	all []*check

	mu     sync.Mutex // guards what follows; held while they run
	at     time.Time
	failed []string
}

type check struct {
	Check
	busy atomic.Bool
	told bool // that it fails; guarded by checks.mu
}

func newChecks(log *slog.Logger, all []Check) *checks {
	c := &checks{log: log}
	for _, one := range all {
		c.all = append(c.all, &check{Check: one})
	}
	return c
}

// failing is what is wrong, each with its name.
func (c *checks) failing() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < checkFresh {
		return c.failed
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	results := make([]<-chan error, len(c.all))
	for i, one := range c.all {
		results[i] = one.start(ctx)
	}
	c.failed = nil
	for i, one := range c.all {
		var err error
		select {
		case err = <-results[i]:
		case <-ctx.Done():
			err = errors.New("no answer in time")
		}
		if err != nil {
			c.failed = append(c.failed, one.Name+": "+one.Hint+".")
		}
		if err != nil && !one.told { // once, not with every question
			c.log.Error("a check fails", "check", one.Name, "err", err)
		}
		if err == nil && one.told {
			c.log.Info("a check is fine again", "check", one.Name)
		}
		one.told = err != nil
	}
	c.at = time.Now()
	return c.failed
}

func (c *check) start(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	if !c.busy.CompareAndSwap(false, true) {
		result <- errors.New("it has not returned since it was last asked")
		return result
	}
	go func() { // nobody waits for one that hangs
		defer c.busy.Store(false)
		result <- c.Run(ctx)
	}()
	return result
}

// Healthz answers whether the process can still do its work at all.
func (s *Server) Healthz(w http.ResponseWriter, r *http.Request) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) error {
		if failed := s.alive.failing(); len(failed) > 0 {
			return problem(http.StatusInternalServerError, "stuck", strings.Join(failed, " "))
		}
		_, _ = w.Write([]byte("ok\n"))
		return nil
	})(w, r)
}

// Readyz answers whether it takes new sessions.
func (s *Server) Readyz(w http.ResponseWriter, r *http.Request) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) error {
		if s.draining.Load() {
			return drainingProblem()
		}
		if failed := s.ready.failing(); len(failed) > 0 {
			return problem(http.StatusServiceUnavailable, "not-ready", strings.Join(failed, " ")).after(5 * time.Second)
		}
		_, _ = w.Write([]byte("ready\n"))
		return nil
	})(w, r)
}
