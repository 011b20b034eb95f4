package store

import (
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// skipped is a gap as an engine's refusal makes it.
func skipped(start, end int64) meeting.Gap {
	return meeting.Gap{Kind: transcript.Skipped, Start: start, End: end, Ticks: end - start, StartMS: start / 48, EndMS: end / 48, Reason: "engine"}
}

// lost is a gap of two ticks between others.
func lost(start, end int64) meeting.Gap {
	return meeting.Gap{Kind: transcript.Concealed, Start: start, End: end, Ticks: 2, StartMS: 3, EndMS: 4}
}

// of says whose the gaps are.
func of(track string, gaps ...meeting.Gap) []meeting.Gap {
	for i := range gaps {
		gaps[i].Track = track
	}
	return gaps
}

func testGaps(t *testing.T, s *Store) {
	ctx := t.Context()
	a, b := track(t, s, "A", "M", ada), track(t, s, "B", "M", bob)
	other := track(t, s, "C", "N", ada)
	commit := func(tr meeting.Track, through int64, gaps ...meeting.Gap) {
		ok[int64](t)(s.Commit(ctx, Commit{Track: tr.ID, Epoch: tr.Epoch, Through: through, Gaps: gaps}))
	}
	same(t, ok[[]meeting.Gap](t)(s.Gaps(ctx, "M")), []meeting.Gap{})
	commit(b, 10, lost(1, 5))
	commit(a, 20, skipped(0, 20), lost(6, 9), lost(0, 4))
	commit(a, 30, lost(20, 30), skipped(25, 26))
	commit(a, 20, lost(28, 30)) // moves nothing
	commit(other, 5, lost(0, 5))
	same(t, ok[[]meeting.Gap](t)(s.Gaps(ctx, "M")), append(
		of("A", lost(0, 4), lost(6, 9), lost(20, 30), skipped(0, 20), skipped(25, 26)), of("B", lost(1, 5))...))
	m := ok[meeting.Meeting](t)(s.Meeting(ctx, "M"))
	same(t, []int64{m.Tracks[0].Skipped, m.Tracks[1].Skipped}, []int64{21, 0})
}

func testGapsOutOfPlace(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	for name, g := range map[string]meeting.Gap{
		"beyond the checkpoint": skipped(5, 11),
		"unknown kind":          {Kind: "x", Start: 5, End: 6, Ticks: 1},
		"more than fits":        {Kind: transcript.Shed, Start: 5, End: 6, Ticks: 2},
		"pending":               {Kind: transcript.Pending, Start: 5, End: 6, Ticks: 1},
	} {
		if _, err := s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Through: 10, Gaps: []meeting.Gap{g}}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	same(t, ok[meeting.Track](t)(s.Resume(ctx, "A", tr.Epoch)).Through, int64(0))
}

// testResume: who does not know what became of a commit finds out, and whatever
// it does then counts nothing twice.
func testResume(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	c := Commit{
		Track: "A", Epoch: tr.Epoch, Through: 10, Account: audio.Account{Received: 48},
		Segments: []transcript.Segment{seg("A", 0, 0, 1, "x")}, Gaps: []meeting.Gap{skipped(2, 7)},
	}
	ok[int64](t)(s.Commit(ctx, c))
	got := ok[meeting.Track](t)(s.Resume(ctx, "A", tr.Epoch))
	same(t, []int64{got.Epoch, got.Through, got.NextSegment, got.Skipped}, []int64{tr.Epoch, 10, 1, 5})
	c.Segments, c.Through = nil, 20
	c.Gaps = []meeting.Gap{skipped(2, 7), skipped(10, 13)}
	ok[int64](t)(s.Commit(ctx, c))
	same(t, ok[[]meeting.Gap](t)(s.Gaps(ctx, "M")), of("A", skipped(2, 7), skipped(10, 13)))
	_, err := s.Resume(ctx, "none", 0)
	wantErr(t, err, ErrNotOwner)
}
