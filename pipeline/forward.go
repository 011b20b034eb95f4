package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"verbatim/pipeline/forward"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcript"
)

// forwards are the tracks that are being forwarded.
type forwards struct {
	// late bounds how many tracks of an earlier run are forwarded at a time: each
	// is decoded from its beginning.
	late chan struct{}

	mu      sync.Mutex // guards what follows
	running map[*forwarding]bool
}

// forwarding is one track that is being forwarded.
type forwarding struct {
	meeting string
	cancel  context.CancelFunc
	done    chan struct{}
}

// forwarded is a track as others are told of it.
func forwarded(row meeting.Track, room string, began time.Time, who transcript.Participant) forward.Track {
	return forward.Track{ID: row.ID, Meeting: row.Meeting, Room: room, Participant: who, MeetingStart: began, Start: row.StartedAt}
}

// forward hands the audio of a track to other services, in a goroutine of its own
// that Close waits for. What fails is left to the next start.
func (p *Pipeline) forward(row meeting.Track, t forward.Track, late bool) {
	if p.cfg.Forward == nil {
		return
	}
	log, err := p.cfg.Logs.Open(row.Meeting, row.ID)
	if err != nil {
		p.log.Error("a track cannot be forwarded before the next start", "track", row.ID, "err", err)
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	f := &forwarding{meeting: row.Meeting, cancel: cancel, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		cancel()
		_ = log.Close() // whoever writes it has it open, too
		return
	}
	p.forwards.mu.Lock()
	if p.forwards.running == nil {
		p.forwards.running = map[*forwarding]bool{}
	}
	p.forwards.running[f] = true
	p.forwards.mu.Unlock()
	p.wg.Go(func() {
		defer close(f.done)
		defer cancel()
		err := p.forwardTrack(ctx, t, log, late)
		if cerr := log.Close(); cerr != nil {
			p.log.Error("close a track's log", "track", row.ID, "err", cerr)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Error("a track is not forwarded to its end", "track", row.ID, "err", err)
		}
		p.forwards.mu.Lock()
		delete(p.forwards.running, f)
		p.forwards.mu.Unlock()
	})
}

func (p *Pipeline) forwardTrack(ctx context.Context, t forward.Track, log *tracklog.Log, late bool) error {
	if late {
		select {
		case p.forwards.late <- struct{}{}:
			defer func() { <-p.forwards.late }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := p.cfg.Forward.Run(ctx, t, log); err != nil {
		return err
	}
	return p.noteForwarded(ctx, t.ID)
}

// noteForwarded says that nothing of a track is to be forwarded any more.
func (p *Pipeline) noteForwarded(ctx context.Context, track string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err := p.cfg.Store.Forwarded(ctx, track)
	p.wakeRetain()
	if errors.Is(err, store.ErrNotFound) {
		return nil // the meeting was erased
	}
	return err
}

// recoverForwards takes up the tracks that a server before this one has not
// forwarded to their end. Their logs have an end.
func (p *Pipeline) recoverForwards(ctx context.Context) error {
	if p.cfg.Forward == nil {
		return nil
	}
	rows, err := p.cfg.Store.TracksToForward(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := p.recoverForward(ctx, row); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p.log.Error("a track cannot be forwarded; it is tried again with the next start", "track", row.ID, "err", err)
		}
	}
	return nil
}

func (p *Pipeline) recoverForward(ctx context.Context, row meeting.Track) error {
	m, err := p.cfg.Store.Meeting(ctx, row.Meeting)
	if err != nil {
		return err
	}
	log, err := p.cfg.Logs.Open(row.Meeting, row.ID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, tracklog.ErrCorrupt) {
		p.log.Error("a track cannot be forwarded to its end: its audio is not there", "track", row.ID, "err", err)
		return p.noteForwarded(ctx, row.ID)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(p.mend(ctx, row, log), log.Close()); err != nil {
		return err
	}
	who := transcript.Participant{ID: row.Participant}
	for _, q := range m.Participants {
		if q.ID == row.Participant {
			who.Name = q.Name
		}
	}
	p.forward(row, forwarded(row, m.Room, m.StartedAt, who), true)
	return nil
}

// stopForwards ends the forwarding of a meeting's tracks, and waits for that.
func (p *Pipeline) stopForwards(id string) {
	p.forwards.mu.Lock()
	var stopped []*forwarding
	for f := range p.forwards.running {
		if f.meeting == id {
			f.cancel()
			stopped = append(stopped, f)
		}
	}
	p.forwards.mu.Unlock()
	for _, f := range stopped {
		<-f.done
	}
}
