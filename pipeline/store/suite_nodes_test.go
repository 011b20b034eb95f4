package store

import (
	"testing"
	"time"

	"verbatim/pipeline/meeting"
)

// testSessions: a participant is in by the newest session, whichever is closed.
func testSessions(t *testing.T, s *Store) {
	ctx := t.Context()
	must(t, s.SetNode(ctx, "n1", "https://n1.example"))
	for _, session := range []string{"s1", "s2"} {
		_, _, err := s.Join(ctx, "r", ada, session, "M", t0)
		must(t, err)
	}
	t1 := t0.Add(time.Second)
	wantErr(t, s.Leave(ctx, "M", "ada", "s1", t1), ErrMoved)
	seat := meeting.Seat{Room: "r", Meeting: "M", Session: "s2", Participant: meeting.Participant{ID: "ada", Name: "Ada", JoinedAt: t0}}
	seats := func(open ...string) []meeting.Seat {
		t.Helper()
		keys := map[string]bool{}
		for _, o := range open {
			keys[o] = true
		}
		return ok[[]meeting.Seat](t)(s.Seats(ctx, keys, t1))
	}
	same(t, seats("s2"), []meeting.Seat{seat})
	must(t, s.Leave(ctx, "M", "ada", "s2", t1))
	gone := seat
	gone.Participant.LeftAt = &t1
	same(t, seats("s1"), []meeting.Seat{gone})
	back := seat
	back.Back = true
	same(t, seats("s2"), []meeting.Seat{back}) // it is open after all
	same(t, seats("s2"), []meeting.Seat{seat})
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t1))
	same(t, seats("s2"), []meeting.Seat{})
}

// testEndEmpty: meetings end when nobody has been there for the time.
func testEndEmpty(t *testing.T, s *Store) {
	ctx := t.Context()
	t1, t2 := t0.Add(time.Second), t0.Add(2*time.Second)
	for _, id := range []string{"A", "B", "C"} {
		join(t, s, id, ada)
		join(t, s, id, bob)
	}
	must(t, s.Leave(ctx, "A", "ada", "", t0))
	must(t, s.Leave(ctx, "A", "bob", "", t1))
	must(t, s.Leave(ctx, "B", "ada", "", t0))
	must(t, s.Leave(ctx, "C", "ada", "", t2))
	must(t, s.Leave(ctx, "C", "bob", "", t0))
	end := func(before time.Time) []meeting.Ended {
		t.Helper()
		return ok[[]meeting.Ended](t)(s.EndEmpty(ctx, before, t2))
	}
	same(t, len(end(t0)), 0)
	same(t, end(t1), []meeting.Ended{{Meeting: "A", Room: "room-a", State: meeting.StateComplete}})
	same(t, len(end(t1)), 0)
	join(t, s, "C", ada)
	same(t, len(end(t2)), 0)
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "A")).EndedAt, &t2)
}
