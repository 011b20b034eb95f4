//go:build postgres

package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func TestNodes(t *testing.T) {
	c := startCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"join at once":      testJoinAtOnce,
		"move":              testMove,
		"dead and back":     testDeadAndBack,
		"restart":           testRestartKillsNobody,
		"end elsewhere":     testEndElsewhere,
		"empty":             testEmptyOnAll,
		"leaving not told":  testLeavingNotTold,
		"own tracks":        testOwnTracks,
		"give up":           testGiveUpNode,
		"give up is told":   testGiveUpIsTold,
		"one of a name":     testOneOfAName,
		"name lost":         testNameLost,
		"erased elsewhere":  testErasedElsewhere,
		"one sender":        testOneSender,
		"others' endpoints": testOthersEndpoints,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// named is a store of a node of that name, which takes others for dead after a
// minute: longer than a test lets them wait.
func (c *cluster) named(t testing.TB, database, id string) *Store {
	t.Helper()
	return c.strict(t, database, id, time.Minute)
}

// strict is named with another time after which others are dead.
func (c *cluster) strict(t testing.TB, database, id string, deadAfter time.Duration) *Store {
	t.Helper()
	s := c.node(t, database)
	s.self.deadAfter = deadAfter
	must(t, s.SetNode(t.Context(), id, "https://"+id+".example"))
	return s
}

// member is a node with a registry, and what became of its sessions.
type member struct {
	*meeting.Registry
	store *Store
	stop  func()

	mu     sync.Mutex
	closed map[string]audio.Reason
	events []string
}

func (c *cluster) member(t testing.TB, database, id string, linger time.Duration) *member {
	t.Helper()
	return newMember(t, c.named(t, database, id), linger)
}

func newMember(t testing.TB, s *Store, linger time.Duration) *member {
	t.Helper()
	m := &member{store: s, closed: map[string]audio.Reason{}}
	var err error
	m.Registry, err = meeting.NewRegistry(t.Context(), meeting.Config{
		Store: m.store, Linger: linger, Logger: slog.New(slog.DiscardHandler),
		Publish: func(e meeting.Event) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.events = append(m.events, e.Type)
		},
		CloseSession: func(session string, r audio.Reason) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.closed[session] = r
			return true
		},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(done)
	}()
	m.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(m.stop)
	return m
}

func (m *member) reason(session string) audio.Reason {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed[session]
}

func (m *member) told(kind string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range m.events {
		if e == kind {
			n++
		}
	}
	return n
}

// until waits for what nodes find out by themselves; each is woken as by an event.
func until(t testing.TB, what string, is func() bool, nodes ...*member) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("never: " + what)
		}
		for _, n := range nodes {
			n.Wake()
		}
	}
}

func present(t testing.TB, s *Store, id string) (who []string) {
	t.Helper()
	for _, p := range ok[meeting.Meeting](t)(s.Meeting(t.Context(), id)).Participants {
		if p.LeftAt == nil {
			who = append(who, p.ID)
		}
	}
	return who
}

func testJoinAtOnce(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	nodes := []*member{c.member(t, database, "n1", time.Hour), c.member(t, database, "n2", time.Hour)}
	for round := range 10 {
		var wg sync.WaitGroup
		meetings := make([]string, 8)
		for i := range meetings {
			wg.Go(func() {
				s, err := nodes[i%2].Join(t.Context(), fmt.Sprint("room", round), transcript.Participant{ID: fmt.Sprint("p", i)})
				if err != nil {
					t.Error(err)
				}
				meetings[i] = s.Meeting
			})
		}
		wg.Wait()
		same(t, len(slices.Compact(meetings)), 1)
		same(t, len(present(t, nodes[0].store, meetings[0])), len(meetings))
	}
	same(t, nodes[0].told(meeting.EventState)+nodes[1].told(meeting.EventState), 10)
}

// A participant joins on another node, and the session on the first one ends, without
// a leaving, in whatever order this is noticed.
func testMove(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	a, b := c.member(t, database, "n1", time.Hour), c.member(t, database, "n2", time.Hour)
	first := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	second := ok[meeting.Membership](t)(b.Join(t.Context(), "r", ada))
	same(t, second.Meeting, first.Meeting)
	until(t, "the first session is replaced", func() bool { return a.reason(first.Session) == audio.ReasonReplaced }, a)
	must(t, a.SessionClosed(t.Context(), first.Session))
	same(t, present(t, a.store, first.Meeting), []string{"ada"})
	same(t, a.told(meeting.EventLeft), 0)
	// Back, and the session of the other node closes before that notices.
	third := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	must(t, b.SessionClosed(t.Context(), second.Session))
	same(t, present(t, a.store, first.Meeting), []string{"ada"})
	same(t, b.told(meeting.EventLeft), 0)
	must(t, a.SessionClosed(t.Context(), third.Session))
	same(t, present(t, a.store, first.Meeting), []string(nil))
	same(t, a.told(meeting.EventLeft), 1)
	// No id of a session is in the database, and none of what is there ends one.
	for _, id := range []string{first.Session, second.Session, third.Session} {
		var n int
		must(t, a.store.db.QueryRow("SELECT COUNT(*) FROM participants WHERE session = $1", id).Scan(&n))
		same(t, n, 0)
	}
}

// soonDead is how long a node may be silent where others wait for its death. A beat may
// take a third of it.
const soonDead = 2 * time.Second

// A node is silent, is taken for dead, and comes back with its sessions.
func testDeadAndBack(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a := newMember(t, c.strict(t, database, "n1", soonDead), time.Hour)
	b := newMember(t, c.strict(t, database, "n2", soonDead), time.Hour)
	stays := ok[meeting.Membership](t)(a.Join(ctx, "r", ada))
	moves := ok[meeting.Membership](t)(a.Join(ctx, "r", bob))
	must(t, a.store.CreateTrack(ctx, meeting.Track{ID: "T", Meeting: stays.Meeting, Participant: "ada", StartedAt: t0}))
	a.stop() // the registry does not beat any more
	state := func() meeting.TrackState {
		return ok[meeting.Meeting](t)(b.store.Meeting(ctx, stays.Meeting)).Tracks[0].State
	}
	same(t, state(), meeting.TrackLive)
	until(t, "n1 is dead", func() bool { return state() == meeting.TrackPending }, b)
	until(t, "its participants have left", func() bool { return b.told(meeting.EventLeft) == 2 }, b)
	same(t, len(present(t, b.store, stays.Meeting)), 0)
	// Nobody else finishes its track, and the meeting waits for it.
	same(t, len(ok[[]meeting.Track](t)(b.store.UnfinishedTracks(ctx))), 0)
	ok[meeting.Membership](t)(b.Join(ctx, "r", bob))

	// It was not dead. Whoever is with it is back, but for who is elsewhere by now.
	beat := ok[meeting.Beat](t)(a.store.Beat(ctx, time.Now()))
	same(t, beat.Dead, true)
	same(t, state(), meeting.TrackLive)
	open := map[string]bool{meeting.SessionKey(stays.Session): true, meeting.SessionKey(moves.Session): true}
	seats := ok[[]meeting.Seat](t)(a.store.Seats(ctx, open, time.Now()))
	same(t, len(seats), 1)
	same(t, seats[0].Back, true)
	same(t, present(t, b.store, stays.Meeting), []string{"ada", "bob"})
	same(t, len(ok[[]meeting.Track](t)(a.store.UnfinishedTracks(ctx))), 1)
}

// A database that was away kills nobody.
func testRestartKillsNobody(t *testing.T, _ *cluster) {
	c := startCluster(t)
	database := c.Database(c.template)
	a := newMember(t, c.strict(t, database, "n1", soonDead), time.Hour)
	b := newMember(t, c.strict(t, database, "n2", soonDead), time.Hour)
	m := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	for began := time.Now(); time.Since(began) < 2*soonDead; time.Sleep(50 * time.Millisecond) {
		a.Wake()
		b.Wake()
	}
	c.Down()
	time.Sleep(soonDead + time.Second) // longer than a node may be silent
	c.Up()
	// b beats first, and looks for others at once.
	same(t, len(ok[meeting.Beat](t)(b.store.Beat(t.Context(), time.Now())).Nodes), 0)
	for began := time.Now(); time.Since(began) < soonDead+2*time.Second; time.Sleep(50 * time.Millisecond) {
		a.Wake()
		b.Wake()
		var killed int
		must(t, a.store.db.QueryRow("SELECT COUNT(*) FROM nodes WHERE alive = 0").Scan(&killed))
		if killed > 0 {
			t.Fatal("a node was declared dead")
		}
	}
	same(t, present(t, b.store, m.Meeting), []string{"ada"})
}

func testEndElsewhere(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	a, b := c.member(t, database, "n1", time.Hour), c.member(t, database, "n2", time.Hour)
	s := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	same(t, ok[meeting.State](t)(b.End(t.Context(), s.Meeting)), meeting.StateComplete)
	same(t, ok[meeting.State](t)(a.End(t.Context(), s.Meeting)), meeting.StateComplete)
	same(t, b.told(meeting.EventEnded), 1)
	same(t, a.told(meeting.EventEnded), 0)
	until(t, "its session ends", func() bool { return a.reason(s.Session) == audio.ReasonServer }, a)
	if _, err := a.Session(s.Session); err == nil {
		t.Error("the session goes on")
	}
	must(t, a.SessionClosed(t.Context(), s.Session))
}

// An empty room's meeting ends once, and not while somebody is there by any node.
func testEmptyOnAll(t *testing.T, c *cluster) {
	const linger = 600 * time.Millisecond
	database := c.Database(c.template)
	a, b := c.member(t, database, "n1", linger), c.member(t, database, "n2", linger)
	first := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	second := ok[meeting.Membership](t)(b.Join(t.Context(), "r", bob))
	must(t, a.SessionClosed(t.Context(), first.Session))
	time.Sleep(3 * linger)
	same(t, ok[meeting.Meeting](t)(a.store.Meeting(t.Context(), first.Meeting)).State, meeting.StateLive)
	must(t, b.SessionClosed(t.Context(), second.Session))
	until(t, "the meeting ends", func() bool { return a.told(meeting.EventEnded)+b.told(meeting.EventEnded) > 0 })
	time.Sleep(linger)
	same(t, a.told(meeting.EventEnded)+b.told(meeting.EventEnded), 1)
}

// A leaving that could not be stored is made good.
func testLeavingNotTold(t *testing.T, c *cluster) {
	a := c.member(t, c.Database(c.template), "n1", time.Hour)
	s := ok[meeting.Membership](t)(a.Join(t.Context(), "r", ada))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if a.SessionClosed(cancelled, s.Session) == nil {
		t.Fatal("it was stored")
	}
	until(t, "ada has left", func() bool { return a.told(meeting.EventLeft) == 1 }, a)
	same(t, len(present(t, a.store, s.Meeting)), 0)
}

func testOwnTracks(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.named(t, database, "n2")
	ta, tb := track(t, a, "A", "M", ada), track(t, b, "B", "M", bob)
	track(t, b, "C", "N", bob)
	ids := func(ts []meeting.Track) (ids []string) {
		for _, x := range ts {
			ids = append(ids, x.ID)
		}
		return ids
	}
	same(t, ids(ok[[]meeting.Track](t)(a.UnfinishedTracks(ctx))), []string{"A"})
	same(t, ids(ok[[]meeting.Track](t)(b.UnfinishedTracks(ctx))), []string{"B", "C"})
	for s, tr := range map[*Store]meeting.Track{a: ta, b: tb} {
		must(t, s.EndTrack(ctx, tr.ID, "left", audio.Account{}))
		ok[meeting.State](t)(s.FinishTrack(ctx, tr.ID, tr.Epoch, meeting.TrackComplete, t0))
	}
	same(t, ids(ok[[]meeting.Track](t)(a.ExpiredTracks(ctx, t0, false, false, meeting.Track{}, 9))), []string{"A"})
	same(t, ids(ok[[]meeting.Track](t)(b.ExpiredTracks(ctx, t0, false, false, meeting.Track{}, 9))), []string{"B"})
	tc := ok[meeting.Track](t)(b.Claim(ctx, "C"))
	must(t, b.EndTrack(ctx, "C", "left", audio.Account{}))
	ok[meeting.State](t)(b.FinishTrack(ctx, "C", tc.Epoch, meeting.TrackComplete, t0))
	for _, id := range []string{"M", "N"} {
		ok[meeting.State](t)(a.EndMeeting(ctx, id, t0))
	}
	// M's audio is nowhere whole.
	same(t, len(ok[[]string](t)(a.Unrecorded(ctx))), 0)
	same(t, ok[[]string](t)(b.Unrecorded(ctx)), []string{"N"})
}

func testGiveUpNode(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.named(t, database, "n2")
	live, pending := track(t, a, "L", "M", ada), track(t, a, "P", "M", ada)
	whole := track(t, b, "W", "M", bob)
	for _, tr := range []meeting.Track{live, pending} {
		ok[int64](t)(a.Commit(ctx, Commit{
			Track: tr.ID, Epoch: tr.Epoch, Through: 48_000, Account: audio.Account{Received: 96_000},
			Segments: []transcript.Segment{seg(tr.ID, 0, 0, 1000, "said")}, Gaps: []meeting.Gap{skipped(0, 4800)},
		}))
	}
	must(t, a.EndTrack(ctx, "P", "left", audio.Account{Received: 144_000}))
	must(t, b.EndTrack(ctx, "W", "left", audio.Account{}))
	ok[meeting.State](t)(b.FinishTrack(ctx, "W", whole.Epoch, meeting.TrackComplete, t0))
	same(t, ok[meeting.State](t)(b.EndMeeting(ctx, "M", t0)), meeting.StateEnded)

	_, err := b.GiveUpNode(ctx, "n1", t0)
	wantErr(t, err, ErrAlive)
	_, err = b.GiveUpNode(ctx, "n3", t0)
	wantErr(t, err, ErrNotFound)
	// It falls silent, and no other node is there to find that.
	_, err = a.db.Exec("UPDATE nodes SET seen_at = 1 WHERE id = 'n1'")
	must(t, err)
	for _, n := range ok[[]Node](t)(b.Nodes(ctx)) {
		same(t, n.Alive, n.ID == "n2")
	}
	same(t, ok[int](t)(b.GiveUpNode(ctx, "n1", t0)), 2)
	same(t, ok[int](t)(b.GiveUpNode(ctx, "n1", t0)), 0)
	m := ok[meeting.Meeting](t)(b.Meeting(ctx, "M"))
	same(t, m.State, meeting.StateIncomplete)
	for _, tr := range m.Tracks {
		if tr.ID == "W" {
			continue
		}
		v := tr.Coverage
		same(t, tr.State, meeting.TrackIncomplete)
		same(t, v.PendingMS, int64(0))
		same(t, v.TranscribedMS+v.SkippedMS, v.DurationMS)
		same(t, v.SkippedMS, v.DurationMS-900)
	}
	gaps := ok[[]meeting.Gap](t)(b.Gaps(ctx, "M"))
	same(t, gaps[1], meeting.Gap{Track: "L", Kind: transcript.Skipped, Start: 48_000, End: 96_000, Ticks: 48_000, StartMS: 1000, EndMS: 2000, Reason: "node given up"})
	same(t, gaps[3].End, int64(144_000))
	// Should it come back:
	same(t, len(ok[[]meeting.Track](t)(a.UnfinishedTracks(ctx))), 0)
	_, err = a.Commit(ctx, Commit{Track: "L", Epoch: live.Epoch, Through: 96_000})
	wantErr(t, err, ErrNotOwner)
	_, err = a.FinishTrack(ctx, "P", pending.Epoch, meeting.TrackComplete, t0)
	wantErr(t, err, ErrNotOwner)
}

// testGiveUpIsTold: what an operator completes is told of once, by a node that knows
// to whom.
func testGiveUpIsTold(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b, operator := c.named(t, database, "n1"), c.named(t, database, "n2"), c.node(t, database)
	track(t, a, "L", "M", ada)
	track(t, a, "N", "N", ada) // goes on
	ok[meeting.State](t)(a.EndMeeting(ctx, "M", t0))
	_, err := a.db.Exec("UPDATE nodes SET alive = 0 WHERE id = 'n1'")
	must(t, err)
	same(t, ok[int](t)(operator.GiveUpNode(ctx, "n1", t0)), 2)
	same(t, len(ok[meeting.Beat](t)(b.Beat(ctx, t0)).Ended), 0) // it has not said yet whom it tells
	same(t, ok[int64](t)(b.SetOutbox(ctx, Outbox{Endpoints: []string{"e", "f"}, Types: allEvents})), int64(0))
	same(t, ok[meeting.Beat](t)(b.Beat(ctx, t0)).Ended, []meeting.Ended{{Meeting: "M", Room: "room-m", State: meeting.StateIncomplete}})
	same(t, len(ok[meeting.Beat](t)(b.Beat(ctx, t0)).Ended), 0)
	for _, endpoint := range []string{"e", "f"} {
		d, found, _, err := b.NextDelivery(ctx, endpoint, time.Now())
		must(t, err)
		if !found || d.Type != MeetingComplete || !strings.Contains(string(d.Body), `"state":"incomplete"`) || !strings.Contains(string(d.Body), `"id":"M"`) {
			t.Errorf("%s is told %s %s", endpoint, d.Type, d.Body)
		}
		same(t, ok[int64](t)(b.PendingDeliveries(ctx, endpoint)), int64(1))
	}
	// What a node completes it tells of by itself.
	same(t, ok[meeting.State](t)(b.EndMeeting(ctx, "N", t0)), meeting.StateIncomplete)
	same(t, len(ok[meeting.Beat](t)(b.Beat(ctx, t0)).Ended), 0)
}

// testOneOfAName: no two processes are one node, but one follows the other at once.
func testOneOfAName(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.node(t, database)
	c.named(t, database, "n2")
	c.named(t, c.Database(c.template), "n1") // in another database
	b.self.deadAfter = time.Minute
	beating, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for beating.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			if _, err := a.Beat(ctx, time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	began := time.Now()
	wantErr(t, b.SetNode(ctx, "n1", ""), ErrNameTaken)
	if took := time.Since(began); took > 30*time.Second { // and not the minute
		t.Errorf("it took %v", took)
	}
	stop()
	wg.Wait()
	// One that says nothing, and is connected.
	b.self.deadAfter = 500 * time.Millisecond
	wantErr(t, b.SetNode(ctx, "n1", ""), ErrNameTaken)
	// It lets go, or has died.
	b.self.deadAfter = time.Minute
	for _, end := range []func(){func() { must(t, a.Close()) }, func() { cut(t, c, database, "n1") }} {
		wg.Go(func() {
			time.Sleep(100 * time.Millisecond)
			end()
		})
		began = time.Now()
		must(t, b.SetNode(ctx, "n1", ""))
		wg.Wait()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
		b.leaveName()
		a = c.named(t, database, "n1")
	}
}

// cut has PostgreSQL lose the connection that holds a node's name.
func cut(t testing.TB, c *cluster, database, node string) {
	s := c.node(t, database)
	var n int
	err := s.db.QueryRow(`
		WITH holders AS (SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND d.datname = current_database()
			AND (CAST(l.classid AS BIGINT) << 32 | CAST(l.objid AS BIGINT)) = hashtextextended('verbatim node ' || CAST($1 AS TEXT), 0))
		SELECT COUNT(*) FROM holders WHERE pg_terminate_backend(pid, 10000)`, node).Scan(&n)
	if err != nil || n != 1 {
		t.Errorf("%d connections hold the name: %v", n, err)
	}
}

// testNameLost: a node that loses its name takes it again, or knows that it cannot.
func testNameLost(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.node(t, database)
	a.self.deadAfter, b.self.deadAfter = soonDead, 100*time.Millisecond
	cut(t, c, database, "n1")
	ok[meeting.Beat](t)(a.Beat(ctx, t0))
	wantErr(t, b.SetNode(ctx, "n1", ""), ErrNameTaken)
	cut(t, c, database, "n1")
	b.self.deadAfter = time.Minute
	must(t, b.SetNode(ctx, "n1", ""))
	ok[meeting.Beat](t)(a.Beat(ctx, t0)) // it may be its own connection that PostgreSQL has not missed yet
	must(t, a.Writable(ctx))
	time.Sleep(a.self.deadAfter)
	_, err := a.Beat(ctx, t0)
	wantErr(t, err, ErrNameTaken)
	wantErr(t, a.Writable(ctx), ErrNameTaken)
	must(t, b.Close())
	for began := time.Now(); err != nil; _, err = a.Beat(ctx, t0) {
		if time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}
	must(t, a.Writable(ctx))
}

func testErasedElsewhere(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.named(t, database, "n2")
	track(t, a, "A", "M", ada)
	track(t, b, "B", "M", bob)
	must(t, a.Delete(ctx, "M"))
	same(t, ok[[]string](t)(a.ErasedElsewhere(ctx)), []string{})
	for range 2 {
		same(t, ok[[]string](t)(b.ErasedElsewhere(ctx)), []string{"M"})
	}
	must(t, b.LogsErased(ctx, "M"))
	same(t, ok[[]string](t)(b.ErasedElsewhere(ctx)), []string{})
}

// testOneSender: an endpoint is one node's at a time, and another's when that one has
// nothing to send, or is gone.
func testOneSender(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.named(t, database, "n2")
	for _, s := range []*Store{a, b} {
		ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"e"}, Types: allEvents}))
	}
	join(t, a, "M", ada) // two events
	next := func(s *Store) (int64, time.Duration) {
		t.Helper()
		now := time.Now()
		d, ok, at, err := s.NextDelivery(ctx, "e", now)
		must(t, err)
		same(t, ok, d.N > 0)
		return d.N, at.Sub(now)
	}
	first, _ := next(a)
	n, wait := next(b)
	same(t, n, int64(0))
	if wait <= 50*time.Second || wait > leaseTime {
		t.Errorf("waits %v", wait)
	}
	must(t, a.Delivered(ctx, first))
	second, _ := next(a)
	if n, _ := next(b); n != 0 || second <= first {
		t.Errorf("sends %d while %d is sent", n, second)
	}
	// The node is gone.
	_, err := a.db.Exec("UPDATE endpoints SET until = 1")
	must(t, err)
	n, _ = next(b)
	same(t, n, second)
	must(t, b.Delivered(ctx, n))
	n, _ = next(b) // it has nothing more
	same(t, n, int64(0))
	must(t, a.Leave(ctx, "M", "ada", "", t0))
	third, _ := next(a)
	if third <= second {
		t.Errorf("sends %d after %d", third, second)
	}
	// Many at once: each event once.
	var mu sync.Mutex
	sent := map[int64]int{}
	var wg sync.WaitGroup
	for i := range 30 {
		_, _, err := a.Join(ctx, "room-m", transcript.Participant{ID: fmt.Sprint("p", i)}, "", "x", t0)
		must(t, err)
	}
	must(t, a.Delivered(ctx, third))
	for _, s := range []*Store{a, b} {
		wg.Go(func() {
			for {
				d, ok, at, err := s.NextDelivery(ctx, "e", time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				if !ok && at.IsZero() {
					return
				}
				if !ok {
					time.Sleep(time.Millisecond)
					if n, err := s.PendingDeliveries(ctx, "e"); err != nil || n == 0 {
						return
					}
					continue
				}
				mu.Lock()
				sent[d.N]++
				mu.Unlock()
				if err := s.Delivered(ctx, d.N); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	same(t, len(sent), 30)
	for n, times := range sent {
		if times != 1 {
			t.Errorf("event %d was sent %d times", n, times)
		}
	}
}

// testOthersEndpoints: a node that is started with other webhooks takes nothing from
// those that have them.
func testOthersEndpoints(t *testing.T, c *cluster) {
	ctx := t.Context()
	database := c.Database(c.template)
	a, b := c.named(t, database, "n1"), c.named(t, database, "n2")
	ok[int64](t)(a.SetOutbox(ctx, Outbox{Endpoints: []string{"e"}, Types: allEvents}))
	_, _, err := a.Join(ctx, "old", ada, "", "O", time.Now().Add(-48*time.Hour))
	must(t, err)
	_, _, err = a.Join(ctx, "new", ada, "", "N", time.Now())
	must(t, err)
	same(t, ok[int64](t)(b.SetOutbox(ctx, Outbox{Endpoints: []string{"f"}, Types: allEvents})), int64(2))
	same(t, ok[int64](t)(a.PendingDeliveries(ctx, "e")), int64(2))
}
