//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"verbatim/internal/harness"
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
)

// talker is a participant of a site.
type talker interface {
	// talk says the numbers, one every 100 ms from now on, until over is closed
	// and the sentence is finished. It joins again whenever that is necessary. It
	// returns when the server has taken in what it could.
	talk(ctx context.Context, over <-chan struct{}) error
	// truth is what was said. It is called when talk has returned; deaths are
	// when the server died, and what had arrived within the edge before may have
	// been in its memory only.
	truth(deaths []time.Time, edge time.Duration) truth
}

// whip is a talker like a browser: Opus packets over WebRTC in real time. What
// is due while there is no connection is gone. One goroutine sends, one keeps
// the connection.
type whip struct {
	client *whipclient.Client
	room   string
	id     string
	signal *signal

	begun time.Time
	sent  []sending // of each packet that was due

	mu      sync.Mutex // guards what follows
	session *whipclient.Session
	since   time.Time // when session was begun
}

// sending is when a packet was sent, and when its session was begun. The zero
// value was not sent.
type sending struct{ at, session time.Time }

func (w *whip) talk(ctx context.Context, over <-chan struct{}) error {
	kctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.keep(kctx) })
	err := w.play(ctx, over)
	stop()
	wg.Wait()
	switch {
	case w.session != nil && err == nil:
		return w.session.Leave(ctx)
	case w.session != nil:
		return errors.Join(err, w.session.Close())
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
	session, since := w.session, w.since
	w.mu.Unlock()
	var s sending
	if session != nil && session.Send(payload, packetTicks) == nil {
		s = sending{time.Now(), since}
	}
	w.sent = append(w.sent, s)
}

// keep joins again and again, whenever the connection is lost, until ctx ends;
// what is there then is left to talk.
func (w *whip) keep(ctx context.Context) {
	for ctx.Err() == nil {
		jctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		s, err := w.client.Join(jctx, w.room, w.id, w.id, whipclient.Options{
			Sequence: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
		})
		cancel()
		if err != nil {
			_ = harness.Sleep(ctx, retryEvery)
			continue
		}
		w.use(s)
		w.wait(ctx, s)
		if ctx.Err() == nil {
			w.use(nil)
			_ = s.Close() // it is of no use any more
		}
	}
}

func (w *whip) use(s *whipclient.Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session, w.since = s, time.Now()
}

// wait returns when the session is of no use any more, or with ctx. Like the
// browser client, it learns of a server's death from the event stream, long
// before ICE gives up.
func (w *whip) wait(ctx context.Context, s *whipclient.Session) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	down := make(chan struct{})
	go func() {
		defer close(down)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.client.URL+"/v1/rooms/"+w.room+"/events", nil)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // until the server is gone
	}()
	select {
	case <-down:
	case <-s.Lost():
	}
	cancel()
	<-down
}

func (w *whip) truth(deaths []time.Time, margin time.Duration) truth {
	n := int(time.Duration(len(w.sent)) * packetTime / perNumber)
	t := newTruth(w.id, n)
	for i := range t.fates {
		first, last := packetsOf(i)
		for k := max(0, first-settling); k <= min(last, len(w.sent)-1); k++ {
			t.fates[i] = max(t.fates[i], w.fate(k, k >= first, deaths, margin))
		}
	}
	return t
}

// fate is what may have become of a packet, of which a number needs the audio
// or only what the decoder keeps of it.
func (w *whip) fate(k int, audio bool, deaths []time.Time, margin time.Duration) fate {
	s := w.sent[k]
	if s.at.IsZero() {
		return unsent
	}
	for _, d := range deaths {
		switch {
		case !d.After(s.session): // before that session
		case !d.After(s.at): // sent to a server that was dead already
			return unsent
		case audio && d.Sub(s.at) <= margin:
			return edge
		}
	}
	return kept
}
