//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"verbatim/internal/harness"
	"verbatim/internal/netem"
)

const (
	clientAddress = "10.77.0.1/16"
	port          = 8080 // TCP and UDP of every server
	// settle is how long the server is given for what was lost at the end before
	// the client leaves: more than it waits for any packet.
	settle = 3 * time.Second
)

// bench has what all cells share.
type bench struct {
	o       options
	dir     string
	talk    talk
	servers *netem.Namespace
}

func newBench(ctx context.Context, o options, dir string) (*bench, error) {
	for _, p := range []*string{&o.verbatim, &o.sphinx, &o.chromium} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	t, err := makeTalk(ctx, dir, o.duration)
	if err != nil {
		return nil, err
	}
	ns, err := netem.NewNamespace()
	if err != nil {
		return nil, err
	}
	if err := ns.Do(func() error { return prioritize(serversNext) }); err != nil {
		ns.Close()
		return nil, fmt.Errorf("let the servers come before all other processes: %w", err)
	}
	return &bench{o: o, dir: dir, talk: t, servers: ns}, nil
}

// site is a cell with its server, while it runs.
type site struct {
	cell   cell
	ip     netip.Addr
	dir    string
	path   *netem.Path
	server *harness.Server

	meeting  string
	attempts int
	stats    map[string]any
	err      error // ends this cell only
}

// sender runs all cells with one sender.
func (h *bench) sender(ctx context.Context, name string) (all []result, err error) {
	for from := 0; from < len(h.o.cells); from += h.o.together {
		cells := h.o.cells[from:min(len(h.o.cells), from+h.o.together)]
		rs, err := h.batch(ctx, name, from, cells)
		if err != nil {
			return all, err
		}
		all = append(all, rs...)
	}
	return all, nil
}

// batch runs cells at the same time, the first of which has that number.
func (h *bench) batch(ctx context.Context, sender string, from int, cells []cell) (rs []result, err error) {
	sites := make([]*site, len(cells))
	paths := map[netip.Addr]*netem.Path{}
	addresses := make([]string, len(cells))
	for i, c := range cells {
		n := from + i
		s := &site{
			cell: c, ip: netip.AddrFrom4([4]byte{10, 77, byte(1 + n/250), byte(1 + n%250)}),
			dir:  filepath.Join(h.dir, fmt.Sprintf("%s-%02d", sender, n)),
			path: netem.NewPath(c.Conditions, h.o.seed+uint64(n)),
		}
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return nil, err
		}
		sites[i], paths[s.ip], addresses[i] = s, s.path, s.ip.String()+"/16"
	}
	emulator, err := h.network(addresses, paths)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := emulator.Run(ctx); err != nil {
			cancel(fmt.Errorf("the network failed: %w", err))
		}
	})
	defer wg.Wait()
	defer cancel(nil)

	defer func() { err = errors.Join(err, stopServers(sites)) }()
	if err := h.startServers(ctx, sites); err != nil {
		return nil, err
	}
	shown, stop := context.WithCancel(ctx)
	wg.Go(func() { h.show(shown, sender, sites) })
	defer stop()
	send := h.pion
	if sender == "chromium" {
		send = h.chromium
	}
	if err := send(ctx, sites); err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	stop()
	for _, s := range sites {
		r := result{Sender: sender, Cell: s.cell.String(), cell: s.cell, Attempts: s.attempts, Stats: s.stats}
		err := s.err
		if err == nil {
			err = h.collect(ctx, s, &r)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			r.Err = err.Error()
		}
		rs = append(rs, r)
	}
	late := emulator.Lateness()
	if len(late) > 0 {
		harness.Progress("%s: the network sent %d packets up, late by %.2f ms (p50), %.2f ms (p99), %.2f ms at most, %d found no room",
			sender, len(late), ms(late[len(late)/2]), ms(late[len(late)*99/100]), ms(late[len(late)-1]), emulator.Dropped())
		for i := range rs {
			rs[i].LateP99 = ms(late[len(late)*99/100])
		}
	}
	return rs, nil
}

// network joins this namespace and that of the servers.
func (h *bench) network(addresses []string, paths map[netip.Addr]*netem.Path) (*netem.Emulator, error) {
	client, err := netem.OpenTUN("verbatim0", []string{clientAddress})
	if err != nil {
		return nil, err
	}
	var servers *os.File
	err = h.servers.Do(func() (err error) {
		servers, err = netem.OpenTUN("verbatim0", addresses)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return netem.NewEmulator(client, servers, paths), nil
}

// show tells now and then how far it is.
func (h *bench) show(ctx context.Context, sender string, sites []*site) {
	begun := time.Now()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		harness.Progress("%s: %d cells, %v of %v and the time to connect", sender, len(sites), time.Since(begun).Round(time.Second), h.o.duration)
	}
}

// collect takes a cell's results from its server.
func (h *bench) collect(ctx context.Context, s *site, r *result) error {
	track, err := finished(ctx, s.server, s.meeting)
	if err != nil {
		return err
	}
	r.Coverage = track.Coverage
	r.wav = filepath.Join(s.dir, "audio.wav")
	if err := download(ctx, s.server, s.meeting, track.ID, r.wav); err != nil {
		return err
	}
	readings, err := readTap(filepath.Join(s.dir, "tap"))
	if err != nil {
		return err
	}
	r.Measure, err = newMeasure(s.path.Trace(), readings)
	return err
}
