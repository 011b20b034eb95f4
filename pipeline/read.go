package pipeline

import (
	"context"
	"errors"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// Meeting is a meeting with the accounts of its running tracks as of now.
func (p *Pipeline) Meeting(ctx context.Context, id string) (meeting.Meeting, error) {
	m, err := p.cfg.Store.Meeting(ctx, id)
	if err != nil {
		return m, err
	}
	p.overlay(&m)
	return m, nil
}

// Room is the room of a meeting.
func (p *Pipeline) Room(ctx context.Context, id string) (string, error) {
	return p.cfg.Store.Room(ctx, id)
}

// LiveMeeting is the room's live meeting, if there is one.
func (p *Pipeline) LiveMeeting(ctx context.Context, room string) (m meeting.Meeting, ok bool, err error) {
	m, err = p.cfg.Store.LiveMeeting(ctx, room)
	if errors.Is(err, store.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	p.overlay(&m)
	return m, true, nil
}

// Meetings lists meetings, the newest first.
func (p *Pipeline) Meetings(ctx context.Context, room string, limit int, cursor string) ([]meeting.Meeting, string, error) {
	ms, next, err := p.cfg.Store.Meetings(ctx, room, limit, cursor)
	for i := range ms {
		p.overlay(&ms[i])
	}
	return ms, next, err
}

// overlay puts what has arrived since over what the store knows.
func (p *Pipeline) overlay(m *meeting.Meeting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Coverage = meeting.Coverage{}
	for i := range m.Tracks {
		row := &m.Tracks[i]
		if t := p.tracks[row.ID]; t != nil {
			_, _, row.Account, _ = t.log.State()
			row.Coverage = meeting.NewCoverage(row.Account, row.Through, row.Skipped)
			row.Transcription = t.status.Load()
		}
		m.Coverage = m.Coverage.Plus(row.Coverage)
	}
}

// Finals gives the stored segments of a meeting whose number is larger than
// after, in the order of their numbers.
func (p *Pipeline) Finals(ctx context.Context, id string, after int64, limit int) ([]transcript.Segment, []int64, error) {
	rows, err := p.cfg.Store.Segments(ctx, id, after, limit)
	if err != nil {
		return nil, nil, err
	}
	segments, numbers := make([]transcript.Segment, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		segments[i], numbers[i] = r.Segment, r.N
	}
	return segments, numbers, nil
}

// Search finds stored segments by their words; see store.Store.
func (p *Pipeline) Search(ctx context.Context, text, room string, limit int, cursor string) ([]meeting.Found, string, error) {
	return p.cfg.Store.Search(ctx, text, room, limit, cursor)
}

// Transcript is the whole transcript of a meeting as it is now.
func (p *Pipeline) Transcript(ctx context.Context, id string) (transcript.Document, error) {
	m, err := p.Meeting(ctx, id)
	if err != nil {
		return transcript.Document{}, err
	}
	segments, err := p.cfg.Store.Transcript(ctx, id)
	if err != nil {
		return transcript.Document{}, err
	}
	gaps, err := p.cfg.Store.Gaps(ctx, id)
	if err != nil {
		return transcript.Document{}, err
	}
	return transcript.Document{
		Meeting: m, Segments: segments, Missing: m.Missing(gaps, p.clockOf(m)),
		Complete: m.State == meeting.StateComplete,
		Name:     m.Room + "-" + m.StartedAt.UTC().Format("2006-01-02-1504"),
	}, nil
}

// clockOf places a tick of a track of m on the meeting's clock, in milliseconds.
func (p *Pipeline) clockOf(m meeting.Meeting) func(row meeting.Track, tick int64) int64 {
	return func(row meeting.Track, tick int64) int64 {
		if t := p.running(row.ID); t != nil {
			return t.ms(tick)
		}
		return nominalMS(m.StartedAt, row, tick)
	}
}

// running is the track of that id while it is transcribed, else nil.
func (p *Pipeline) running(id string) *track {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracks[id]
}

// End ends a meeting: it is not live any more, its sessions are closed.
func (p *Pipeline) End(ctx context.Context, id string) (meeting.Meeting, error) {
	if _, err := p.cfg.Registry.End(ctx, id); err != nil {
		return meeting.Meeting{}, err
	}
	return p.Meeting(ctx, id)
}
