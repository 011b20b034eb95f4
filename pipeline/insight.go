package pipeline

import (
	"context"
	"errors"
	"slices"

	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// earlierMeetings is how many meetings of the room a meeting is set against.
const earlierMeetings = 10

// keptStats is of how many meetings the numbers are kept in memory: some 30 KB
// for a day with 20 people.
const keptStats = 256

// MeetingStats says what a meeting was like, as far as it is transcribed, and
// what is different from the meetings before it in its room.
func (p *Pipeline) MeetingStats(ctx context.Context, id string) (insight.MeetingReport, error) {
	m, err := p.Meeting(ctx, id)
	if err != nil {
		return insight.MeetingReport{}, err
	}
	now, err := p.stats(ctx, m)
	if err != nil {
		return insight.MeetingReport{}, err
	}
	before, err := p.cfg.Store.Before(ctx, m, earlierMeetings)
	if err != nil {
		return insight.MeetingReport{}, err
	}
	var earlier []insight.Stats
	for _, e := range before {
		if !final(e) {
			continue
		}
		s, err := p.stats(ctx, e)
		if errors.Is(err, store.ErrNotFound) {
			continue // erased in the meantime
		}
		if err != nil {
			return insight.MeetingReport{}, err
		}
		earlier = append(earlier, s)
	}
	return insight.MeetingReport{
		Head: m.Head(), Coverage: m.Coverage, Stats: now, Trend: insight.Compare(now, earlier),
	}, nil
}

// RoomStats says what a room's meetings were like, paged as Meetings is.
func (p *Pipeline) RoomStats(ctx context.Context, room string, limit int, cursor string) (insight.RoomReport, error) {
	ms, next, err := p.Meetings(ctx, room, limit, cursor)
	if err != nil {
		return insight.RoomReport{}, err
	}
	report := insight.RoomReport{Room: room, Meetings: []insight.RoomMeeting{}, Next: next}
	var over []insight.Stats
	for _, m := range ms {
		s, err := p.stats(ctx, m)
		if errors.Is(err, store.ErrNotFound) {
			continue // erased in the meantime
		}
		if err != nil {
			return insight.RoomReport{}, err
		}
		report.Meetings = append(report.Meetings, insight.RoomMeeting{
			Head: m.Head(), Participants: len(s.Participants), Numbers: s.Numbers,
		})
		if final(m) {
			over = append(over, s)
		}
	}
	slices.Reverse(over)
	report.Trend = insight.Over(over)
	return report, nil
}

// final reports whether no more will be known of a meeting. One that is still to
// be transcribed would pass for a quiet one.
func final(m meeting.Meeting) bool {
	return m.State == meeting.StateComplete || m.State == meeting.StateIncomplete
}

// stats makes the numbers of a meeting from what is stored of it now. Those of a
// final meeting are kept for the next time: to read a day with 20 people takes a
// third of a second, and a room has many meetings.
func (p *Pipeline) stats(ctx context.Context, m meeting.Meeting) (insight.Stats, error) {
	if s, ok := p.insight.Get(m.ID); ok {
		return s, nil
	}
	segments, err := p.cfg.Store.Transcript(ctx, m.ID)
	if err != nil {
		return insight.Stats{}, err
	}
	s := insight.Compute(heard(m, segments, p.clockOf(m)))
	if final(m) {
		p.insight.Add(m.ID, s)
		// Erase forgets what is kept when it has deleted the meeting. If it did
		// so before the line above, the meeting is not to be found any more.
		if _, err := p.cfg.Store.Meeting(ctx, m.ID); err != nil {
			p.insight.Remove(m.ID)
			return insight.Stats{}, err
		}
	}
	return s, nil
}

// heard is a meeting as insight sees it. It lasts as long as somebody can be
// heard, not as long as the room stays open; whoever has a track is there.
func heard(m meeting.Meeting, segments []transcript.Segment, at func(meeting.Track, int64) int64) insight.Meeting {
	out := insight.Meeting{Segments: segments}
	present := map[string][]insight.Span{}
	for _, t := range m.Tracks {
		s := insight.Span{StartMS: at(t, 0), EndMS: at(t, t.Account.Total())}
		present[t.Participant] = append(present[t.Participant], s)
		out.DurationMS = max(out.DurationMS, s.EndMS)
	}
	for _, q := range m.Participants {
		who := transcript.Participant{ID: q.ID, Name: q.Name}
		out.People = append(out.People, insight.Person{Participant: who, Present: present[q.ID]})
	}
	return out
}
