package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

var bob = transcript.Participant{ID: "bob", Name: "Bob"}

// stored puts a meeting into the database that has ended: each track lasts a
// minute, and holds what the participant said, in milliseconds of the meeting.
func (w *world) stored(id, room string, began time.Time, said map[transcript.Participant][]insight.Span) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, who := range []transcript.Participant{ada, bob} { // joins in this order
		spans, there := said[who]
		if !there {
			continue
		}
		_, _, err := w.db.Join(ctx, room, who, "", id, began)
		check(w.t, err)
		row := meeting.Track{ID: id + who.ID, Meeting: id, Participant: who.ID, StartedAt: began}
		check(w.t, w.db.CreateTrack(ctx, row))
		row = must[meeting.Track](w.t)(w.db.Claim(ctx, row.ID))
		account := audio.Account{Received: 60 * audio.TickRate}
		check(w.t, w.db.EndTrack(ctx, row.ID, "left", account))
		c := store.Commit{Track: row.ID, Epoch: row.Epoch, Through: account.Total(), Account: account}
		for i, s := range spans {
			c.Segments = append(c.Segments, transcript.Segment{
				ID: fmt.Sprintf("%s.%d", row.ID, i), StartMS: s.StartMS, EndMS: s.EndMS, Text: "five words are said here",
			})
		}
		must[int64](w.t)(w.db.Commit(ctx, c))
		must[meeting.State](w.t)(w.db.FinishTrack(ctx, row.ID, row.Epoch, meeting.TrackComplete, began))
	}
}

func (w *world) end(id string, at time.Time) {
	w.t.Helper()
	must[meeting.State](w.t)(w.db.EndMeeting(w.t.Context(), id, at))
}

func TestMeetingAndRoomStats(t *testing.T) {
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	began := time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
	said := func(a, b int64) map[transcript.Participant][]insight.Span {
		return map[transcript.Participant][]insight.Span{ada: {{StartMS: 0, EndMS: a}}, bob: {{StartMS: 30_000, EndMS: 30_000 + b}}}
	}
	for i, m := range []map[transcript.Participant][]insight.Span{said(10_000, 10_000), said(15_000, 5_000), said(20_000, 0), said(18_000, 2_000)} {
		id := fmt.Sprintf("M%d", i)
		at := began.AddDate(0, 0, i)
		w.stored(id, "room", at, m)
		if i < 3 {
			w.end(id, at.Add(10*time.Minute)) // the room stayed open, but nobody was there
		}
		w.stored("X"+id, "other", at, said(1000, 20_000))
		w.end("X"+id, at.Add(time.Minute))
	}

	r := must[insight.MeetingReport](t)(s.MeetingStats(t.Context(), "M2"))
	if r.ID != "M2" || r.Room != "room" || r.State != meeting.StateComplete || r.EndedAt == nil || r.Coverage.TranscribedMS != 120_000 {
		t.Errorf("the head: %+v", r)
	}
	if r.DurationMS != 60_000 || r.TalkMS != 20_000 || *r.WordsPerMinute != 30 || *r.Balance != 0 || len(r.Participants) != 2 || r.Participants[0].Name != "Ada" {
		t.Errorf("the numbers: %+v", r.Stats)
	}
	if b := r.Timeline.Buckets[0].Balance; b == nil || *b != 0 {
		t.Error("Bob was there all the time, and is not in the balance")
	}
	if c := r.Trend.Participants[0]; r.Trend.Meetings != 2 || c != (insight.ShareChange{ID: "ada", Share: 1, UsualShare: 0.625, Change: 0.375, Meetings: 2}) {
		t.Errorf("the trend: %+v", r.Trend)
	}

	// A live one is set against others, but others not against it.
	live := must[insight.MeetingReport](t)(s.MeetingStats(t.Context(), "M3"))
	if live.State != meeting.StateLive || live.EndedAt != nil || live.Trend.Meetings != 3 {
		t.Errorf("the live one: %+v", live)
	}
	room := must[insight.RoomReport](t)(s.RoomStats(t.Context(), "room", 20, ""))
	var ids []string
	for _, m := range room.Meetings {
		ids = append(ids, m.ID)
		if m.Participants != 2 {
			t.Errorf("%+v", m)
		}
	}
	if got := strings.Join(ids, " "); got != "M3 M2 M1 M0" || room.Room != "room" || room.Next != "" {
		t.Errorf("the room: %s, then %q", got, room.Next)
	}
	if a := room.Trend.Participants[0]; room.Trend.Meetings != 3 || a.ID != "ada" || a.TalkMS != 45_000 || a.UsualShare != 0.75 {
		t.Errorf("the room's trend: %+v", room.Trend)
	}
	for _, m := range room.Trend.Metrics { // the oldest comes first in a slope
		if m.Metric == "balance" && (m.PerMeeting == nil || *m.PerMeeting >= 0) {
			t.Errorf("the balance rises: %+v", m)
		}
	}

	// What is erased is gone from memory, too.
	check(t, s.Erase(t.Context(), "M1"))
	if s.insight.Contains("M1") || !s.insight.Contains("M2") || s.insight.Contains("M3") {
		t.Error("kept are", s.insight.Keys())
	}
	if r := must[insight.MeetingReport](t)(s.MeetingStats(t.Context(), "M2")); r.Trend.Meetings != 1 {
		t.Errorf("the trend after an erasure: %+v", r.Trend)
	}
	if _, err := s.MeetingStats(t.Context(), "M1"); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("the erased meeting: %v", err)
	}
	if _, err := s.stats(t.Context(), meeting.Meeting{ID: "M1", State: meeting.StateComplete}); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("a meeting that was erased since it was read: %v", err)
	}
}

func TestRoomStatsByPages(t *testing.T) {
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	began := time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
	for i := range 4 {
		id, at := fmt.Sprintf("M%d", i), began.AddDate(0, 0, i)
		w.stored(id, "room", at, map[transcript.Participant][]insight.Span{ada: nil})
		w.end(id, at)
	}
	page := must[insight.RoomReport](t)(s.RoomStats(t.Context(), "room", 3, ""))
	rest := must[insight.RoomReport](t)(s.RoomStats(t.Context(), "room", 3, page.Next))
	if len(page.Meetings) != 3 || len(rest.Meetings) != 1 || rest.Meetings[0].ID != "M0" || rest.Next != "" {
		t.Errorf("pages of %d and %d", len(page.Meetings), len(rest.Meetings))
	}
}

// BenchmarkMeetingStats reads a meeting of 8 h with 20 participants, in which somebody
// begins to talk every 2 s with 10 words, and makes its numbers.
func BenchmarkMeetingStats(b *testing.B) {
	w := newWorld(b)
	s := w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	began := time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
	confidence := 0.87654321
	for p := range int64(20) {
		who := transcript.Participant{ID: fmt.Sprint("p", p), Name: "Somebody"}
		_, _, err := w.db.Join(b.Context(), "room", who, "", "M", began)
		check(b, err)
		row := meeting.Track{ID: fmt.Sprint("T", p), Meeting: "M", Participant: who.ID, StartedAt: began}
		check(b, w.db.CreateTrack(b.Context(), row))
		row = must[meeting.Track](b)(w.db.Claim(b.Context(), row.ID))
		c := store.Commit{Track: row.ID, Epoch: row.Epoch, Through: 8 * 3600 * audio.TickRate}
		c.Account.Received = c.Through
		for n := range int64(8 * 3600 / 40) {
			at := n*40_000 + p*2000
			u := transcript.Segment{ID: fmt.Sprintf("%s.%d", row.ID, n), StartMS: at, EndMS: at + 3000, Text: strings.Repeat("somewhat ", 10)}
			for i := range int64(10) {
				u.Words = append(u.Words, transcript.Word{Text: "somewhat", StartMS: at + i*300, EndMS: at + i*300 + 250, Confidence: &confidence})
			}
			c.Segments = append(c.Segments, u)
		}
		must[int64](b)(w.db.Commit(b.Context(), c))
	}
	for b.Loop() {
		must[insight.MeetingReport](b)(s.MeetingStats(b.Context(), "M"))
	}
}
