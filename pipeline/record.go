package pipeline

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
)

const (
	recordEvery   = 2 * time.Second // how often is looked for meetings to record
	recordTimeout = 3 * time.Hour   // of one meeting
	retryFirst    = 30 * time.Second
	retryLast     = time.Hour
)

// records is what is being recorded and read, and what must not be.
type records struct {
	mu      sync.Mutex // guards what follows
	meeting string     // the one that is being recorded; "" for none
	cancel  context.CancelFunc
	done    chan struct{}
	erasing map[string]int
	readers map[*keptFile]bool // the recordings that are being read
}

// retry is when a recording that failed is tried again.
type retry struct {
	at    time.Time
	delay time.Duration
}

// Record makes the recordings of meetings that are transcribed to their end and
// keeps them, one meeting after the other, until ctx ends. What fails is tried
// again, ever more seldom; the audio is kept until it has worked. Of several nodes
// each hands over what another needs for that (handover.go).
func (p *Pipeline) Record(ctx context.Context) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	retries, shared := map[string]retry{}, &sharing{parts: map[string]retry{}}
	for {
		if p.cfg.Recordings == nil {
			if !p.cfg.Store.Shared() || p.cfg.Store.SetBucket(ctx, store.NoBucket) == nil {
				return // all that there is to do
			}
		} else {
			p.lookAtBucket(ctx, shared)
			p.handOver(ctx, shared)
			p.recordAll(ctx, retries, func() { p.handOver(ctx, shared) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// recordAll records what there is to record. others is called after each meeting: it
// may have taken long.
func (p *Pipeline) recordAll(ctx context.Context, retries map[string]retry, others func()) {
	ids, err := p.cfg.Store.Unrecorded(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.log.Error("meetings to record cannot be found; trying again", "err", err)
		}
		return
	}
	for _, id := range ids {
		p.attempt(ctx, retries, id, func() error { return p.record(ctx, id) }, func(err error) {
			p.log.Error("a meeting could not be recorded; trying again", "meeting", id, "err", err)
		})
		others()
	}
	forget(retries, ids, func(id string) string { return id })
}

// attempt runs f, unless it failed a short while ago. Of the first failure is told.
func (p *Pipeline) attempt(ctx context.Context, retries map[string]retry, id string, f func() error, tell func(error)) {
	r := retries[id]
	if ctx.Err() != nil || p.cfg.Now().Before(r.at) {
		return
	}
	err := f()
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, store.ErrNotFound):
		return
	case r.delay == 0:
		tell(err)
		r.delay = retryFirst
	default:
		r.delay = min(2*r.delay, retryLast)
	}
	r.at = p.cfg.Now().Add(r.delay)
	retries[id] = r
}

// forget drops those that are not among what is still to be done.
func forget[T any](retries map[string]retry, open []T, id func(T) string) {
	maps.DeleteFunc(retries, func(key string, _ retry) bool {
		return !slices.ContainsFunc(open, func(t T) bool { return id(t) == key })
	})
}

// record makes the recordings of one meeting, anew if an earlier attempt left
// some of them.
func (p *Pipeline) record(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	end, ok := p.records.begin(id, cancel)
	if !ok {
		return nil // it is being erased
	}
	defer end()
	mine, err := p.cfg.Store.ClaimRecording(ctx, id)
	if err != nil || !mine {
		return err
	}
	claim := p.keepClaim(ctx, id, cancel)
	m, err := p.cfg.Store.Meeting(ctx, id)
	if err == nil {
		err = p.recordMeeting(ctx, m)
	}
	if lost := claim(); lost {
		return nil
	}
	if err == nil {
		err = p.cfg.Store.SetRecorded(ctx, id, p.cfg.Now())
	}
	if errors.Is(err, store.ErrNotFound) { // it was erased meanwhile; by another node, or this had been stopped
		return errors.Join(err, p.cfg.Recordings.Erase(ctx, id))
	}
	if err == nil {
		p.wakeRetain() // nothing needs the audio any more
	}
	p.counts.attempted(err)
	return err
}

func (p *Pipeline) recordMeeting(ctx context.Context, m meeting.Meeting) error {
	bucket := p.cfg.Recordings
	if !p.cfg.Store.Shared() { // else there are parts; and all that is there is written again
		if err := bucket.Erase(ctx, m.ID); err != nil {
			return err
		}
	}
	for _, row := range m.Tracks {
		err := bucket.Put(ctx, opusKey(m.ID, row.ID), "audio/ogg", func(w io.WriteSeeker) error { return p.writeOpus(ctx, m, row, w) })
		if err != nil && !errors.Is(err, meeting.ErrNotOpus) && !p.gone(err, m.ID) {
			return err
		}
	}
	err := bucket.Put(ctx, mixKey(m.ID), "audio/flac", func(w io.WriteSeeker) error { return p.writeMix(ctx, m, w) })
	if p.gone(err, m.ID) {
		return nil
	}
	if lacks := p.lacking(m); err == nil && len(lacks) > 0 {
		p.log.Warn("a meeting is recorded without tracks whose audio is lost", "meeting", m.ID, "tracks", len(lacks))
	}
	return err
}

// gone says that a recording can never be made, which no attempt will change:
// the audio is not there any more.
func (p *Pipeline) gone(err error, meetingID string) bool {
	var expired *meeting.ExpiredError
	if !errors.Is(err, meeting.ErrAudioLost) && !errors.As(err, &expired) {
		return false
	}
	p.log.Warn("audio of a meeting is gone, so a recording of it is not made", "meeting", meetingID, "err", err)
	return true
}

// begin says that a meeting is being recorded until end; cancel stops that.
func (r *records) begin(id string, cancel context.CancelFunc) (end func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.erasing[id] > 0 {
		return nil, false
	}
	done := make(chan struct{})
	r.meeting, r.cancel, r.done = id, cancel, done
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.meeting = ""
		close(done)
	}, true
}

// stopRecording ends the recording of a meeting and the reading of its recordings,
// and keeps both from beginning again until release is called.
func (p *Pipeline) stopRecording(id string) (release func()) {
	r := &p.records
	r.mu.Lock()
	if r.erasing == nil {
		r.erasing = map[string]int{}
	}
	r.erasing[id]++
	var done chan struct{}
	if r.meeting == id {
		r.cancel()
		done = r.done
	}
	var reading []*keptFile
	for k := range r.readers {
		if k.meeting == id {
			reading = append(reading, k)
		}
	}
	r.mu.Unlock()
	if done != nil {
		<-done
	}
	for _, k := range reading {
		_ = k.Close() // it was read only
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.erasing[id]--; r.erasing[id] == 0 {
			delete(r.erasing, id)
		}
	}
}
