package store

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

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
		"numbers":              testNumbers,
		"concurrent commits":   testConcurrentCommits,
		"segments":             testSegments,
		"finish track":         testFinishTrack,
		"completion":           testCompletion,
		"end meeting":          testEndMeeting,
		"meetings":             testMeetings,
		"paging while growing": testPagingWhileGrowing,
		"bad cursors":          testBadCursors,
		"unfinished tracks":    testUnfinishedTracks,
		"delete":               testDelete,
		"not found":            testNotFound,
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
	m, _, err := s.Join(t.Context(), "room-"+strings.ToLower(id), p, id, t0)
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

func numbers(ns []Numbered) (out []int64) {
	for _, n := range ns {
		out = append(out, n.N)
	}
	return out
}

func testJoin(t *testing.T, s *Store) {
	ctx := t.Context()
	m, created, err := s.Join(ctx, "r", ada, "M1", t0)
	must(t, err)
	want := meeting.Meeting{
		ID: "M1", Room: "r", State: meeting.StateLive, StartedAt: t0,
		Participants: []meeting.Participant{{ID: "ada", Name: "Ada", JoinedAt: t0}}, Tracks: []meeting.Track{},
	}
	same(t, m, want)
	same(t, created, true)

	t1 := t0.Add(time.Second)
	m, created, err = s.Join(ctx, "r", bob, "M2", t1)
	must(t, err)
	want.Participants = append(want.Participants, meeting.Participant{ID: "bob", Name: "Bob", JoinedAt: t1})
	same(t, m, want)
	same(t, created, false)

	must(t, s.Leave(ctx, "M1", "ada", t1))
	m, _, err = s.Join(ctx, "r", transcript.Participant{ID: "ada", Name: "Ada L."}, "M3", t1)
	must(t, err)
	want.Participants[0].Name = "Ada L."
	same(t, m, want)
	same(t, ok[meeting.Meeting](t)(s.LiveMeeting(ctx, "r")), want)

	// The room's next meeting is another one.
	ok[meeting.State](t)(s.EndMeeting(ctx, "M1", t1))
	m, created, err = s.Join(ctx, "r", ada, "M4", t1)
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
			m, created, err := s.Join(t.Context(), "r", p, fmt.Sprintf("M%d", i), t0)
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
	must(t, s.Leave(ctx, "M", "ada", t1))
	must(t, s.Leave(ctx, "M", "ada", t1.Add(time.Minute)))
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")).Participants,
		[]meeting.Participant{{ID: "ada", Name: "Ada", JoinedAt: t0, LeftAt: &t1}})
	wantErr(t, s.Leave(ctx, "M", "bob", t1), ErrNotFound)
	wantErr(t, s.Leave(ctx, "M2", "ada", t1), ErrNotFound)
}

func testCreateTrack(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	row := meeting.Track{ID: "A", Meeting: "M", Participant: "ada", StartedAt: t0}
	must(t, s.CreateTrack(ctx, row))
	row.State = meeting.TrackLive
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
		Skipped:  []meeting.Span{{Start: 100, End: 148, Reason: "shed"}, {Start: 7, End: 7}},
	}
	same(t, ok[int64](t)(s.Commit(ctx, c)), int64(2))
	same(t, ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Through: 4800})), int64(0))

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
	same(t, again.Skipped, c.Skipped[:1])
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
	c.Through, c.Account.Received, c.Skipped = 100, 200, []meeting.Span{{Start: 0, End: 5}}
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
		Segments: []transcript.Segment{seg("A", 7, 0, 1, "zombie")}, Skipped: []meeting.Span{{Start: 0, End: 9}},
	}
	_, err := s.Commit(ctx, late)
	wantErr(t, err, ErrNotOwner)
	_, err = s.FinishTrack(ctx, "A", old.Epoch, meeting.TrackComplete)
	wantErr(t, err, ErrNotOwner)
	same(t, ok[meeting.Meeting](t)(s.Meeting(ctx, "M")), before)
	same(t, numbers(ok[[]Numbered](t)(s.Segments(ctx, "M", 0, 10))), []int64{1})

	// A finished track is nobody's.
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", now.Epoch, meeting.TrackComplete))
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
		Skipped: []meeting.Span{{Start: 100 * ms, End: 150 * ms, Reason: "shed"}, {Start: 650 * ms, End: 800 * ms, Reason: "engine"}},
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

func testNumbers(t *testing.T, s *Store) {
	ctx := t.Context()
	tracks := []meeting.Track{track(t, s, "A", "M", ada), track(t, s, "B", "M", bob), track(t, s, "C", "M", ada), track(t, s, "D", "N", ada)}
	want := map[string]int64{}
	next := make([]int, len(tracks))
	rapid.Check(t, func(r *rapid.T) {
		i := rapid.IntRange(0, len(tracks)-1).Draw(r, "track")
		tr := tracks[i]
		c := Commit{Track: tr.ID, Epoch: tr.Epoch}
		for range rapid.IntRange(0, 3).Draw(r, "segments") {
			c.Segments = append(c.Segments, seg(tr.ID, next[i], 0, 1, "x"))
			next[i]++
		}
		if rapid.IntRange(0, 4).Draw(r, "zombie") == 0 {
			c.Epoch--
			if _, err := s.Commit(ctx, c); !errors.Is(err, ErrNotOwner) {
				t.Fatal(err)
			}
			return
		}
		last := ok[int64](t)(s.Commit(ctx, c))
		want[tr.Meeting] += int64(len(c.Segments))
		if len(c.Segments) > 0 {
			same(t, last, want[tr.Meeting])
		}
	})
	for _, m := range []string{"M", "N"} {
		for i, n := range ok[[]Numbered](t)(s.Segments(ctx, m, 0, 1000)) {
			same(t, n.N, int64(i+1))
		}
	}
}

// testConcurrentCommits: whoever sees a number has seen all before it.
func testConcurrentCommits(t *testing.T, s *Store) {
	const writers, commits = 4, 25
	var wg sync.WaitGroup
	for w := range writers {
		id := fmt.Sprintf("T%d", w)
		tr := track(t, s, id, "M", ada)
		wg.Go(func() {
			for n := range commits {
				if _, err := s.Commit(t.Context(), Commit{Track: id, Epoch: tr.Epoch, Segments: []transcript.Segment{seg(id, n, 0, 1, "x")}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var seen int64
	for seen < writers*commits && !t.Failed() {
		for _, n := range ok[[]Numbered](t)(s.Segments(t.Context(), "M", seen, 7)) {
			seen++
			same(t, n.N, seen)
		}
	}
	wg.Wait()
}

func testSegments(t *testing.T, s *Store) {
	ctx := t.Context()
	a, b := track(t, s, "A", "M", ada), track(t, s, "B", "M", bob)
	join(t, s, "empty", ada)
	commit := func(tr meeting.Track, segs ...transcript.Segment) {
		ok[int64](t)(s.Commit(ctx, Commit{Track: tr.ID, Epoch: tr.Epoch, Segments: segs}))
	}
	commit(b, seg("B", 0, 50, 60, ""), seg("B", 1, 20, 30, ""))
	commit(a, seg("A", 9, 20, 30, ""), seg("A", 10, 20, 30, ""), seg("A", 11, 20, 25, ""))

	var got []string
	for _, sg := range ok[[]transcript.Segment](t)(s.Transcript(ctx, "M")) {
		got = append(got, sg.ID)
	}
	same(t, got, []string{"A.11", "A.9", "A.10", "B.1", "B.0"})

	for _, tt := range []struct {
		after int64
		limit int
		want  []int64
	}{{0, 10, []int64{1, 2, 3, 4, 5}}, {0, 2, []int64{1, 2}}, {2, 2, []int64{3, 4}}, {4, 9, []int64{5}}, {5, 9, nil}, {99, 9, nil}, {0, 0, []int64{1}}} {
		same(t, numbers(ok[[]Numbered](t)(s.Segments(ctx, "M", tt.after, tt.limit))), tt.want)
	}
	same(t, ok[[]Numbered](t)(s.Segments(ctx, "empty", 0, 9)), []Numbered{})
	same(t, ok[[]transcript.Segment](t)(s.Transcript(ctx, "empty")), []transcript.Segment{})
}

func testFinishTrack(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", ada)
	finish := func(st meeting.TrackState) (meeting.State, error) { return s.FinishTrack(ctx, "A", tr.Epoch, st) }
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
				got := ok[meeting.State](t)(s.FinishTrack(ctx, tracks[i].ID, tracks[i].Epoch, st))
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

func testEndMeeting(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	join(t, s, "M", bob)
	t1, t2 := t0.Add(time.Second), t0.Add(time.Minute)
	must(t, s.Leave(ctx, "M", "ada", t1))
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
		_, _, err := s.Join(ctx, room, ada, id, t0.Add(time.Duration(i/4)*time.Second))
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
	var live []string
	for _, m := range ok[[]meeting.Meeting](t)(s.LiveMeetings(ctx)) {
		live = append(live, m.ID)
	}
	same(t, live, []string{"M12", "M11"})
}

func testPagingWhileGrowing(t *testing.T, s *Store) {
	ctx := t.Context()
	for i := range 4 {
		_, _, err := s.Join(ctx, fmt.Sprint("r", i), ada, fmt.Sprint("M", i), t0.Add(time.Duration(i)))
		must(t, err)
	}
	first, next, err := s.Meetings(ctx, "", 2, "")
	must(t, err)
	_, _, err = s.Join(ctx, "new", ada, "M9", t0.Add(time.Hour))
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

func testUnfinishedTracks(t *testing.T, s *Store) {
	ctx := t.Context()
	track(t, s, "C", "M", ada) // live
	b := track(t, s, "B", "M", ada)
	a := track(t, s, "A", "N", bob)
	ok[int64](t)(s.Commit(ctx, Commit{Track: "B", Epoch: b.Epoch, Through: 9, Skipped: []meeting.Span{{Start: 1, End: 3, Reason: "shed"}}}))
	must(t, s.EndTrack(ctx, "A", "left", audio.Account{}))
	must(t, s.EndTrack(ctx, "B", "left", audio.Account{}))
	ids := func() (ids []string) {
		for _, tr := range ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx)) {
			ids = append(ids, tr.ID)
		}
		return ids
	}
	same(t, ids(), []string{"A", "B", "C"})
	ok[meeting.State](t)(s.FinishTrack(ctx, "A", a.Epoch, meeting.TrackComplete))
	same(t, ids(), []string{"B", "C"})
	got := ok[[]meeting.Track](t)(s.UnfinishedTracks(ctx))[0]
	same(t, got.Meeting, "M")
	same(t, got.Through, int64(9))
	same(t, got.Skipped, []meeting.Span{{Start: 1, End: 3, Reason: "shed"}})
}

func testDelete(t *testing.T, s *Store) {
	ctx := t.Context()
	for _, id := range []string{"M", "N"} {
		tr := track(t, s, "T"+id, id, ada)
		ok[int64](t)(s.Commit(ctx, Commit{
			Track: tr.ID, Epoch: tr.Epoch, Skipped: []meeting.Span{{Start: 1, End: 2}},
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
	// The room is free, even for a meeting of the same id.
	same(t, len(join(t, s, "M", bob).Participants), 1)
}

func testNotFound(t *testing.T, s *Store) {
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Meeting":     func() error { _, err := s.Meeting(ctx, "x"); return err },
		"LiveMeeting": func() error { _, err := s.LiveMeeting(ctx, "x"); return err },
		"EndMeeting":  func() error { _, err := s.EndMeeting(ctx, "x", t0); return err },
		"Leave":       func() error { return s.Leave(ctx, "x", "x", t0) },
		"EndTrack":    func() error { return s.EndTrack(ctx, "x", "left", audio.Account{}) },
		"Claim":       func() error { _, err := s.Claim(ctx, "x"); return err },
		"FinishTrack": func() error { _, err := s.FinishTrack(ctx, "x", 1, meeting.TrackComplete); return err },
		"Segments":    func() error { _, err := s.Segments(ctx, "x", 0, 1); return err },
		"Transcript":  func() error { _, err := s.Transcript(ctx, "x"); return err },
		"Delete":      func() error { return s.Delete(ctx, "x") },
	} {
		if err := call(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testText(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", transcript.Participant{ID: "x", Name: "\x00O'Neil\xff"})
	texts := []string{"", "'; DROP TABLE segments; --", "世界 🎤", strings.Repeat("long ", 10_000), "$1 ?1 :a"}
	for i, text := range texts {
		ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{seg("A", i, int64(i), 0, text)}}))
	}
	ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{seg("A", 99, 99, 0, "a\x00b\xffc")}}))
	var got []string
	for _, sg := range ok[[]transcript.Segment](t)(s.Transcript(ctx, "M")) {
		got = append(got, sg.Text)
		same(t, sg.Participant.Name, "\uFFFDO'Neil\uFFFD")
	}
	same(t, got, slices.Concat(texts, []string{"a\uFFFDb\uFFFDc"}))
}
