//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
	"verbatim/signaling/whipclient"
)

const room = "faults"

// site is a server to which one fault happens. One goroutine runs it and restarts
// the server.
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
	peak   int64 // bytes
	phase  *phase
}

func newSite(ctx context.Context, o *options, r row, dir string, p *phase) (*site, error) {
	s := &site{
		o: o, row: r, dir: dir, phase: p, data: filepath.Join(dir, "data"),
		speed: filepath.Join(dir, "speed"), clock: filepath.Join(dir, "clock"),
	}
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

// run has the row's fault happen while people talk, and says what came of it.
func (s *site) run(ctx context.Context) (res result, err error) {
	d, rounds := s.row.length(s.o.quick)
	res = result{Name: s.row.name, Title: s.row.text(s.o.quick)}
	sc := scene{
		res: &res, quick: s.o.quick, rooms: []group{{room, s.talkers()}},
		bars:    bars{off: s.o.off, drift: s.row.drift(s.o), edge: s.row.edge},
		fault:   func(ctx context.Context) error { return s.row.fault(ctx, s, d, rounds) },
		client:  func() *whipclient.Client { return &s.client },
		deaths:  func() [][]time.Time { return [][]time.Time{s.deaths} },
		measure: s.measure, say: s.phase.say, dir: s.dir,
	}
	_, err = sc.run(ctx)
	res.PeakMB = float64(s.peak) / (1 << 20)
	return res, err
}

func (s *site) talkers() (all []talker) {
	for i := range s.o.whip {
		all = append(all, &whip{servers: []*whipclient.Client{&s.client}, room: room, id: fmt.Sprintf("whip%d", i+1), signal: s.o.signal})
	}
	for i := range s.o.ingest {
		all = append(all, &ingest{base: s.client.URL, room: room, id: fmt.Sprintf("ingest%d", i+1), signal: s.o.signal})
	}
	return all
}
