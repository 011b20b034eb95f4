package pipeline

import (
	"context"
	"errors"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
)

const (
	eraseWait    = 20 * time.Second // for the bucket, of who asks for it; an HTTP answer has 30
	eraseAtStart = 10 * time.Second // for the bucket, of all erasures together
	eraseEvery   = time.Minute      // how often what could not be finished is tried again
)

// Erase removes everything of a meeting that is not live (else meeting.ErrLive):
// what is still being transcribed, recorded or read of it is stopped. From its
// beginning on the meeting is not found any more by those who read. When it
// returns nil no byte of it is left on the disk or in the bucket. It goes on when
// ctx ends. If the bucket takes long or the audio cannot be removed, it returns
// meeting.ErrErasing: EraseRest goes on then, or Recover of the next process. It
// can be called again.
func (p *Pipeline) Erase(ctx context.Context, id string) error {
	// Half an erasure is worse than a late one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eraseWait)
	defer cancel()
	err := p.erase(ctx, id)
	var unfinished *unfinishedError
	if errors.As(err, &unfinished) {
		p.log.Error("a meeting is hidden but cannot be erased; trying again", "meeting", id, "err", unfinished.err)
		return meeting.ErrErasing
	}
	return err
}

// unfinishedError says why an erasure that has begun has to be tried again.
type unfinishedError struct{ err error }

func (e *unfinishedError) Error() string { return e.err.Error() }
func (e *unfinishedError) Unwrap() error { return e.err }

// erase is Erase with as much time for the bucket as ctx has. The rest of it goes
// on when ctx ends.
func (p *Pipeline) erase(ctx context.Context, id string) error {
	local := context.WithoutCancel(ctx)
	room, err := p.cfg.Store.BeginErase(local, id)
	if errors.Is(err, store.ErrNotFound) {
		// It may be the second try of one whose bytes could not leave the database.
		return p.cfg.Store.Delete(local, id)
	}
	if err != nil {
		return err
	}
	p.stopTracks(id)
	p.stopForwards(id)
	defer p.stopRecording(id)()
	// The audio first: as long as the meeting is there, it can be erased again.
	if err := p.cfg.Logs.RemoveMeeting(id); err != nil {
		return &unfinishedError{err}
	}
	if p.cfg.Recordings != nil {
		if err := p.cfg.Recordings.Erase(ctx, id); err != nil {
			return &unfinishedError{err}
		}
	}
	if p.cfg.Forward != nil {
		if err := p.cfg.Forward.Erase(ctx, id); err != nil {
			return &unfinishedError{err}
		}
	}
	err = p.cfg.Store.Delete(local, id)
	p.insight.Remove(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil // someone else, who was asked too, has finished it meanwhile
	}
	if err != nil {
		return err
	}
	p.log.Info("meeting erased", "meeting", id)
	p.cfg.Publish(meeting.Event{Room: room, Meeting: id, Type: meeting.EventErased, Data: meeting.Erased{Meeting: id}})
	return nil
}

// stopTracks ends the transcription of a meeting's tracks, and waits for that.
func (p *Pipeline) stopTracks(id string) {
	p.mu.Lock()
	var stopped []*track
	for _, t := range p.tracks {
		if t.row.Meeting == id {
			t.cancel()
			stopped = append(stopped, t)
		}
	}
	p.mu.Unlock()
	for _, t := range stopped {
		<-t.done
	}
}

// EraseRest finishes the erasures that were begun and could not be finished, until
// ctx ends.
func (p *Pipeline) EraseRest(ctx context.Context) {
	tick := time.NewTicker(eraseEvery)
	defer tick.Stop()
	failed := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.erased:
		}
		if err := errors.Join(p.erasePending(ctx, failed), p.eraseLogs(ctx)); err != nil && ctx.Err() == nil {
			p.log.Error("meetings that are to be erased cannot be found, or not be erased; trying again", "err", err)
		}
	}
}

// Heard is told what other nodes publish, in any order and perhaps not all of it: an
// event only says where to look earlier than it would be looked anyway. It does not
// block.
func (p *Pipeline) Heard(e meeting.Event) {
	switch e.Type {
	case meeting.EventEnded, meeting.EventJoined:
		p.cfg.Registry.Wake()
	case meeting.EventErased:
		p.cfg.Registry.Wake()
		p.insight.Remove(e.Meeting)
		select {
		case p.erased <- struct{}{}:
		default:
		}
	}
}

// eraseLogs removes what this node has of meetings that other nodes have erased. A
// bucket that is away is waited for by the next call.
func (p *Pipeline) eraseLogs(ctx context.Context) error {
	ids, err := p.cfg.Store.ErasedElsewhere(ctx)
	if err != nil {
		return err
	}
	var away error
	for _, id := range ids {
		p.stopTracks(id)
		p.stopForwards(id)
		p.stopRecording(id)()
		if err := p.cfg.Logs.RemoveMeeting(id); err != nil {
			return err
		}
		if p.cfg.Recordings != nil { // it may have put something there before this node stopped
			if away == nil {
				away = p.eraseRecorded(ctx, id)
			}
			if away != nil {
				continue
			}
		}
		if p.cfg.Forward != nil { // it may have been forwarded again before this node stopped
			if err := p.cfg.Forward.Erase(ctx, id); err != nil {
				return err
			}
		}
		p.insight.Remove(id)
		if err := p.cfg.Store.LogsErased(ctx, id); err != nil {
			return err
		}
		p.log.Info("logs of a meeting that another node has erased are removed", "meeting", id)
	}
	if away != nil && ctx.Err() == nil {
		p.log.Error("the bucket may have something of meetings that another node has erased; trying again", "err", away)
	}
	return nil
}

// eraseRecorded removes what is in the bucket of a meeting.
func (p *Pipeline) eraseRecorded(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, eraseAtStart)
	defer cancel()
	return p.cfg.Recordings.Erase(ctx, id)
}

// erasePending tries to finish all erasures that were begun, with as much time for
// the bucket as ctx has. One that fails is told of, unless it is in failed.
func (p *Pipeline) erasePending(ctx context.Context, failed map[string]bool) error {
	ids, err := p.cfg.Store.Erasures(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil
		}
		err := p.erase(ctx, id)
		switch {
		case err == nil || errors.Is(err, store.ErrNotFound):
			delete(failed, id)
		case !failed[id] && !errors.Is(ctx.Err(), context.Canceled):
			failed[id] = true
			p.log.Error("an erasure that was begun before cannot be finished; trying again", "meeting", id, "err", err)
		}
	}
	return nil
}
