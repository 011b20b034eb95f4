package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// told takes out everything that an endpoint is to be told.
func told(t testing.TB, s *Store, endpoint string) (ds []Delivery) {
	t.Helper()
	for {
		d, more, _, err := s.NextDelivery(t.Context(), endpoint, t0.Add(time.Hour))
		must(t, err)
		if !more {
			return ds
		}
		must(t, s.Delivered(t.Context(), d.N))
		ds = append(ds, d)
	}
}

// lines are events in short: the type, who or what it is about.
func lines(t testing.TB, ds []Delivery) (all []string) {
	t.Helper()
	for _, d := range ds {
		var e struct {
			Type      string
			Timestamp time.Time
			Data      struct {
				Meeting     struct{ ID, Room, State string }
				Participant struct{ Name string }
				Segment     struct{ ID, Text string }
			}
		}
		must(t, json.Unmarshal(d.Body, &e))
		if e.Type != d.Type || !strings.HasPrefix(d.ID, "msg_") || e.Data.Meeting.ID != "M" || e.Data.Meeting.Room != "r" || !e.Timestamp.Equal(d.CreatedAt) {
			t.Errorf("event %+v: %s", d, d.Body)
		}
		all = append(all, strings.Join(strings.Fields(fmt.Sprint(e.Type, " ", e.Data.Meeting.State, " ", e.Data.Participant.Name, " ", e.Data.Segment.Text)), " "))
	}
	return all
}

var allEvents = []string{MeetingStarted, ParticipantJoined, ParticipantLeft, SegmentFinal, MeetingComplete}

// wholeMeeting is one in which everything happens that is told.
func wholeMeeting(t testing.TB, s *Store) {
	t.Helper()
	ctx := t.Context()
	for i, who := range []transcript.Participant{ada, ada, bob} { // ada's second session is no news
		_, _, err := s.Join(ctx, "r", who, "", []string{"M", "M1", "M2"}[i], t0)
		must(t, err)
	}
	must(t, s.CreateTrack(ctx, meeting.Track{ID: "T", Meeting: "M", Participant: "ada", StartedAt: t0}))
	tr := ok[meeting.Track](t)(s.Claim(ctx, "T"))
	c := Commit{Track: "T", Epoch: tr.Epoch, Through: 2, At: t0, Segments: []transcript.Segment{seg("T", 0, 0, 1, "hello"), seg("T", 1, 1, 2, "bye")}}
	ok[int64](t)(s.Commit(ctx, c))
	for range 2 {
		must(t, s.Leave(ctx, "M", "ada", "", t0))
	}
	_, _, err := s.Join(ctx, "r", ada, "", "M3", t0) // and is back
	must(t, err)
	for range 2 {
		ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0))
	}
	must(t, s.EndTrack(ctx, "T", "left", c.Account))
	for range 2 {
		ok[meeting.State](t)(s.FinishTrack(ctx, "T", tr.Epoch, meeting.TrackIncomplete, t0))
	}
}

func testOutbox(t *testing.T, s *Store) {
	woken := 0
	ok[int64](t)(s.SetOutbox(t.Context(), Outbox{Endpoints: []string{"a", "b"}, Types: allEvents, Wake: func() { woken++ }}))
	wholeMeeting(t, s)
	a, b := told(t, s, "a"), told(t, s, "b")
	same(t, lines(t, a), []string{
		"meeting.started live", "participant.joined Ada", "participant.joined Bob", "segment.final hello", "segment.final bye",
		"participant.left Ada", "participant.joined Ada", "participant.left Ada", "participant.left Bob", "meeting.complete incomplete",
	})
	same(t, lines(t, b), lines(t, a))
	ids := map[string]bool{}
	for i := range a {
		same(t, a[i].ID, b[i].ID)
		ids[a[i].ID] = true
	}
	same(t, len(ids), len(a))
	if woken < 8 {
		t.Errorf("woken %d times", woken)
	}
	same(t, len(told(t, s, "a")), 0)
}

// What is not wished is not told, and nobody is told anything unless asked for.
func testOutboxTypes(t *testing.T, s *Store) {
	ctx := t.Context()
	ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"a"}, Types: []string{MeetingStarted, MeetingComplete}}))
	wholeMeeting(t, s)
	same(t, lines(t, told(t, s, "a")), []string{"meeting.started live", "meeting.complete incomplete"})
	must(t, s.Delete(ctx, "M"))

	ok[int64](t)(s.SetOutbox(ctx, Outbox{Types: allEvents}))
	wholeMeeting(t, s)
	same(t, len(told(t, s, "a")), 0)
}

// What a transaction did not store nobody is told.
func testOutboxAtomic(t *testing.T, s *Store) {
	ok[int64](t)(s.SetOutbox(t.Context(), Outbox{Endpoints: []string{"a"}, Types: allEvents}))
	tr := track(t, s, "T", "M", ada)
	before := len(told(t, s, "a"))
	same(t, before, 2)
	_, err := s.Commit(t.Context(), Commit{Track: "T", Epoch: tr.Epoch - 1, Through: 1, Segments: []transcript.Segment{seg("T", 0, 0, 1, "x")}})
	wantErr(t, err, ErrNotOwner)
	_, err = s.db.ExecContext(t.Context(), "DROP TABLE search") // so that the commit fails half-way
	must(t, err)
	_, err = s.Commit(t.Context(), Commit{Track: "T", Epoch: tr.Epoch, Through: 1, Segments: []transcript.Segment{seg("T", 0, 0, 1, "x")}})
	if err == nil {
		t.Error("no error")
	}
	same(t, len(told(t, s, "a")), 0)
}

func testOutboxOrder(t *testing.T, s *Store) {
	ctx := t.Context()
	ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"a", "b"}, Types: []string{MeetingStarted}}))
	for _, id := range []string{"M1", "M2", "M3"} {
		join(t, s, id, ada)
	}
	next := func(now time.Time) (Delivery, bool, time.Time) {
		d, more, at, err := s.NextDelivery(ctx, "a", now)
		must(t, err)
		return d, more, at
	}
	first, _, _ := next(t0)
	again, _, _ := next(t0)
	same(t, again, first) // it stays until it is delivered
	later := t0.Add(time.Minute)
	must(t, s.Refused(ctx, first.N, later))
	second, _, _ := next(t0)
	if second.N <= first.N {
		t.Errorf("%d comes after %d", second.N, first.N)
	}
	must(t, s.Delivered(ctx, second.N))
	third, _, _ := next(t0)
	must(t, s.Delivered(ctx, third.N))
	_, more, at := next(t0)
	same(t, more, false)
	same(t, at, later)
	back, _, _ := next(later)
	same(t, back.ID, first.ID)
	same(t, back.Attempts, 1)

	same(t, ok[int64](t)(s.PendingDeliveries(ctx, "b")), int64(3))
	same(t, ok[int64](t)(s.GiveUp(ctx, "b", t0)), int64(0))
	same(t, ok[int64](t)(s.GiveUp(ctx, "b", t0.Add(time.Microsecond))), int64(3))
	same(t, ok[int64](t)(s.CloseEndpoint(ctx, "a")), int64(1))
	join(t, s, "M4", ada)
	same(t, len(told(t, s, "a")), 0)
	same(t, len(told(t, s, "b")), 1)
	// An endpoint that is not there any more leaves nothing.
	join(t, s, "M5", ada)
	same(t, ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"c"}, Types: allEvents})), int64(1))
	_, more, at, err := s.NextDelivery(context.WithoutCancel(ctx), "b", later)
	must(t, err)
	same(t, more || !at.IsZero(), false)
}
