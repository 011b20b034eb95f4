package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
)

// Accounts that grow are published every showEvery. A change of state is at
// once, but for showRest after the one before.
const (
	showEvery = time.Second
	showRest  = 250 * time.Millisecond
)

// Run tells those who watch how the accounts of running tracks grow and what
// their transcription is doing, until ctx ends.
func (p *Pipeline) Run(ctx context.Context) {
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	wake, rested := p.wake, (<-chan time.Time)(nil) // one of them is nil
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.showCoverage(ctx)
		case <-wake:
			p.showStale(ctx)
			wake, rested = nil, time.After(showRest)
		case <-rested:
			wake, rested = p.wake, nil
		}
	}
}

// changed makes Run show a meeting soon. It does not wait.
func (p *Pipeline) changed(id, room string) {
	p.mu.Lock()
	p.stale[id] = room
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Pipeline) showStale(ctx context.Context) {
	p.mu.Lock()
	stale := p.stale
	p.stale = map[string]string{}
	p.mu.Unlock()
	for id, room := range stale {
		p.showMeeting(ctx, id, room)
	}
}

func (p *Pipeline) showCoverage(ctx context.Context) {
	p.mu.Lock()
	running := map[string]string{}
	for _, t := range p.tracks {
		running[t.row.Meeting] = t.room
	}
	for id := range p.shown {
		if running[id] == "" {
			delete(p.shown, id)
		}
	}
	p.mu.Unlock()
	for id, room := range running {
		p.showMeeting(ctx, id, room)
	}
}

// showMeeting publishes a meeting's account if it changed since the last time,
// and if anybody watches: who begins to, reads it.
func (p *Pipeline) showMeeting(ctx context.Context, id, room string) {
	if !p.cfg.Watched(room) {
		return
	}
	p.show.Lock()
	defer p.show.Unlock()
	m, err := p.Meeting(ctx, id)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
			p.log.Warn("read a meeting's coverage", "meeting", id, "err", err)
		}
		return
	}
	progress := meeting.Progress{Meeting: id, Coverage: m.Coverage}
	for _, t := range m.Tracks {
		progress.Tracks = append(progress.Tracks, meeting.TrackProgress{
			ID: t.ID, Participant: t.Participant, State: t.State, Coverage: t.Coverage,
			Transcription: t.Transcription, // each change of it is another pointer
		})
	}
	p.mu.Lock()
	same := slices.Equal(p.shown[id], progress.Tracks)
	p.shown[id] = progress.Tracks
	p.mu.Unlock()
	if same {
		return
	}
	p.cfg.Publish(meeting.Event{Room: m.Room, Meeting: id, Type: meeting.EventCoverage, Data: progress})
}
