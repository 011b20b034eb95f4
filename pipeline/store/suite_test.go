package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// t0 has no more than microseconds, as what is stored.
var t0 = time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.UTC)

var (
	ada = transcript.Participant{ID: "ada", Name: "Ada"}
	bob = transcript.Participant{ID: "bob", Name: "Bob"}
)

// testSuite is what every dialect has to pass. open gives an empty store.
func testSuite(t *testing.T, open func(testing.TB) *Store) {
	for name, test := range map[string]func(*testing.T, *Store){
		"join":                 testJoin,
		"concurrent joins":     testConcurrentJoins,
		"leave":                testLeave,
		"create track":         testCreateTrack,
		"end track":            testEndTrack,
		"commit":               testCommit,
		"commit is atomic":     testCommitAtomic,
		"bad segments":         testBadSegments,
		"zombie":               testZombie,
		"through and account":  testThroughAndAccount,
		"coverage":             testCoverage,
		"gaps":                 testGaps,
		"gaps out of place":    testGapsOutOfPlace,
		"resume":               testResume,
		"numbers":              testNumbers,
		"concurrent commits":   testConcurrentCommits,
		"segments":             testSegments,
		"finish track":         testFinishTrack,
		"completion":           testCompletion,
		"end meeting":          testEndMeeting,
		"sessions":             testSessions,
		"end empty":            testEndEmpty,
		"meetings":             testMeetings,
		"paging while growing": testPagingWhileGrowing,
		"search":               testSearch,
		"bad cursors":          testBadCursors,
		"unfinished tracks":    testUnfinishedTracks,
		"expired tracks":       testExpiredTracks,
		"tracks to forward":    testTracksToForward,
		"mark":                 testMark,
		"latest":               testLatest,
		"recordings":           testRecordings,
		"outbox":               testOutbox,
		"outbox types":         testOutboxTypes,
		"outbox is atomic":     testOutboxAtomic,
		"outbox order":         testOutboxOrder,
		"delete":               testDelete,
		"erasures":             testErasures,
		"erasing hides":        testErasingHides,
		"not found":            testNotFound,
		"cancelled":            testCancelled,
		"text as it comes":     testText,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ok[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// join puts p into the meeting of that id, in a room of its own.
func join(t testing.TB, s *Store, id string, p transcript.Participant) meeting.Meeting {
	t.Helper()
	m, _, err := s.Join(t.Context(), "room-"+strings.ToLower(id), p, "", id, t0)
	must(t, err)
	return m
}

// track makes a claimed live track of p in the meeting.
func track(t testing.TB, s *Store, id, meetingID string, p transcript.Participant) meeting.Track {
	t.Helper()
	join(t, s, meetingID, p)
	must(t, s.CreateTrack(t.Context(), meeting.Track{ID: id, Meeting: meetingID, Participant: p.ID, StartedAt: t0}))
	return ok[meeting.Track](t)(s.Claim(t.Context(), id))
}

// seg is a segment as someone who commits it makes it.
func seg(track string, n int, start, end int64, text string) transcript.Segment {
	return transcript.Segment{ID: fmt.Sprintf("%s.%d", track, n), StartMS: start, EndMS: end, Text: text, Engine: "e", Revision: n + 1}
}

func testJoin(t *testing.T, s *Store) {
	ctx := t.Context()
	m, created, err := s.Join(ctx, "r", ada, "", "M1", t0)
	must(t, err)
	want := meeting.Meeting{
		ID: "M1", Room: "r", State: meeting.StateLive, StartedAt: t0,
		Participants: []meeting.Participant{{ID: "ada", Name: "Ada", JoinedAt: t0}}, Tracks: []meeting.Track{},
	}
	same(t, m, want)
	same(t, created, true)

	t1 := t0.Add(time.Second)
	m, created, err = s.Join(ctx, "r", bob, "", "M2", t1)
	must(t, err)
	bobs := want // what is returned has only who joined
	bobs.Participants = []meeting.Participant{{ID: "bob", Name: "Bob", JoinedAt: t1}}
	same(t, m, bobs)
	same(t, created, false)

	must(t, s.Leave(ctx, "M1", "ada", "", t1))
	m, _, err = s.Join(ctx, "r", transcript.Participant{ID: "ada", Name: "Ada L."}, "", "M3", t1)
	must(t, err)
	want.Participants[0].Name = "Ada L."
	same(t, m, want)
	want.Participants = append(want.Participants, bobs.Participants...)
	same(t, ok[meeting.Meeting](t)(s.LiveMeeting(ctx, "r")), want)

	// The room's next meeting is another one.
	ok[meeting.State](t)(s.EndMeeting(ctx, "M1", t1))
	m, created, err = s.Join(ctx, "r", ada, "", "M4", t1)
	must(t, err)
	same(t, m.ID, "M4")
	same(t, created, true)
}

func testConcurrentJoins(t *testing.T, s *Store) {
	const joins = 40
	var wg sync.WaitGroup
	ids, began := make([]string, joins), make([]bool, joins)
	for i := range joins {
		wg.Go(func() {
			p := transcript.Participant{ID: fmt.Sprintf("p%d", i%20), Name: "P"}
			m, created, err := s.Join(t.Context(), "r", p, "", fmt.Sprintf("M%d", i), t0)
			if err != nil {
				t.Error(err)
			}
			ids[i], began[i] = m.ID, created
		})
	}
	wg.Wait()
	created := 0
	for i := range joins {
		same(t, ids[i], ids[0])
		if began[i] {
			created++
		}
	}
	same(t, created, 1)
	same(t, len(ok[[]meeting.Meeting](t)(s.LiveMeetings(t.Context()))), 1)
	same(t, len(ok[meeting.Meeting](t)(s.Meeting(t.Context(), ids[0])).Participants), 20)
}

func testLeave(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	t1 := t0.Add(time.Minute)
	must(t, s.Leave(ctx, "M", "ada", "", t1))
	must(t, s.Leave(ctx, "M", "ada", "", t1.Add(time.Minute)))
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Participants,
		[]meeting.Participant{{ID: "ada", Name: "Ada", JoinedAt: t0, LeftAt: &t1}})
	wantErr(t, s.Leave(ctx, "M", "bob", "", t1), ErrNotFound)
	wantErr(t, s.Leave(ctx, "M2", "ada", "", t1), ErrNotFound)
}

func testEndMeeting(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	join(t, s, "M", bob)
	t1, t2 := t0.Add(time.Second), t0.Add(time.Minute)
	must(t, s.Leave(ctx, "M", "ada", "", t1))
	for range 2 { // the second changes nothing
		same(t, ok[meeting.State](t)(s.EndMeeting(ctx, "M", t2)), meeting.StateComplete)
	}
	same(t, ok[meeting.State](t)(s.EndMeeting(ctx, "M", t2.Add(1))), meeting.StateComplete)
	m := ok[meeting.Meeting](t)(s.Meeting(ctx, "M"))
	same(t, m.EndedAt, &t2)
	same(t, m.Participants, []meeting.Participant{
		{ID: "ada", Name: "Ada", JoinedAt: t0, LeftAt: &t1}, {ID: "bob", Name: "Bob", JoinedAt: t0, LeftAt: &t2},
	})
	_, err := s.LiveMeeting(ctx, "room-m")
	wantErr(t, err, ErrNotFound)
	same(t, ok[[]meeting.Meeting](t)(s.LiveMeetings(ctx)), []meeting.Meeting{})
}

func testMeetings(t *testing.T, s *Store) {
	ctx := t.Context()
	var all, inA []string // the newest first
	for i := range 13 {
		id, room := fmt.Sprintf("M%02d", i), []string{"a", "b"}[i%2]
		// Some begin at the same time.
		_, _, err := s.Join(ctx, room, ada, "", id, t0.Add(time.Duration(i/4)*time.Second))
		must(t, err)
		must(t, s.CreateTrack(ctx, meeting.Track{ID: "T" + id, Meeting: id, Participant: "ada", StartedAt: t0}))
		if i < 11 {
			ok[meeting.State](t)(s.EndMeeting(ctx, id, t0))
		}
		all = append([]string{id}, all...)
		if room == "a" {
			inA = append([]string{id}, inA...)
		}
	}
	for _, tt := range []struct {
		room  string
		limit int
		want  []string
	}{{"", 1, all}, {"", 5, all}, {"", 13, all}, {"", 100, all}, {"a", 3, inA}, {"a", 7, inA}, {"c", 3, nil}, {"", 0, all}} {
		var got []string
		cursor := ""
		for {
			ms, next, err := s.Meetings(ctx, tt.room, tt.limit, cursor)
			must(t, err)
			for _, m := range ms {
				got = append(got, m.ID)
				same(t, m, ok[meeting.Meeting](t)(s.Meeting(ctx, m.ID)))
				same(t, m.Tracks[0].ID, "T"+m.ID)
			}
			if next == "" {
				break
			}
			same(t, len(ms), max(tt.limit, 1))
			cursor = next
		}
		same(t, got, tt.want)
	}
	for i, id := range inA {
		var got []string
		for _, m := range ok[[]meeting.Meeting](t)(s.Before(ctx, ok[meeting.Meeting](t)(s.Meeting(ctx, id)), 3)) {
			got = append(got, m.ID)
		}
		same(t, strings.Join(got, " "), strings.Join(inA[i+1:min(i+4, len(inA))], " "))
	}
	var live []string
	for _, m := range ok[[]meeting.Meeting](t)(s.LiveMeetings(ctx)) {
		live = append(live, m.ID)
	}
	same(t, live, []string{"M12", "M11"})
}

func testPagingWhileGrowing(t *testing.T, s *Store) {
	ctx := t.Context()
	for i := range 4 {
		_, _, err := s.Join(ctx, fmt.Sprint("r", i), ada, "", fmt.Sprint("M", i), t0.Add(time.Duration(i)))
		must(t, err)
	}
	first, next, err := s.Meetings(ctx, "", 2, "")
	must(t, err)
	_, _, err = s.Join(ctx, "new", ada, "", "M9", t0.Add(time.Hour))
	must(t, err)
	must(t, s.Delete(ctx, first[1].ID)) // the one that the cursor speaks of
	rest, next, err := s.Meetings(ctx, "", 2, next)
	must(t, err)
	same(t, []string{rest[0].ID, rest[1].ID, next}, []string{"M1", "M0", ""})
}

func testBadCursors(t *testing.T, s *Store) {
	for _, c := range []string{"x", "!", "AAAA", "MTIz", "MSBh\x00", makeCursor(meeting.Meeting{ID: "\x00"}), "=="} {
		_, _, err := s.Meetings(t.Context(), "", 1, c)
		wantErr(t, err, ErrBadCursor)
	}
}

func testDelete(t *testing.T, s *Store) {
	ctx := t.Context()
	for _, id := range []string{"M", "N"} {
		tr := track(t, s, "T"+id, id, ada)
		ok[int64](t)(s.Commit(ctx, Commit{
			Track: tr.ID, Epoch: tr.Epoch, Through: 2, Gaps: []meeting.Gap{skipped(1, 2)},
			Segments: []transcript.Segment{seg(tr.ID, 0, 0, 1, "x")},
		}))
	}
	before := ok[meeting.Meeting](t)(s.Meeting(ctx, "N"))
	must(t, s.Delete(ctx, "M"))
	_, err := s.Meeting(ctx, "M")
	wantErr(t, err, ErrNotFound)
	wantErr(t, s.Delete(ctx, "M"), ErrNotFound)
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "N")), before)
	same(t, len(ok[[]transcript.Segment](t)(s.Transcript(ctx, "N"))), 1)
	same(t, len(ok[[]meeting.Gap](t)(s.Gaps(ctx, "N"))), 1)
	// The room is free, even for a meeting of the same id.
	same(t, len(join(t, s, "M", bob).Participants), 1)
}

func testNotFound(t *testing.T, s *Store) {
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Meeting":     func() error { _, err := s.Meeting(ctx, "x"); return err },
		"LiveMeeting": func() error { _, err := s.LiveMeeting(ctx, "x"); return err },
		"EndMeeting":  func() error { _, err := s.EndMeeting(ctx, "x", t0); return err },
		"Leave":       func() error { return s.Leave(ctx, "x", "x", "", t0) },
		"EndTrack":    func() error { return s.EndTrack(ctx, "x", "left", audio.Account{}) },
		"Claim":       func() error { _, err := s.Claim(ctx, "x"); return err },
		"FinishTrack": func() error { _, err := s.FinishTrack(ctx, "x", 1, meeting.TrackComplete, t0); return err },
		"Segments":    func() error { _, err := s.Segments(ctx, "x", 0, 1); return err },
		"Transcript":  func() error { _, err := s.Transcript(ctx, "x"); return err },
		"Gaps":        func() error { _, err := s.Gaps(ctx, "x"); return err },
		"Delete":      func() error { return s.Delete(ctx, "x") },
	} {
		if err := call(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testCancelled(t *testing.T, s *Store) {
	tr := track(t, s, "A", "M", ada)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{seg("A", 0, 0, 1, "x")}})
	wantErr(t, err, context.Canceled)
	wantErr(t, s.Delete(ctx, "M"), context.Canceled)
	same(t, numbers(ok[[]Numbered](t)(s.Segments(t.Context(), "M", 0, 9))), []int64(nil))
}
