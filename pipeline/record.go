package pipeline

import (
	"context"
	"errors"
	"io"
	"maps"
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
// again, ever more seldom; the audio is kept until it has worked.
func (p *Pipeline) Record(ctx context.Context) {
	if p.cfg.Recordings == nil {
		return
	}
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	retries := map[string]retry{}
	for {
		p.recordAll(ctx, retries)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Pipeline) recordAll(ctx context.Context, retries map[string]retry) {
	ids, err := p.cfg.Store.Unrecorded(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.log.Error("meetings to record cannot be found; trying again", "err", err)
		}
		return
	}
	open := map[string]bool{}
	for _, id := range ids {
		open[id] = true
		r := retries[id]
		if ctx.Err() != nil || p.cfg.Now().Before(r.at) {
			continue
		}
		err := p.record(ctx, id)
		switch {
		case err == nil || ctx.Err() != nil || errors.Is(err, store.ErrNotFound):
			continue
		case r.delay == 0:
			p.log.Error("a meeting could not be recorded; trying again", "meeting", id, "err", err)
			r.delay = retryFirst
		default:
			r.delay = min(2*r.delay, retryLast)
		}
		r.at = p.cfg.Now().Add(r.delay)
		retries[id] = r
	}
	maps.DeleteFunc(retries, func(id string, _ retry) bool { return !open[id] })
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
	m, err := p.cfg.Store.Meeting(ctx, id)
	if err == nil {
		err = p.recordMeeting(ctx, m)
	}
	if err == nil {
		err = p.cfg.Store.SetRecorded(ctx, id, p.cfg.Now())
	}
	if err == nil {
		p.wakeRetain() // nothing needs the audio any more
	}
	p.counts.attempted(err)
	return err
}

func (p *Pipeline) recordMeeting(ctx context.Context, m meeting.Meeting) error {
	bucket := p.cfg.Recordings
	if err := bucket.Erase(ctx, m.ID); err != nil {
		return err
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
