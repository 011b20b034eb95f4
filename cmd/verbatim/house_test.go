package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"

	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/pipeline"
	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/signaling"
)

// The network of the house: every packet takes 10 ms each way, and one of RTP
// up to 20 ms more.
const (
	oneWay = 10 * time.Millisecond
	jitter = 20 * time.Millisecond
)

// house is the server as serve wires it, without HTTP, on a virtual network
// and all within a synctest bubble.
type house struct {
	*server
	t      *testing.T
	logs   *tracklog.Store
	router *vnet.Router
	stop   func() // drains it as serve does
}

func newHouse(t *testing.T) *house { return newHouseIn(t, t.TempDir(), 0) }

// newHouseIn is one with its data in dir, whose wall clock shows another time
// than time.Now.
func newHouseIn(t *testing.T, dir string, wall time.Duration) *house {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	h := &house{t: t, server: &server{log: log, hub: &events.Hub{}, bus: &events.Hub{}, http: signaling.New(signaling.Config{Logger: log})}}
	db, err := store.Open(t.Context(), filepath.Join(dir, "verbatim.db"))
	must(err)
	h.logs, err = tracklog.New(tracklog.Options{Dir: filepath.Join(dir, "tracks"), SyncEvery: -1, Logger: h.log})
	must(err)
	now, release, err := startClock(t.Context(), time.Now().Add(wall), db, h.logs, h.log)
	must(err)
	background, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.logs.Run(background); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	h.registry, err = meeting.NewRegistry(t.Context(), meeting.Config{
		Store: db, Publish: h.hub.Publish, CloseSession: h.closeSession, Linger: time.Minute, Now: now, Logger: h.log,
	})
	must(err)
	h.pipeline = pipeline.New(pipeline.Config{
		Logs: h.logs, Store: db, Registry: h.registry, Publish: h.hub.Publish,
		Supervisor: transcribe.New(transcribe.Config{
			Engines: []transcribe.Engine{{Recognizer: ear{}, Name: "ear"}}, Logger: h.log,
		}), Now: now, Logger: h.log,
	})
	must(h.pipeline.Recover(t.Context()))
	release()
	h.router, err = vnet.NewRouter(&vnet.RouterConfig{
		CIDR: "10.0.0.0/16", MinDelay: oneWay, LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	must(err)
	at := h.network("10.0.0.1")
	must(h.router.Start())
	h.media, err = media.Listen(media.Config{Listen: "10.0.0.1:8080", Net: at, Sink: h, Now: now, Logger: h.log})
	must(err)
	wg.Go(func() { h.registry.Run(background) })
	h.stop = func() {
		must(h.media.Close(t.Context()))
		if n := h.pipeline.Close(t.Context()); n > 0 {
			t.Errorf("%d tracks are pending", n)
		}
		h.hub.Close()
		stop()
		wg.Wait()
		must(db.Close())
		must(h.router.Stop())
	}
	return h
}

// network is a new machine in it.
func (h *house) network(ip string) *vnet.Net {
	h.t.Helper()
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.router.AddNet(n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// line is the network of a participant: what it sends of RTP comes up to jitter
// later, and a part of it not at all. ICE and DTLS get through as long as it is
// not cut.
type line struct {
	*vnet.Net

	mu   sync.Mutex // guards what follows
	r    *rand.Rand
	loss float64
	cut  bool
	lost int // packets of RTP and RTCP
}

func (l *line) ListenUDP(network string, a *net.UDPAddr) (transport.UDPConn, error) {
	c, err := l.Net.ListenUDP(network, a)
	return &lineConn{c, l}, err
}

type lineConn struct {
	transport.UDPConn
	l *line
}

func (c *lineConn) WriteTo(b []byte, to net.Addr) (int, error) {
	delay, lost := c.l.fate(b[0] >= 128 && b[0] <= 191) // RFC 7983
	switch {
	case lost:
		return len(b), nil
	case delay == 0:
		return c.UDPConn.WriteTo(b, to)
	}
	b = slices.Clone(b)
	time.AfterFunc(delay, func() { _, _ = c.UDPConn.WriteTo(b, to) })
	return len(b), nil
}

func (l *line) fate(media bool) (delay time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cut:
		return 0, true
	case !media:
		return 0, false
	}
	if lost = l.r.Float64() < l.loss; lost {
		l.lost++
	}
	return time.Duration(l.r.Int64N(int64(jitter))), lost
}

func (l *line) set(change func(*line)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// checkLog reads a track's log from front to back.
func (h *house) checkLog(t *testing.T, track meeting.Track) {
	log, err := h.logs.Open(track.Meeting, track.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var seq uint64
	var start int64
	var account audio.Account
	var end audio.EndInfo
	for p, err := range log.Read(t.Context(), 0) {
		if err != nil || p.Seq != seq || p.Start != start {
			t.Fatalf("packet %d at %d, want %d at %d (%v)", p.Seq, p.Start, seq, start, err)
		}
		seq, start = seq+1, p.Next()
		account.Add(p)
		if p.Kind == audio.End {
			if end, err = p.EndInfo(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if account != track.Account || end.Totals != account || account.Total() != start {
		t.Errorf("the packets add up to %+v, the end says %+v, the store %+v", account, end, track.Account)
	}
}
