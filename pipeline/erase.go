package pipeline

import (
	"context"
	"errors"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
)

// Erase removes everything of a meeting that is not live (else meeting.ErrLive):
// what is still being transcribed or recorded of it is stopped. When it returns
// nil no byte of it is left on the disk. It goes on when ctx ends. Should the
// process die meanwhile, Recover finishes it; an Erase that failed can be called
// again.
func (p *Pipeline) Erase(ctx context.Context, id string) error {
	ctx = context.WithoutCancel(ctx) // half an erasure is worse than a late one
	m, err := p.cfg.Store.Meeting(ctx, id)
	if err == nil {
		err = p.cfg.Store.BeginErase(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		// It may be the second try of one whose bytes could not leave the database.
		return p.cfg.Store.Delete(ctx, id)
	}
	if err != nil {
		return err
	}
	p.stopTracks(id)
	defer p.stopRecording(id)()
	// The audio first: as long as the meeting is there, it can be erased again.
	if err := p.cfg.Logs.RemoveMeeting(id); err != nil {
		return err
	}
	if p.cfg.Recordings != nil {
		if err := p.cfg.Recordings.Erase(ctx, id); err != nil {
			return err
		}
	}
	err = p.cfg.Store.Delete(ctx, id)
	p.insight.Remove(id)
	if err != nil {
		return err
	}
	p.log.Info("meeting erased", "meeting", id)
	p.cfg.Publish(meeting.Event{Room: m.Room, Meeting: id, Type: meeting.EventErased, Data: meeting.Erased{Meeting: id}})
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

// eraseRest finishes the erasures that a server before this one has begun. One
// that fails is tried again at the next start, and whenever it is asked for.
func (p *Pipeline) eraseRest(ctx context.Context) error {
	ids, err := p.cfg.Store.Erasures(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := p.Erase(ctx, id); err != nil {
			p.log.Error("an erasure that was begun before cannot be finished; erase the meeting again", "meeting", id, "err", err)
		}
	}
	return nil
}
