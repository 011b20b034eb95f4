package store

import (
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

func testRecordings(t *testing.T, s *Store) {
	ctx := t.Context()
	unrecorded := func() []string { return ok[[]string](t)(s.Unrecorded(ctx)) }
	tr := track(t, s, "A", "M", ada)
	same(t, unrecorded(), []string{})
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{}))
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0.Add(time.Hour)))
	same(t, unrecorded(), []string{}) // its transcript is outstanding
	wantErr(t, s.SetRecorded(ctx, "M", t0), ErrNotFound)
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", tr.Epoch, meeting.TrackIncomplete, t0.Add(time.Hour)))
	same(t, unrecorded(), []string{"M"})

	// Audio that is still to be recorded has not expired.
	expired := func(recorded bool) int {
		return len(ok[[]meeting.Track](t)(s.ExpiredTracks(ctx, t0.Add(9*time.Hour), recorded, false, meeting.Track{}, 9)))
	}
	same(t, expired(true), 0)
	same(t, expired(false), 1)

	must(t, s.SetRecorded(ctx, "M", t0.Add(2*time.Hour)))
	must(t, s.SetRecorded(ctx, "M", t0.Add(3*time.Hour)))
	same(t, *ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).RecordedAt, t0.Add(2*time.Hour))
	same(t, ok[time.Time](t)(s.Latest(ctx)), t0.Add(2*time.Hour))
	same(t, unrecorded(), []string{})
	same(t, expired(true), 1)
	wantErr(t, s.SetRecorded(ctx, "none", t0), ErrNotFound)

	// What was lost is shown.
	must(t, s.LoseAudio(ctx, "A"))
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks[0].Audio, meeting.AudioLost)
	must(t, s.ExpireAudio(ctx, "A", t0))
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks[0].Audio, meeting.AudioExpired)

	// Of what is being erased nothing is recorded.
	ok[string](t)(s.BeginErase(ctx, "M"))
	wantErr(t, s.SetRecorded(ctx, "M", t0), ErrNotFound)
}
