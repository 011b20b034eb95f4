//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

const (
	room = "faults"
	// A sentence lasts 3 s and its final comes in the pause behind it: so much may
	// be outstanding when nothing is wrong.
	usualMS = 6000
	// patience is how long a server may take to catch up.
	patience = 5 * time.Minute
)

// site is a server with its participants, to which one fault happens. One
// goroutine runs it (row.run) and restarts the server; each participant has its
// own.
type site struct {
	o    *options
	row  row
	dir  string // of everything below
	data string // the server's
	// speed is the file that holds the recognizers' speed, clock the one that
	// shifts the server's clock.
	speed, clock  string
	listen, media string // addresses
	env           []string
	plug          *plug // power only

	server *harness.Server // nil only while it is restarted
	client whipclient.Client
	deaths []time.Time
	peak   int64                  // bytes
	phase  atomic.Pointer[string] // for show
}

func newSite(ctx context.Context, o *options, r row, dir string) (*site, error) {
	s := &site{
		o: o, row: r, dir: dir, data: filepath.Join(dir, "data"),
		speed: filepath.Join(dir, "speed"), clock: filepath.Join(dir, "clock"),
	}
	s.say("begins")
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return nil, err
	}
	if err := s.ports(ctx); err != nil {
		return nil, err
	}
	s.client.URL = "http://" + s.listen
	if r.prepare != nil {
		if err := r.prepare(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, s.start(ctx)
}

// ports finds two that are free. The server needs the same ones after a restart.
func (s *site) ports(ctx context.Context) error {
	var c net.ListenConfig
	tcp, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	s.listen, s.media = tcp.Addr().String(), udp.LocalAddr().String()
	return errors.Join(tcp.Close(), udp.Close())
}

func (s *site) start(ctx context.Context) (err error) {
	s.server, err = harness.StartServer(harness.ServerOptions{
		Binary: s.o.verbatim, Listen: s.listen, Media: s.media, Data: s.data, Log: filepath.Join(s.dir, "server.log"),
		// Some disks of these faults are small.
		Flags: []string{"--min-free", "0", "--recognizer", fmt.Sprintf("command:%q -speed %q", s.o.recognizer, s.speed)},
		Env:   s.env,
	})
	if err != nil {
		return err
	}
	return s.server.Ready(ctx)
}

// restart kills the server, does what has to be done while it is dead, and
// starts it again.
func (s *site) restart(ctx context.Context, dead func() error) error {
	s.measure()
	s.deaths = append(s.deaths, time.Now())
	if err := s.server.Kill(); err != nil {
		return err
	}
	s.server = nil
	if err := dead(); err != nil {
		return err
	}
	return s.start(ctx)
}

// setClock shifts the server's wall clock; it needs a binary with the build tag
// faults.
func (s *site) setClock(by time.Duration) error {
	s.env = []string{"VERBATIM_FAULT_CLOCK=" + s.clock}
	// Renamed, so that the server never reads half of it.
	next := s.clock + ".next"
	if err := os.WriteFile(next, []byte(by.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.clock)
}

func (s *site) measure() { s.peak = max(s.peak, peakMemory(s.server.PID())) }

func (s *site) say(phase string) { s.phase.Store(&phase) }

// stop ends what newSite has begun.
func (s *site) stop() (err error) {
	if s.server != nil {
		err = s.server.Kill()
	}
	if s.row.prepare != nil { // it may have mounted something
		_ = unix.Unmount(s.data, unix.MNT_DETACH)
	}
	return err
}

// run lets everybody talk, does what the row is about, and says what came of it.
func (s *site) run(ctx context.Context) (res result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	talkers := s.talkers()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for i, t := range talkers {
		wg.Go(func() {
			// Not all of them pause at the same time.
			err := harness.Sleep(ctx, time.Duration(i)*700*time.Millisecond)
			if err == nil {
				err = t.talk(ctx, over)
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	res = result{Name: s.row.name, Title: s.row.text(s.o.quick), Participants: len(talkers)}
	if err := s.suffer(ctx, &res); err != nil {
		return res, err
	}
	s.say("last words")
	close(over)
	wg.Wait()
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	s.say("is transcribed to the end")
	docs, err := s.transcripts(ctx)
	if err != nil {
		return res, err
	}
	s.measure()
	res.PeakMB = float64(s.peak) / (1 << 20)
	res.Deaths = len(s.deaths)
	truths := make([]truth, len(talkers))
	for i, t := range talkers {
		truths[i] = t.truth(s.deaths, s.row.edge)
	}
	res.judge(truths, docs, bars{off: s.o.off, drift: s.row.drift(s.o), edge: s.row.edge})
	return res, nil
}

func (s *site) talkers() (all []talker) {
	for i := range s.o.whip {
		all = append(all, &whip{client: &s.client, room: room, id: fmt.Sprintf("whip%d", i+1), signal: s.o.signal})
	}
	for i := range s.o.ingest {
		all = append(all, &ingest{base: s.client.URL, room: room, id: fmt.Sprintf("ingest%d", i+1), signal: s.o.signal})
	}
	return all
}

// suffer is from the first word until all is as it was before the fault.
func (s *site) suffer(ctx context.Context, res *result) error {
	calm := 8 * time.Second
	if s.o.quick {
		calm = 6 * time.Second
	}
	s.say("before the fault")
	if err := harness.Sleep(ctx, calm); err != nil {
		return err
	}
	if err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	s.say("suffers")
	d, rounds := s.row.length(s.o.quick)
	if err := s.row.fault(ctx, s, d, rounds); err != nil {
		return fmt.Errorf("the fault: %w", err)
	}
	ended := time.Now()
	s.say("catches up")
	if err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	res.CatchUp = time.Since(ended).Seconds()
	s.say("after the fault")
	return harness.Sleep(ctx, calm)
}

// caughtUp waits until every participant's live track is transcribed up to what
// is being said, and all others to their end.
func (s *site) caughtUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it does not catch up"))
	defer cancel()
	for {
		s.measure()
		ms, err := s.meetings(ctx)
		if err == nil && upToDate(ms, s.o.whip+s.o.ingest) {
			return nil
		}
		if err := harness.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func upToDate(ms []meeting.Meeting, participants int) bool {
	live := 0
	for _, m := range ms {
		for _, t := range m.Tracks {
			switch t.State {
			case meeting.TrackLive:
				if t.Coverage.PendingMS > usualMS || t.Coverage.DurationMS == 0 {
					return false
				}
				live++
			case meeting.TrackPending:
				return false
			case meeting.TrackComplete, meeting.TrackIncomplete:
			}
		}
	}
	return live == participants
}
