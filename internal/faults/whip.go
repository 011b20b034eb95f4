//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

const (
	retryEvery = 200 * time.Millisecond
	// settling is how many packets a decoder may need that begins in the middle of
	// what an encoder had begun before: 1 in 100 numbers cannot be read there. (A
	// browser's encoder begins anew with each session; these packets were made
	// once.)
	settling = 8
	// settle is what the server gets for what was lost at the end before a client
	// leaves: more than it waits for any packet.
	settle = 2 * time.Second
	// knownAfter is when everybody knows of a session.
	knownAfter = 2 * time.Second
)

// talker is a participant of a scene.
type talker interface {
	// talk says the numbers, one every 100 ms from now on, until over is closed
	// and the sentence is finished. It joins again whenever that is necessary. It
	// returns when the server has taken in what it could.
	talk(ctx context.Context, over <-chan struct{}) error
	// truth is what was said. It is called when talk has returned; deaths are
	// when each server died, or could not be reached any more, and what had
	// arrived within the edge before may have been in its memory only.
	truth(deaths [][]time.Time, edge time.Duration) truth
}

// whip is a talker like a browser: Opus packets over WebRTC in real time. What
// is due while there is no connection is gone. One goroutine sends, one keeps
// the connection.
type whip struct {
	servers []*whipclient.Client
	home    int // that of servers which it joins first
	room    string
	id      string
	signal  *signal

	begun time.Time
	sent  []sending // of each packet that was due

	mu  sync.Mutex // guards what follows
	now link
}

// link is a session: with which server, and since when. The zero value is none.
type link struct {
	*whipclient.Session
	server int
	since  time.Time
}

// sending is when a packet was sent, and in which session. The zero value was
// not sent.
type sending struct {
	at time.Time
	to link
}

func (w *whip) talk(ctx context.Context, over <-chan struct{}) error {
	kctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.keep(kctx) })
	err := w.play(ctx, over)
	stop()
	wg.Wait()
	switch session := w.now.Session; {
	case session != nil && err == nil:
		return session.Leave(ctx)
	case session != nil:
		return errors.Join(err, session.Close())
	case err == nil:
		err = errors.New(w.id + " is not connected at the end")
	}
	return err
}

// play sends each packet when it is due.
func (w *whip) play(ctx context.Context, over <-chan struct{}) error {
	w.begun = time.Now()
	last := len(w.signal.packets)
	for k, payload := range w.signal.packets {
		if k >= last {
			return harness.Sleep(ctx, settle)
		}
		if err := harness.Sleep(ctx, time.Until(w.begun.Add(time.Duration(k)*packetTime))); err != nil {
			return err
		}
		w.send(payload)
		select {
		case <-over:
			over = nil
			last, _ = packetsOf(endOf(int(time.Duration(k) * packetTime / perNumber)))
		default:
		}
	}
	return errors.New("the signal is too short")
}

// send sends the packet that is due, if there is a connection.
func (w *whip) send(payload []byte) {
	w.mu.Lock()
	to := w.now
	w.mu.Unlock()
	var s sending
	if to.Session != nil && to.Send(payload, packetTicks) == nil {
		s = sending{time.Now(), to}
	}
	w.sent = append(w.sent, s)
}

// keep joins again and again, whenever the connection is lost, until ctx ends;
// what is there then is left to talk.
func (w *whip) keep(ctx context.Context) {
	at := w.home
	for ctx.Err() == nil {
		l, err := w.join(ctx, at)
		if err != nil {
			_ = harness.Sleep(ctx, retryEvery)
			at++
			continue
		}
		w.use(l)
		for w.wait(ctx, l) { // for another, before the present one is left
			next, err := w.elsewhere(ctx, l)
			if err != nil {
				break
			}
			w.use(next)
			_ = harness.Sleep(ctx, 300*time.Millisecond) // what is on the way may still arrive
			_ = l.Leave(context.WithoutCancel(ctx))      // its server may be gone
			l = next
		}
		if ctx.Err() == nil {
			w.use(link{})
			_ = l.Close() // it is of no use any more
		}
		at = l.server
	}
}

// join begins a session with the first server that is ready, from that one on, as
// a load balancer would have it.
func (w *whip) join(ctx context.Context, at int) (link, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n := len(w.servers)
	for i := range n {
		server := (at + i) % n
		if n > 1 && !ready(ctx, w.servers[server]) {
			continue
		}
		s, err := w.servers[server].Join(ctx, w.room, w.id, w.id, whipclient.Options{
			Sequence: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
		})
		return link{s, server, time.Now()}, err
	}
	return link{}, errors.New("no server is ready")
}

// elsewhere begins a session with another server, as long as the present one lasts.
func (w *whip) elsewhere(ctx context.Context, l link) (link, error) {
	for {
		next, err := w.join(ctx, l.server+1)
		if err == nil {
			return next, nil
		}
		select {
		case <-l.Lost():
			return link{}, err
		case <-ctx.Done():
			return link{}, err
		case <-time.After(retryEvery):
		}
	}
}

// ready tells whether a server takes sessions.
func ready(ctx context.Context, c *whipclient.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (w *whip) use(l link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = l
}

// wait returns when the session is of no use any more, or with ctx; or, true,
// when its server goes down and wants it to be elsewhere. Like the browser client,
// it learns of a server's death from the event stream, long before ICE gives up.
func (w *whip) wait(ctx context.Context, l link) (moving bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := make(chan bool, 1)
	go func() { news <- w.follow(ctx, l) }()
	select {
	case moving = <-news:
		return moving
	case <-l.Lost():
	}
	cancel()
	<-news
	return false
}

// follow reads event streams until the server cannot be reached, or does not know
// the session any more; or, true, until it wants this participant to move.
func (w *whip) follow(ctx context.Context, l link) (moving bool) {
	lastID := ""
	for ctx.Err() == nil {
		sctx, over := context.WithCancel(ctx)
		gone := false
		err := w.servers[l.server].Stream(sctx, w.room, &lastID, func(e whipclient.Event) {
			var m meeting.Moving
			switch {
			case e.Type == meeting.EventMoving && json.Unmarshal(e.Data, &m) == nil && slices.Contains(m.Participants, w.id):
				moving = true
				over()
			case e.Type == meeting.EventState && time.Since(l.since) > knownAfter && !w.in(e.Data):
				gone = true
				over()
			}
		})
		over()
		refused := new(whipclient.Error)
		if moving || gone || !errors.Is(err, whipclient.ErrCut) && !errors.As(err, &refused) {
			return moving
		}
		_ = harness.Sleep(ctx, retryEvery)
	}
	return false
}

// in tells whether the room's state has this participant.
func (w *whip) in(state []byte) bool {
	var s struct{ Meeting meeting.Meeting }
	if json.Unmarshal(state, &s) != nil {
		return false
	}
	return slices.ContainsFunc(s.Meeting.Participants, func(p meeting.Participant) bool { return p.ID == w.id && p.LeftAt == nil })
}

func (w *whip) truth(deaths [][]time.Time, margin time.Duration) truth {
	n := int(time.Duration(len(w.sent)) * packetTime / perNumber)
	t := newTruth(w.id, n)
	for i := range t.fates {
		first, last := packetsOf(i)
		last = min(last, len(w.sent)-1)
		for k := max(0, first-settling); k <= last; k++ {
			t.fates[i] = max(t.fates[i], w.fate(k, k >= first, deaths, margin))
			if w.sent[k].to != w.sent[last].to { // the decoder that has the end has not had this
				t.fates[i] = max(t.fates[i], unsent)
			}
		}
	}
	return t
}

// fate is what may have become of a packet, of which a number needs the audio
// or only what the decoder keeps of it.
func (w *whip) fate(k int, audio bool, deaths [][]time.Time, margin time.Duration) fate {
	s := w.sent[k]
	if s.at.IsZero() {
		return unsent
	}
	for _, d := range deaths[s.to.server] {
		switch {
		case !d.After(s.to.since): // before that session
		case !d.After(s.at): // sent to a server that was dead already
			return unsent
		case audio && d.Sub(s.at) <= margin:
			return edge
		}
	}
	return kept
}
