package store

import (
	"errors"
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func testErasures(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	_, err := s.BeginErase(ctx, "M")
	wantErr(t, err, meeting.ErrLive)
	same(t, len(ok[[]string](t)(s.Erasures(ctx))), 0)
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0))
	same(t, ok[string](t)(s.Room(ctx, "M")), "room-m")
	for range 2 { // asking again changes nothing
		same(t, ok[string](t)(s.BeginErase(ctx, "M")), "room-m")
		same(t, ok[[]string](t)(s.Erasures(ctx)), []string{"M"})
	}
	must(t, s.Delete(ctx, "M"))
	same(t, len(ok[[]string](t)(s.Erasures(ctx))), 0)
	_, err = s.BeginErase(ctx, "M")
	wantErr(t, err, ErrNotFound)
}

// From the moment that its erasure begins nothing of a meeting is found, nor told;
// the other is as it was.
func testErasingHides(t *testing.T, s *Store) {
	ctx := t.Context()
	ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"a"}, Types: allEvents}))
	for _, id := range []string{"M", "N"} {
		tr := track(t, s, "T"+id, id, ada)
		ok[int64](t)(s.Commit(ctx, Commit{
			Track: tr.ID, Epoch: tr.Epoch, Through: 2, Gaps: []meeting.Gap{skipped(1, 2)},
			Segments: []transcript.Segment{seg(tr.ID, 0, 0, 1, "hello")},
		}))
		ok[meeting.State](t)(s.EndMeeting(ctx, id, t0))
	}
	tr := track(t, s, "TO", "O", ada) // is to be recorded
	must(t, s.EndTrack(ctx, "TO", "left", audio.Account{}))
	ok[meeting.State](t)(s.FinishTrack(ctx, "TO", tr.Epoch, meeting.TrackComplete, t0))
	ok[meeting.State](t)(s.EndMeeting(ctx, "O", t0))
	same(t, ok[[]string](t)(s.Unrecorded(ctx)), []string{"O"})
	ok[string](t)(s.BeginErase(ctx, "O"))
	same(t, ok[[]string](t)(s.Unrecorded(ctx)), []string{})

	ok[string](t)(s.BeginErase(ctx, "M"))
	for name, read := range map[string]func(id string) error{
		"Meeting":    func(id string) error { _, err := s.Meeting(ctx, id); return err },
		"Room":       func(id string) error { _, err := s.Room(ctx, id); return err },
		"Segments":   func(id string) error { _, err := s.Segments(ctx, id, 0, 9); return err },
		"Transcript": func(id string) error { _, err := s.Transcript(ctx, id); return err },
		"Gaps":       func(id string) error { _, err := s.Gaps(ctx, id); return err },
	} {
		if err := read("M"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		must(t, read("N"))
	}
	ms, _, err := s.Meetings(ctx, "", 9, "")
	must(t, err)
	same(t, len(ms), 1)
	same(t, ms[0].ID, "N")
	ms, _, err = s.Meetings(ctx, "room-m", 9, "")
	must(t, err)
	same(t, len(ms), 0)
	fs, _, err := s.Search(ctx, "hello", "", 9, "")
	must(t, err)
	same(t, len(fs), 1)
	same(t, fs[0].Meeting.ID, "N")
	ts := ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx))
	same(t, len(ts), 1)
	same(t, ts[0].ID, "TN")
	same(t, len(told(t, s, "a")), 4) // N's began, ada came, spoke and left
}
