//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"verbatim/internal/harness"
	"verbatim/signaling/whipclient"
)

// tries is how often a sender may try to connect: a handshake can fail on a bad
// network, and is not what is measured.
const tries = 4

// pion sends with our own client, one connection for each site.
func (h *bench) pion(ctx context.Context, sites []*site) error {
	var wg sync.WaitGroup
	for _, s := range sites {
		wg.Go(func() { s.err = h.publish(ctx, s) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (h *bench) publish(ctx context.Context, s *site) (err error) {
	file, err := os.Open(h.talk.opus)
	if err != nil {
		return err
	}
	defer file.Close()
	var session *whipclient.Session
	for s.attempts = 1; ; s.attempts++ {
		session, err = s.server.Client.Join(ctx, "netem", "ada", "Ada", whipclient.Options{Sequence: 65000, Timestamp: 1<<32 - 48000})
		if err == nil {
			break
		}
		if s.attempts == tries || ctx.Err() != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	s.meeting = session.Meeting
	_, err = session.Play(ctx, full(whipclient.ReadOgg(file)))
	return errors.Join(err, harness.Sleep(ctx, settle), session.Leave(context.WithoutCancel(ctx)))
}

// full leaves out the last packet, which is shorter than the others.
func full(packets iter.Seq2[whipclient.Packet, error]) iter.Seq2[whipclient.Packet, error] {
	return func(yield func(whipclient.Packet, error) bool) {
		for p, err := range packets {
			if err == nil && p.Ticks != packetTime.Milliseconds()*ticks || !yield(p, err) {
				return
			}
		}
	}
}

// order is what the program that drives Chromium is told, as its argument.
type order struct {
	WAV      string      `json:"wav"`
	Seconds  float64     `json:"seconds"`
	Settle   float64     `json:"settle"` // seconds
	Tries    int         `json:"tries"`
	Sessions []orderSite `json:"sessions"`
}

type orderSite struct {
	URL string `json:"url"`
}

// told is a line of its stdout: what came of one session.
type told struct {
	Session  int            `json:"session"`
	Meeting  string         `json:"meeting"`
	Attempts int            `json:"attempts"`
	Error    string         `json:"error"`
	Stats    map[string]any `json:"stats"`
}

// chromium sends with one browser, one connection for each site.
func (h *bench) chromium(ctx context.Context, sites []*site) (err error) {
	o := order{WAV: h.talk.wav, Seconds: h.o.duration.Seconds(), Settle: settle.Seconds(), Tries: tries}
	for _, s := range sites {
		o.Sessions = append(o.Sessions, orderSite{URL: s.server.Client.URL + "/v1/rooms/netem/whip?name=Ada&participant=ada"})
		s.err = errors.New("nothing was heard of the session")
	}
	in, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.o.duration+3*time.Minute, errors.New("chromium takes too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", h.o.chromium, string(in))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	log, err := os.Create(filepath.Join(sites[0].dir, "chromium.log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), "TMPDIR="+h.dir) // the browser's profile
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := startAt(chromiumLast, cmd); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var t told
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil || t.Session < 0 || t.Session >= len(sites) {
			continue // the exit code tells
		}
		s := sites[t.Session]
		s.meeting, s.attempts, s.stats, s.err = t.Meeting, t.Attempts, t.Stats, nil
		if t.Error != "" {
			s.err = errors.New(t.Error)
		}
	}
	if err := cmd.Wait(); err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w: %s", h.o.chromium, errors.Join(err, context.Cause(ctx)), said)
	}
	return nil
}
