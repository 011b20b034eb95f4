//go:build linux

package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"verbatim/internal/harness"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcribe/probe"
	"verbatim/signaling/whipclient"
)

const (
	// mapEvery is how often the server is asked which track is whose, and
	// mapWithin how long it may not know.
	mapEvery  = 300 * time.Millisecond
	mapWithin = 15 * time.Second
	// tailWithin is for how long nothing may come of what was sent last.
	tailWithin = 5 * time.Second
	// peerSlack is what a peer's resampler may hold back, in samples (16 kHz), and
	// peerTail what its jitter buffer may never give.
	peerSlack = audio.FrameRate / 100
	peerTail  = audio.FrameRate
)

// load is all participants. One goroutine calls its methods, but for take.
type load struct {
	cfg       *Config
	client    *whipclient.Client
	rotations []*rotation
	epoch     time.Time
	ctx       context.Context // of what the participants send
	stop      context.CancelFunc
	sending   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	joined  []*publisher
	streams map[[16]byte]*publisher
	unknown map[[16]byte][]probe.Record // of tracks that nobody has told the owner of
	window  *window                     // being measured, or nil
}

// window is what was measured of the packets that were due from one time to
// another.
type window struct {
	from, to time.Time
	delay    delays // from when a packet was due to when it was at the recognizer
	recent   delays // the same, since the last look
	late     delays // from when it was due to when it was sent
}

// publisher is one participant; its goroutine sends.
type publisher struct {
	l       *load
	id      [16]byte
	r       *rotation
	start   time.Time // when the first packet is due
	session *whipclient.Session

	// What follows is guarded by l.mu.
	known bool  // its track is
	sent  int   // packets
	next  int   // the packet whose frame comes next
	lost  int   // frames that did not come, or were others
	err   error // what ended it, or the first of those frames
}

func newLoad(ctx context.Context, c *Config, url string, all []*rotation) *load {
	l := &load{
		cfg: c, rotations: all, epoch: time.Now(), streams: map[[16]byte]*publisher{}, unknown: map[[16]byte][]probe.Record{},
		client: &whipclient.Client{URL: url, HTTP: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: c.JoinParallel + 1,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		}}},
	}
	l.ctx, l.stop = context.WithCancel(ctx)
	return l
}

// grow lets participants join until there are n, and tells how many did in a
// second.
func (l *load) grow(ctx context.Context, n int) (perSecond float64, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(l.cfg.JoinParallel)
	limit := rate.NewLimiter(rate.Inf, 1)
	if l.cfg.Joins > 0 {
		limit = rate.NewLimiter(rate.Limit(l.cfg.Joins), 1)
	}
	l.mu.Lock()
	have := len(l.joined)
	l.mu.Unlock()
	begun := time.Now()
	stopMapping := l.mapTracks(ctx)
	defer stopMapping()
	for i := have; i < n; i++ {
		if err := limit.Wait(gctx); err != nil {
			break // g.Wait tells why
		}
		g.Go(func() error { return l.join(gctx, i) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	perSecond = float64(n-have) / time.Since(begun).Seconds()
	for deadline := time.Now().Add(mapWithin); ; {
		missing := l.unmapped()
		if len(missing) == 0 {
			return perSecond, ctx.Err()
		}
		if time.Now().After(deadline) {
			return perSecond, fmt.Errorf("%d participants have sent, and the server has no track of them", len(missing))
		}
		if err := harness.Sleep(ctx, mapEvery); err != nil {
			return perSecond, err
		}
	}
}

// join lets the i-th participant in.
func (l *load) join(ctx context.Context, i int) error {
	p := &publisher{l: l, r: l.rotations[i%len(l.rotations)], known: l.cfg.Peer != ""}
	_, _ = rand.Read(p.id[:]) // never fails
	room := fmt.Sprintf("bench-%d", i/l.cfg.RoomSize)
	s, err := l.client.Join(ctx, room, hex.EncodeToString(p.id[:]), fmt.Sprintf("Participant %d", i+1), whipclient.Options{Loopback: true})
	if err != nil {
		return fmt.Errorf("a participant could not join: %w", err)
	}
	p.session = s
	// Evenly over a packet's length, however many there are: by the golden ratio.
	length := audio.Duration(p.r.packets[0].ticks)
	_, phase := math.Modf(float64(i) * math.Phi)
	p.start = l.epoch.Add(time.Since(l.epoch).Truncate(length) + length + time.Duration(phase*float64(length)))
	l.mu.Lock()
	l.joined = append(l.joined, p)
	if p.known {
		l.streams[p.id] = p
	}
	l.mu.Unlock()
	l.sending.Go(p.send)
	return nil
}

// send sends packets when they are due, until the load is stopped.
func (p *publisher) send() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		next := p.r.packet(n)
		due := p.start.Add(audio.Duration(next.at))
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-p.session.Lost():
			p.fail(errors.New("the media connection was lost"))
			return
		case <-p.l.ctx.Done():
			return
		}
		p.l.mu.Lock()
		p.sent++
		p.l.mu.Unlock()
		if err := p.session.Send(next.payload, next.step); err != nil {
			p.fail(fmt.Errorf("send: %w", err))
			return
		}
		late := time.Since(due)
		p.l.mu.Lock()
		if w := p.l.window; w.has(due) {
			w.late.add(late)
		}
		p.l.mu.Unlock()
	}
}

func (p *publisher) fail(err error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.err = err
}

func (w *window) has(due time.Time) bool {
	return w != nil && !due.Before(w.from) && due.Before(w.to)
}

// listen takes what the server tells until l is closed.
func (l *load) listen(ln net.Listener) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		readers.Go(func() {
			defer c.Close()
			for rec, err := range probe.Read(c) {
				if err != nil {
					return // the server was killed in the middle of one
				}
				l.take(rec)
			}
		})
	}
}

// take takes one record. Those of one stream come in order.
func (l *load) take(rec probe.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.streams[rec.Stream]
	if p == nil {
		l.unknown[rec.Stream] = append(l.unknown[rec.Stream], rec)
		return
	}
	p.take(rec)
}

// take compares a record with what it has to be, with l.mu held.
func (p *publisher) take(rec probe.Record) {
	if p.l.cfg.Peer != "" {
		for p.next < p.sent && rec.End+peerSlack >= p.r.heard(p.next+1) {
			p.arrived(rec.At)
		}
		return
	}
	if p.next > 0 && rec.End <= p.r.frame(p.next-1).end {
		return // of a stream that was opened anew: it had come before
	}
	i := p.next
	for i < p.sent && p.r.frame(i).end < rec.End {
		i++
	}
	placed := i < p.sent && p.r.frame(i).end == rec.End
	right := placed && p.r.frame(i).sum == rec.Sum
	if !right && silences[rec.Sum] {
		return // a pause: where the next frame is will tell whether it was as long
	}
	if !right || i > p.next {
		p.miss(i, placed, rec)
	}
	if placed {
		p.next = i
		p.arrived(rec.At)
	}
}

// miss counts what a record shows not to have come, up to the i-th packet.
func (p *publisher) miss(i int, placed bool, rec probe.Record) {
	lost := i - p.next
	what := fmt.Sprintf("%d frames are missing", lost)
	switch {
	case !placed:
		lost = 1
		what = "a frame is of nothing that was sent"
	case p.r.frame(i).sum != rec.Sum:
		lost++
		what = "a frame has other samples"
	}
	p.lost += lost
	if p.err == nil {
		if n := p.r.firstOf(rec.Sum); p.next == 0 && n > 0 {
			what = fmt.Sprintf("the track begins with packet %d, what was sent before is missing", n+1)
		}
		p.err = fmt.Errorf("%s, %v after the participant's first; it had sent %v", what,
			audio.Duration(rec.End*audio.TicksPerSample), audio.Duration(p.r.packet(p.sent).at))
	}
}

// arrived notes that the next packet was at the recognizer at that time.
func (p *publisher) arrived(at time.Time) {
	due := p.due(p.next)
	p.next++
	if w := p.l.window; w.has(due) {
		w.delay.add(at.Sub(due))
		w.recent.add(at.Sub(due))
	}
}

func (p *publisher) due(n int) time.Time { return p.start.Add(audio.Duration(p.r.packet(n).at)) }

// mapTracks asks the server which track is whose, until it is stopped.
func (l *load) mapTracks(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for harness.Sleep(ctx, mapEvery) == nil {
			meetings := map[string]bool{}
			for _, p := range l.unmapped() {
				meetings[p.session.Meeting] = true
			}
			for id := range meetings {
				var m meeting.Meeting
				if l.client.Get(ctx, "/v1/meetings/"+id, &m) == nil { // else grow tells, if it stays so
					l.mapMeeting(&m)
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// unmapped are the participants whose track is not known.
func (l *load) unmapped() (ps []*publisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.joined {
		if !p.known {
			ps = append(ps, p)
		}
	}
	return ps
}

func (l *load) mapMeeting(m *meeting.Meeting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.joined {
		if p.known || p.session.Meeting != m.ID {
			continue
		}
		for _, t := range m.Tracks {
			id, err := ulid.ParseStrict(t.ID)
			if err != nil || t.Participant != hex.EncodeToString(p.id[:]) {
				continue
			}
			p.known = true
			l.streams[[16]byte(id)] = p
			for _, rec := range l.unknown[[16]byte(id)] {
				p.take(rec)
			}
			delete(l.unknown, [16]byte(id))
		}
	}
}

// measure begins a window of that length.
func (l *load) measure(length time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.window = &window{from: now, to: now.Add(length)}
}

// measured ends the window. What was due in it and has not come counts as what
// it took until now.
func (l *load) measured() *window {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, now := l.window, time.Now()
	l.window = nil
	for _, p := range l.joined {
		for n := p.next; p.due(n).Before(w.to); n++ {
			if w.has(p.due(n)) {
				w.delay.add(now.Sub(p.due(n)))
			}
		}
	}
	return w
}

// lost is how many frames did not come or were others, and the first thing that
// went wrong with a participant.
func (l *load) lost() (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.joined {
		n += p.lost
		if err == nil {
			err = p.err
		}
	}
	return n, err
}

// leave ends all sessions and waits for what was sent last; missing is how many
// frames did not come.
func (l *load) leave(ctx context.Context) (missing int, err error) {
	l.stop()
	l.sending.Wait()
	var g errgroup.Group
	g.SetLimit(l.cfg.JoinParallel)
	for _, p := range l.joined {
		g.Go(func() error { return p.session.Leave(ctx) })
	}
	err = g.Wait()
	for last, since := -1, time.Now(); ; {
		missing = l.missing()
		if missing == 0 || time.Since(since) > tailWithin {
			return missing, err
		}
		if missing != last {
			last, since = missing, time.Now()
		}
		if serr := harness.Sleep(ctx, 20*time.Millisecond); serr != nil {
			return missing, errors.Join(err, serr)
		}
	}
}

// missing is how many frames are still to come of what was sent.
func (l *load) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.joined {
		if l.cfg.Peer == "" || p.r.heard(p.sent)-p.r.heard(p.next) > peerTail {
			n += p.sent - p.next
		}
	}
	return n
}

// cut ends the window now.
func (l *load) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.to = time.Now()
}

// look gives the delays of the window since the last look.
func (l *load) look() (d delays) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, l.window.recent = l.window.recent, delays{}
	return d
}
