//go:build postgres

package store

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// crew are nodes that keep recordings, and meetings that are over.
type crew struct {
	t     *testing.T
	nodes map[string]*Store
}

func (c *cluster) crew(t *testing.T, buckets map[string]string) *crew {
	database := c.Database(c.template)
	all := &crew{t, map[string]*Store{}}
	for id, bucket := range buckets {
		all.nodes[id] = c.named(t, database, id)
		must(t, all.nodes[id].SetBucket(t.Context(), bucket))
	}
	return all
}

// over makes a meeting that is over, with a track of each of the nodes, which has the
// id of the meeting with the node's after it.
func (c *crew) over(id string, nodes ...string) {
	c.t.Helper()
	ctx := c.t.Context()
	for _, n := range nodes {
		s, who := c.nodes[n], transcript.Participant{ID: n, Name: n}
		_, _, err := s.Join(ctx, "room-"+id, who, "", id, t0)
		must(c.t, err)
		must(c.t, s.CreateTrack(ctx, meeting.Track{ID: id + n, Meeting: id, Participant: n, StartedAt: t0}))
		tr := ok[meeting.Track](c.t)(s.Claim(ctx, id+n))
		must(c.t, s.EndTrack(ctx, tr.ID, "left", audio.Account{}))
		ok[meeting.State](c.t)(s.FinishTrack(ctx, tr.ID, tr.Epoch, meeting.TrackComplete, t0))
	}
	ok[meeting.State](c.t)(c.nodes[nodes[0]].EndMeeting(ctx, id, t0))
}

// todo is what each node has to do: "n1: record M, hand over Nn1".
func (c *crew) todo(node string) string {
	c.t.Helper()
	s := c.nodes[node]
	what := append([]string{}, ok[[]string](c.t)(s.Unrecorded(c.t.Context()))...)
	for _, tr := range ok[[]meeting.Track](c.t)(s.ToHandOver(c.t.Context())) {
		what = append(what, "+"+tr.ID)
	}
	for _, tr := range ok[[]meeting.Track](c.t)(s.UsedParts(c.t.Context())) {
		what = append(what, "-"+tr.ID)
	}
	return strings.Join(what, " ")
}

func (c *crew) want(node, todo string) {
	c.t.Helper()
	if got := c.todo(node); got != todo {
		c.t.Errorf("%s has to do %q, not %q", node, got, todo)
	}
}

func (c *crew) dead(node string) {
	c.t.Helper()
	_, err := c.nodes[node].db.Exec("UPDATE nodes SET alive = 0 WHERE id = $1", node)
	must(c.t, err)
}

func TestRecordTogether(t *testing.T) {
	c := startCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"two": testTwoRecord, "one records": testOneRecords, "given up": testGivenUpIsNotAwaited, "back": testGivenUpIsBack,
		"other buckets": testOtherBuckets, "erased": testErasedWhileRecorded, "peers": testPeers,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// testTwoRecord: all hand over, and who finds all others' parts may record.
func testTwoRecord(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B", "n3": "B"})
	a, b := all.nodes["n1"], all.nodes["n2"]
	all.over("M", "n1", "n2")
	all.over("N", "n1") // all its audio is in one place
	all.want("n1", "N +Mn1")
	all.want("n2", "+Mn2")
	all.want("n3", "")
	same(t, ok[bool](t)(b.ClaimRecording(ctx, "M")), false)
	same(t, ok[bool](t)(b.ClaimRecording(ctx, "N")), false)

	must(t, a.SetPart(ctx, "Mn1", "B"))
	all.want("n1", "N")
	all.want("n2", "M +Mn2")
	m := ok[meeting.Meeting](t)(b.Meeting(ctx, "M"))
	same(t, []bool{b.HandedOver(m.Tracks[0]), b.HandedOver(m.Tracks[1]), b.Elsewhere(m.Tracks[0])}, []bool{true, false, true})
	same(t, ok[bool](t)(b.ClaimRecording(ctx, "M")), true)
	must(t, b.SetRecorded(ctx, "M", t0))
	m = ok[meeting.Meeting](t)(a.Meeting(ctx, "M"))
	same(t, []any{m.Recorder, a.RecordedElsewhere(m), b.RecordedElsewhere(m)}, []any{"n2", true, false})
	for _, n := range []string{"n2", "n3"} { // anybody may remove what was used
		all.want(n, "-Mn1")
	}
	must(t, b.PartGone(ctx, "Mn1", "B"))
	all.want("n3", "")
	all.want("n1", "N")

	// Both were as fast; a node that has no track of it may record, too.
	all.over("O", "n1", "n2")
	must(t, a.SetPart(ctx, "On1", "B"))
	must(t, b.SetPart(ctx, "On2", "B"))
	for n, todo := range map[string]string{"n1": "N O", "n2": "O", "n3": "O"} {
		all.want(n, todo)
	}
}

// testOneRecords: of many that claim at once one may, until it does not claim any more.
func testOneRecords(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B"})
	a, b := all.nodes["n1"], all.nodes["n2"]
	all.over("M", "n1", "n2")
	must(t, a.SetPart(ctx, "Mn1", "B"))
	must(t, b.SetPart(ctx, "Mn2", "B"))
	var mine [2]atomic.Int32
	var wg sync.WaitGroup
	for range 5 {
		for i, s := range []*Store{a, b} {
			wg.Go(func() {
				if is, err := s.ClaimRecording(ctx, "M"); err != nil {
					t.Error(err)
				} else if is {
					mine[i].Add(1)
				}
			})
		}
	}
	wg.Wait()
	if mine[0].Load()+mine[1].Load() != 5 || mine[0].Load()*mine[1].Load() != 0 {
		t.Fatalf("claimed %d and %d times", mine[0].Load(), mine[1].Load())
	}
	first, second := "n1", "n2"
	if mine[1].Load() > 0 {
		first, second = second, first
	}
	all.want(first, "M") // after a crash, say
	all.want(second, "")
	_, err := a.db.Exec("UPDATE meetings SET recorder_until = recorder_until - $1", (ClaimFor + time.Second).Microseconds())
	must(t, err)
	all.want(second, "M")
	same(t, ok[bool](t)(all.nodes[second].ClaimRecording(ctx, "M")), true)
	same(t, ok[bool](t)(all.nodes[first].ClaimRecording(ctx, "M")), false)
	must(t, all.nodes[first].SetRecorded(ctx, "M", t0)) // late, and the same files
	same(t, ok[bool](t)(all.nodes[second].ClaimRecording(ctx, "M")), false)
}

// testGivenUpIsNotAwaited: who is dead is waited for, who is given up is not, but for
// what it has handed over before.
func testGivenUpIsNotAwaited(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B"})
	a, b := all.nodes["n1"], all.nodes["n2"]
	all.over("M", "n1", "n2")
	all.over("N", "n1", "n2")
	must(t, b.SetPart(ctx, "Nn2", "B"))
	must(t, a.SetRecorded(ctx, "N", t0))
	all.over("O", "n1", "n2")
	must(t, b.SetPart(ctx, "On2", "B"))
	all.dead("n2")
	all.want("n1", "O +Mn1 +On1 -Nn2")
	for _, n := range ok[[]Node](t)(a.Nodes(ctx)) {
		same(t, []any{n.ID, n.Bucket, n.Awaited}, []any{n.ID, "B", map[string]int{"n1": 2, "n2": 1}[n.ID]})
	}
	same(t, ok[int](t)(a.GiveUpNode(ctx, "n2", t0)), 0)
	all.want("n1", "M O +On1 -Nn2")
	m := ok[meeting.Meeting](t)(a.Meeting(ctx, "M"))
	same(t, []any{m.State, m.Tracks[0].Audio, m.Tracks[1].Audio}, []any{meeting.StateComplete, meeting.AudioKept, meeting.AudioLost})
}

// testGivenUpIsBack: who is back after all has its audio, and hands it over.
func testGivenUpIsBack(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B"})
	all.over("M", "n1", "n2")
	all.dead("n2")
	same(t, ok[int](t)(all.nodes["n1"].GiveUpNode(ctx, "n2", t0)), 0)
	all.want("n2", "")
	same(t, ok[meeting.Beat](t)(all.nodes["n2"].Beat(ctx, t0)).Dead, true)
	all.want("n2", "+Mn2")
	all.want("n1", "+Mn1")
	same(t, ok[meeting.Meeting](t)(all.nodes["n1"].Meeting(ctx, "M")).Tracks[1].Audio, meeting.AudioKept)
}

// testOtherBuckets: what cannot come together is not handed over; nodes without
// recordings are waited for until their audio has expired.
func testOtherBuckets(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B", "n3": "C", "n4": NoBucket, "n5": ""})
	all.over("M", "n1", "n2", "n3")
	all.over("N", "n1", "n4")
	all.over("O", "n1", "n5")
	for n := range all.nodes {
		all.want(n, "")
	}
	must(t, all.nodes["n3"].SetBucket(ctx, "B")) // the operator has seen the warning
	all.want("n2", "+Mn2")
	must(t, all.nodes["n2"].SetPart(ctx, "Mn2", "B"))
	must(t, all.nodes["n3"].SetPart(ctx, "Mn3", "C")) // before that
	all.want("n1", "+Mn1")
	must(t, all.nodes["n4"].ExpireAudio(ctx, "Nn4", t0))
	all.want("n1", "N +Mn1")
	must(t, all.nodes["n1"].SetBucket(ctx, "D"))
	all.want("n1", "N")
	must(t, all.nodes["n1"].SetBucket(ctx, "")) // not known: nothing is taken for being there
	all.want("n1", "N")
}

// testErasedWhileRecorded: a node that records is told of the erasure, also if it has
// no track of the meeting.
func testErasedWhileRecorded(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B", "n3": "B"})
	a, r := all.nodes["n1"], all.nodes["n3"]
	all.over("M", "n1", "n2")
	must(t, a.SetPart(ctx, "Mn1", "B"))
	must(t, a.SetPart(ctx, "Mn2", "B"))
	same(t, ok[bool](t)(r.ClaimRecording(ctx, "M")), true)
	ok[string](t)(a.BeginErase(ctx, "M"))
	same(t, ok[bool](t)(r.ClaimRecording(ctx, "M")), false)
	wantErr(t, r.SetRecorded(ctx, "M", t0), ErrNotFound)
	wantErr(t, a.SetPart(ctx, "Mn1", "B"), ErrNotFound)
	must(t, a.Delete(ctx, "M"))
	for id, s := range all.nodes {
		want := []string{"M"}
		if id == "n1" {
			want = []string{}
		}
		same(t, ok[[]string](t)(s.ErasedElsewhere(ctx)), want)
	}
}

func testPeers(t *testing.T, c *cluster) {
	ctx := t.Context()
	all := c.crew(t, map[string]string{"n1": "B", "n2": "B"})
	a, b := all.nodes["n1"], all.nodes["n2"]
	must(t, b.SetLinks(ctx, "mark"))
	same(t, ok[meeting.Peer](t)(a.Peer(ctx, "n2")), meeting.Peer{URL: "https://n2.example", Alive: true, Links: "mark"})
	_, err := a.Peer(ctx, "n3")
	wantErr(t, err, ErrNotFound)
	all.dead("n2")
	same(t, ok[meeting.Peer](t)(a.Peer(ctx, "n2")).Alive, false)
	ok[meeting.Beat](t)(b.Beat(ctx, t0))
	same(t, ok[meeting.Peer](t)(a.Peer(ctx, "n2")), meeting.Peer{URL: "https://n2.example", Alive: true, Links: "mark"})
	_, err = b.db.Exec("UPDATE nodes SET seen_at = seen_at - $1", (2 * time.Minute).Microseconds())
	must(t, err)
	same(t, ok[meeting.Peer](t)(a.Peer(ctx, "n2")).Alive, false)
}
