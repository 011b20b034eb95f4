package store

import (
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func testTracksToForward(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	must(t, s.CreateTrack(ctx, meeting.Track{ID: "B", Meeting: "M", Participant: ada.ID, StartedAt: t0, ToForward: true}))
	row := ok[meeting.Track](t)(s.Claim(ctx, "B"))
	ids := func() (ids []string) {
		for _, tr := range ok[[]meeting.Track](t)(s.TracksToForward(ctx)) {
			ids = append(ids, tr.ID)
		}
		return ids
	}
	expired := func(forwarded bool) int {
		return len(ok[[]meeting.Track](t)(s.ExpiredTracks(ctx, t0.Add(time.Hour), false, forwarded, meeting.Track{}, 9)))
	}
	same(t, ids(), []string{"B"})
	for _, tr := range []meeting.Track{tr, row} {
		must(t, s.EndTrack(ctx, tr.ID, "left", audio.Account{}))
		ok[meeting.State](t)(s.FinishTrack(ctx, tr.ID, tr.Epoch, meeting.TrackComplete, t0))
	}
	same(t, ids(), []string{"B"}) // being transcribed is another matter
	same(t, []int{expired(false), expired(true)}, []int{2, 1})
	must(t, s.Forwarded(ctx, "B"))
	must(t, s.Forwarded(ctx, "B"))
	same(t, ids(), []string(nil))
	same(t, expired(true), 2)
	wantErr(t, s.Forwarded(ctx, "none"), ErrNotFound)
}

// The mark of a room changes with what event streams tell of it, and with nothing
// of other rooms.
func testMark(t *testing.T, s *Store) {
	ctx := t.Context()
	seen := map[string]bool{}
	mark := func() string { return ok[string](t)(s.Mark(ctx, "room")) }
	changed := func(what string) {
		t.Helper()
		m := mark()
		if seen[m] || m != mark() {
			t.Errorf("%s: the mark is %q again, or does not stay", what, m)
		}
		seen[m] = true
	}
	changed("at first")
	join := func(room, id string, p transcript.Participant, session string) {
		_, _, err := s.Join(ctx, room, p, session, id, t0)
		must(t, err)
	}
	join("room", "M", ada, "s1")
	changed("a meeting begins")
	join("room", "M", bob, "s2")
	changed("somebody joins")
	must(t, s.CreateTrack(ctx, meeting.Track{ID: "A", Meeting: "M", Participant: ada.ID, StartedAt: t0}))
	row := ok[meeting.Track](t)(s.Claim(ctx, "A"))
	was := mark()
	join("other", "O", ada, "s3")
	same(t, mark(), was)
	ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: row.Epoch, Through: 48000, Segments: []transcript.Segment{{ID: "A.0", Text: "hello", EndMS: 900}}}))
	changed("something was said")
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0.Add(time.Second)))
	changed("it ends")
	ok[string](t)(s.BeginErase(ctx, "M"))
	same(t, mark(), ok[string](t)(s.Mark(ctx, "empty")))
}
