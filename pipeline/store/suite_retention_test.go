package store

import (
	"slices"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

func testExpiredTracks(t *testing.T, s *Store) {
	ctx := t.Context()
	at := func(i int) time.Time { return t0.Add(time.Duration(i) * time.Hour) }
	for i, id := range []string{"C", "B", "A", "live", "pending"} {
		tr := track(t, s, id, "M", ada)
		if id != "live" {
			must(t, s.EndTrack(ctx, id, "left", audio.Account{}))
		}
		if i < 3 { // B and A at the same time
			ok[meeting.State](t)(s.FinishTrack(ctx, id, tr.Epoch, meeting.TrackIncomplete, at(min(i, 1))))
		}
	}
	expired := func(before time.Time, after meeting.Track, limit int) (ids []string) {
		for _, tr := range ok[[]meeting.Track](t)(s.ExpiredTracks(ctx, before, false, false, after, limit)) {
			ids = append(ids, tr.ID)
		}
		return ids
	}
	none := meeting.Track{}
	same(t, expired(at(0).Add(-time.Microsecond), none, 9), []string(nil))
	same(t, expired(at(0), none, 9), []string{"C"})
	same(t, expired(at(9), none, 9), []string{"C", "A", "B"})
	page := ok[[]meeting.Track](t)(s.ExpiredTracks(ctx, at(9), false, false, none, 2))
	same(t, page[1].ID, "A")
	same(t, *page[1].FinishedAt, at(1))
	same(t, expired(at(9), page[1], 2), []string{"B"})

	for _, id := range []string{"live", "pending", "none"} {
		wantErr(t, s.ExpireAudio(ctx, id, at(2)), ErrNotFound)
	}
	must(t, s.ExpireAudio(ctx, "A", at(2)))
	must(t, s.ExpireAudio(ctx, "A", at(3)))
	same(t, expired(at(9), none, 9), []string{"C", "B"})
	for _, tr := range ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks {
		want, when := meeting.AudioKept, (*time.Time)(nil)
		if tr.ID == "A" {
			expiry := at(2)
			want, when = meeting.AudioExpired, &expiry
		}
		same(t, tr.Audio, want)
		same(t, tr.AudioExpiredAt, when)
	}
	ids := ok[[]string](t)(s.TrackIDs(ctx, "M"))
	slices.Sort(ids)
	same(t, ids, []string{"A", "B", "C", "live", "pending"})
	same(t, ok[[]string](t)(s.TrackIDs(ctx, "none")), []string{})
}

func testLatest(t *testing.T, s *Store) {
	ctx := t.Context()
	latest := t0
	check := func(what string, want time.Time) {
		t.Helper()
		if got := ok[time.Time](t)(s.Latest(ctx)); !got.Equal(want) {
			t.Errorf("%s: latest is %v, want %v", what, got, want)
		}
	}
	next := func() time.Time {
		latest = latest.Add(time.Hour)
		return latest
	}
	check("empty", time.Time{})
	join(t, s, "M", ada)
	check("meeting", t0)
	_, _, err := s.Join(ctx, "room-m", bob, "", "x", next())
	must(t, err)
	check("joined", latest)
	must(t, s.Leave(ctx, "M", "bob", "", next()))
	check("left", latest)
	must(t, s.CreateTrack(ctx, meeting.Track{ID: "A", Meeting: "M", Participant: "ada", StartedAt: next()}))
	check("track", latest)
	tr := ok[meeting.Track](t)(s.Claim(ctx, "A"))
	ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Account: audio.Account{Received: 3 * audio.TickRate, Shed: 2 * audio.TickRate}}))
	check("more of the track", latest)
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{}))
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", tr.Epoch, meeting.TrackComplete, next()))
	check("finished", latest)
	must(t, s.ExpireAudio(ctx, "A", next()))
	check("expired", latest)
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", next()))
	check("ended", latest)
}
