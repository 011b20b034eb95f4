package store

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func testCreateTrack(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	row := meeting.Track{ID: "A", Meeting: "M", Participant: "ada", StartedAt: t0}
	must(t, s.CreateTrack(ctx, row))
	row.State, row.Audio = meeting.TrackLive, meeting.AudioKept
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks, []meeting.Track{row})

	if s.CreateTrack(ctx, row) == nil {
		t.Error("the same track twice")
	}
	if s.CreateTrack(ctx, meeting.Track{ID: "B", Meeting: "M", Participant: "bob", StartedAt: t0}) == nil {
		t.Error("a track of who is not there")
	}
	wantErr(t, s.CreateTrack(ctx, meeting.Track{ID: "C", Meeting: "N", Participant: "ada"}), ErrNotFound)
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0))
	wantErr(t, s.CreateTrack(ctx, meeting.Track{ID: "C", Meeting: "M", Participant: "ada"}), ErrEnded)
}

func testEndTrack(t *testing.T, s *Store) {
	ctx := t.Context()
	track(t, s, "A", "M", ada)
	a := audio.Account{Received: 1, Recovered: 2, Concealed: 3, Silence: 4, Discontinuity: 5, Shed: 6}
	must(t, s.EndTrack(ctx, "A", "left", a))
	// What comes later does not count.
	must(t, s.EndTrack(ctx, "A", "server", audio.Account{}))
	got := ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks[0]
	same(t, got.State, meeting.TrackPending)
	same(t, got.EndedBy, "left")
	same(t, got.Account, a)
}

func testCommit(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	half, nan := 0.5, math.NaN()
	first := seg("A", 0, 10, 20, "one")
	first.Words = []transcript.Word{{Text: "one", StartMS: 10, EndMS: 20, Confidence: &half}, {Text: "or", Confidence: &nan}}
	second := seg("A", 3, 30, 40, "two")
	c := Commit{
		Track: "A", Epoch: tr.Epoch, Through: 4800, Account: audio.Account{Received: 9600},
		Segments: []transcript.Segment{first, second},
		Gaps:     []meeting.Gap{skipped(100, 148)},
	}
	same(t, ok[int64](t)(s.Commit(ctx, c)), int64(2))
	// Without segments it can be tried again.
	same(t, ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Through: 4800, Gaps: c.Gaps})), int64(0))

	for i, sg := range []*transcript.Segment{&first, &second} {
		sg.Meeting, sg.Track, sg.Participant, sg.Final = "M", "A", ada, true
		c.Segments[i] = *sg
	}
	c.Segments[0].Words = []transcript.Word{first.Words[0], {Text: "or"}}
	same(t, ok[[]Numbered](t)(s.Segments(ctx, "M", 0, 10)), []Numbered{{1, c.Segments[0]}, {2, c.Segments[1]}})
	same(t, ok[[]transcript.Segment](t)(s.Transcript(ctx, "M")), c.Segments)

	again := ok[meeting.Track](t)(s.Claim(ctx, "A"))
	same(t, again.Epoch, tr.Epoch+1)
	same(t, again.Through, int64(4800))
	same(t, again.NextSegment, int64(4))
	same(t, again.Account, c.Account)
	same(t, again.Skipped, int64(48))
	same(t, again.Meeting, "M")

	// The name is the participant's, also of what was said before.
	join(t, s, "M", transcript.Participant{ID: "ada", Name: "Ada Lovelace"})
	same(t, ok[[]transcript.Segment](t)(s.Transcript(ctx, "M"))[0].Participant.Name, "Ada Lovelace")
}

func testCommitAtomic(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	c := Commit{Track: "A", Epoch: tr.Epoch, Through: 10, Account: audio.Account{Received: 20}, Segments: []transcript.Segment{seg("A", 0, 0, 1, "x")}}
	ok[int64](t)(s.Commit(ctx, c))
	before := ok[meeting.Meeting](t)(s.Meeting(ctx, "M"))
	// The second of these is there already.
	c.Through, c.Account.Received, c.Gaps = 100, 200, []meeting.Gap{skipped(10, 15)}
	c.Segments = []transcript.Segment{seg("A", 1, 0, 1, "y"), seg("A", 0, 0, 1, "z")}
	if _, err := s.Commit(ctx, c); err == nil {
		t.Fatal("a segment's id was used twice")
	}
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")), before)
	same(t, len(ok[[]Numbered](t)(s.Segments(ctx, "M", 0, 10))), 1)
}

func testBadSegments(t *testing.T, s *Store) {
	tr := track(t, s, "A", "M", ada)
	for _, id := range []string{"", "A", "A.", "A.-1", "A.+1", "A.01", "B.1", "A.1x", "A.99999999999999999999"} {
		_, err := s.Commit(t.Context(), Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{{ID: id}}})
		if err == nil {
			t.Errorf("segment %q was taken", id)
		}
	}
}

func testZombie(t *testing.T, s *Store) {
	ctx := t.Context()
	old := track(t, s, "A", "M", ada)
	now := ok[meeting.Track](t)(s.Claim(ctx, "A"))
	ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: now.Epoch, Through: 5, Segments: []transcript.Segment{seg("A", 0, 0, 1, "x")}}))
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{Received: 480}))
	before := ok[meeting.Meeting](t)(s.Meeting(ctx, "M"))

	late := Commit{
		Track: "A", Epoch: old.Epoch, Through: 99, Account: audio.Account{Shed: 9999},
		Segments: []transcript.Segment{seg("A", 7, 0, 1, "zombie")}, Gaps: []meeting.Gap{skipped(5, 9)},
	}
	_, err := s.Commit(ctx, late)
	wantErr(t, err, ErrNotOwner)
	_, err = s.Resume(ctx, "A", old.Epoch)
	wantErr(t, err, ErrNotOwner)
	_, err = s.FinishTrack(ctx, "A", old.Epoch, meeting.TrackComplete, t0)
	wantErr(t, err, ErrNotOwner)
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")), before)
	same(t, numbers(ok[[]Numbered](t)(s.Segments(ctx, "M", 0, 10))), []int64{1})

	// A finished track is nobody's.
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", now.Epoch, meeting.TrackComplete, t0))
	late.Epoch = now.Epoch
	_, err = s.Commit(ctx, late)
	wantErr(t, err, ErrNotOwner)
	_, err = s.Commit(ctx, Commit{Track: "none"})
	wantErr(t, err, ErrNotOwner)
}

func testThroughAndAccount(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	steps := []struct {
		through, received, shed          int64
		wantThrough, wantReceived, wantS int64
	}{
		{10, 100, 0, 10, 100, 0},
		{5, 90, 0, 10, 100, 0},   // neither goes back
		{10, 60, 40, 10, 60, 40}, // audio was given up since
		{20, 150, 40, 20, 150, 40},
		{0, 0, 0, 20, 150, 40},
	}
	for i, st := range steps {
		ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Through: st.through, Account: audio.Account{Received: st.received, Shed: st.shed}}))
		got := ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks[0]
		if got.Through != st.wantThrough || got.Account != (audio.Account{Received: st.wantReceived, Shed: st.wantS}) {
			t.Fatalf("step %d: through %d, %+v", i, got.Through, got.Account)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		before := ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx))[0].Through
		through := rapid.Int64Range(0, 1000).Draw(r, "through")
		ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Through: through}))
		same(t, ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx))[0].Through, max(before, through))
	})
}

func testCoverage(t *testing.T, s *Store) {
	ctx := t.Context()
	const ms = audio.TickRate / 1000
	a, b := track(t, s, "A", "M", ada), track(t, s, "B", "M", bob)
	ok[int64](t)(s.Commit(ctx, Commit{
		Track: "A", Epoch: a.Epoch, Through: 700 * ms,
		Account: audio.Account{Received: 400 * ms, Recovered: 300 * ms, Concealed: 200 * ms, Silence: 60 * ms, Discontinuity: 30 * ms, Shed: 10 * ms},
		Gaps:    []meeting.Gap{skipped(100*ms, 150*ms), skipped(650*ms, 700*ms)},
	}))
	ok[int64](t)(s.Commit(ctx, Commit{Track: "B", Epoch: b.Epoch, Through: 5 * ms, Account: audio.Account{Received: 5 * ms}}))
	m := ok[meeting.Meeting](t)(s.Meeting(ctx, "M"))
	one := meeting.Coverage{
		DurationMS: 1000, ReceivedMS: 400, RecoveredMS: 300, ConcealedMS: 200, SilenceMS: 60, DiscontinuityMS: 30, ShedMS: 10,
		TranscribedMS: 600, SkippedMS: 100, PendingMS: 300,
	}
	two := meeting.Coverage{DurationMS: 5, ReceivedMS: 5, TranscribedMS: 5}
	same(t, m.Tracks[0].Coverage, one)
	same(t, m.Tracks[1].Coverage, two)
	same(t, m.Coverage, one.Plus(two))
	same(t, ok[meeting.Track](t)(s.Claim(ctx, "A")).Coverage, one)
	list, _, err := s.Meetings(ctx, "", 1, "")
	must(t, err)
	same(t, list[0].Coverage, one.Plus(two))
}

func testFinishTrack(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	finish := func(st meeting.TrackState) (meeting.State, error) { return s.FinishTrack(ctx, "A", tr.Epoch, st, t0) }
	if _, err := finish(meeting.TrackComplete); err == nil {
		t.Error("a live track was finished")
	}
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{}))
	for _, st := range []meeting.TrackState{meeting.TrackLive, meeting.TrackPending, "x"} {
		if _, err := finish(st); err == nil {
			t.Errorf("a track was finished as %s", st)
		}
	}
	for range 2 { // the second changes nothing
		same(t, ok[meeting.State](t)(finish(meeting.TrackIncomplete)), meeting.StateLive)
	}
	if _, err := finish(meeting.TrackComplete); err == nil {
		t.Error("an incomplete track became complete")
	}
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Tracks[0].State, meeting.TrackIncomplete)
}

// testCompletion ends tracks and the meeting in every order.
func testCompletion(t *testing.T, s *Store) {
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		ctx := t.Context()
		run++
		id := fmt.Sprintf("M%d", run)
		join(t, s, id, ada)
		var tracks []meeting.Track
		var ops []string
		for i := range rapid.IntRange(0, 3).Draw(r, "tracks") {
			tracks = append(tracks, track(t, s, fmt.Sprintf("%s-T%d", id, i), id, ada))
			ops = append(ops, fmt.Sprint("track ", i), fmt.Sprint("track ", i))
		}
		ops = rapid.Permutation(append(ops, "meeting")).Draw(r, "order")

		is, open, allComplete := meeting.StateLive, len(tracks), true
		ended := map[int]bool{}
		for _, op := range ops {
			var i int
			if _, err := fmt.Sscanf(op, "track %d", &i); err != nil {
				is = meeting.StateEnded
			} else if !ended[i] {
				must(t, s.EndTrack(ctx, tracks[i].ID, "left", audio.Account{}))
				ended[i] = true
			} else {
				st := rapid.SampledFrom([]meeting.TrackState{meeting.TrackComplete, meeting.TrackIncomplete}).Draw(r, "state")
				allComplete = allComplete && st == meeting.TrackComplete
				open--
				got := ok[meeting.State](t)(s.FinishTrack(ctx, tracks[i].ID, tracks[i].Epoch, st, t0))
				same(t, got, settled(is, open, allComplete))
			}
			if op == "meeting" {
				got := ok[meeting.State](t)(s.EndMeeting(ctx, id, t0))
				same(t, got, settled(is, open, allComplete))
			}
			is = settled(is, open, allComplete)
			same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, id)).State, is)
		}
		want := meeting.StateComplete
		if !allComplete {
			want = meeting.StateIncomplete
		}
		same(t, is, want)
	})
}

func settled(is meeting.State, open int, allComplete bool) meeting.State {
	switch {
	case is != meeting.StateEnded || open > 0:
		return is
	case allComplete:
		return meeting.StateComplete
	}
	return meeting.StateIncomplete
}

func testUnfinishedTracks(t *testing.T, s *Store) {
	ctx := t.Context()
	track(t, s, "C", "M", ada) // live
	b := track(t, s, "B", "M", ada)
	a := track(t, s, "A", "N", bob)
	ok[int64](t)(s.Commit(ctx, Commit{Track: "B", Epoch: b.Epoch, Through: 9, Gaps: []meeting.Gap{skipped(1, 3)}}))
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{}))
	must(t, s.EndTrack(ctx, "B", "left", audio.Account{}))
	ids := func() (ids []string) {
		for _, tr := range ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx)) {
			ids = append(ids, tr.ID)
		}
		return ids
	}
	same(t, ids(), []string{"A", "B", "C"})
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", a.Epoch, meeting.TrackComplete, t0))
	same(t, ids(), []string{"B", "C"})
	got := ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx))[0]
	same(t, got.Meeting, "M")
	same(t, got.Through, int64(9))
	same(t, got.Skipped, int64(2))
}
