package reorder

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// begun is a buffer past the hold of a stream's beginning, 10 having come out.
func begun(now time.Time) *Buffer[int] {
	b := newBuffer()
	b.Push(now.Add(-hold), 10, 10)
	popAll(b, now)
	return b
}

func ask(b *Buffer[int], now time.Time) []uint16 { return b.Ask(now, nil) }

func TestAsksAtOnceAndAgain(t *testing.T) {
	const ms = time.Millisecond
	b := begun(t0)
	if got := ask(b, t0); got != nil {
		t.Fatalf("nothing is missing, %v is asked for", got)
	}
	b.Push(t0, 13, 13)
	for _, c := range []struct {
		at   time.Duration
		push uint16
		want []uint16
	}{
		{0, 0, []uint16{11, 12}},
		{24 * ms, 0, nil},
		{25 * ms, 0, []uint16{11, 12}},
		{27 * ms, 15, nil},                 // a new hole, too soon after the last list
		{30 * ms, 0, []uint16{11, 12, 14}}, // as soon as it may
		{40 * ms, 11, nil},                 // one came
		{55 * ms, 0, []uint16{12, 14}},     //
		{60 * ms, 16, nil},                 // no new hole: nothing before its time
		{80 * ms, 12, []uint16{14}},        //
		{106 * ms, 14, nil},                // all are there
		{wait + 100*ms, 18, []uint16{17}},  // and a hole long after asks at once
		{2*wait + 100*ms, 0, nil},          // given up, not asked for any more
	} {
		now := t0.Add(c.at)
		if c.push != 0 {
			b.Push(now, c.push, int(c.push))
		}
		popAll(b, now)
		if got := ask(b, now); !slices.Equal(got, c.want) {
			t.Errorf("after %v %v is asked for, want %v", c.at, got, c.want)
		}
	}
}

func TestDeadlineIsTheNextAsk(t *testing.T) {
	b := begun(t0)
	b.Push(t0, 12, 12)
	for _, want := range []time.Duration{0, Repeat, 2 * Repeat} {
		d, ok := b.Deadline()
		if !ok || !d.Equal(t0.Add(want)) {
			t.Fatalf("the deadline is %v (%v) after the hole, want %v", d.Sub(t0), ok, want)
		}
		b.Ask(d, nil)
	}
}

func TestMissedTellsHowLong(t *testing.T) {
	b := begun(t0)
	b.Push(t0, 12, 12)
	if v := b.Push(t0.Add(130*time.Millisecond), 11, 11); v != Accepted {
		t.Errorf("the late one was %v, want Accepted", v)
	}
	for _, want := range []time.Duration{130 * time.Millisecond, 0} {
		if p, ok := b.Pop(t0.Add(130 * time.Millisecond)); !ok || p.Missed != want {
			t.Errorf("packet %d was missed for %v, want %v", p.Value, p.Missed, want)
		}
	}
}

func TestFill(t *testing.T) {
	b := begun(t0)
	b.Push(t0, 13, 13)
	for _, c := range []struct {
		seq  uint16
		want bool
	}{{12, true}, {12, false}, {13, false}, {14, false}, {10, false}, {9, false}, {40000, false}} {
		if got := b.Fill(t0, c.seq, int(c.seq)); got != c.want {
			t.Errorf("fill %d: %v, want %v", c.seq, got, c.want)
		}
	}
	if got := ask(b, t0); !slices.Equal(got, []uint16{11}) {
		t.Errorf("%v is asked for, want 11", got)
	}
	b.Push(t0, 11, 11)
	if got := popAll(b, t0); !slices.Equal(got, []int{11, 12, 13}) {
		t.Errorf("%v came out", got)
	}
}

// A stream whose first packet was lost begins with its copy in the second one.
func TestFillBeforeTheFirst(t *testing.T) {
	b := newBuffer()
	b.Push(t0, 0, 0)
	if !b.Fill(t0, 65535, -1) {
		t.Fatal("the copy of a packet before the first was refused")
	}
	if got := popAll(b, t0.Add(hold)); !slices.Equal(got, []int{-1, 0}) {
		t.Errorf("%v came out", got)
	}
}

// With a sender that answers as libwebrtc does (once in a round trip), on a path
// that loses packets and their repetitions alike, what stays missing is what
// the chance of so many losses in a row says, and nothing waits for longer than
// it may.
func TestRecoversByAsking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		loss := rapid.Float64Range(0, 0.2).Draw(t, "loss")
		rtt := time.Duration(rapid.IntRange(5, 150).Draw(t, "rtt")) * time.Millisecond
		const n = 300
		res := simulate(r, n, packetTime, rtt, 8*rtt+wait, loss)
		// 8 round trips and 400 ms leave room for 8 attempts: 0.2^9 of n.
		if res.lost > 2 {
			t.Fatalf("%d of %d packets stayed lost at %.0f %% loss and a round trip of %v", res.lost, n, 100*loss, rtt)
		}
	})
}

type result struct{ sent, repeated, lost int }

// simulate plays n packets over a path with that loss on the way to us and that
// round trip, to a sender that repeats what it is asked for.
func simulate(r *rand.Rand, n int, every, rtt, wait time.Duration, loss float64) result {
	type event struct {
		at  time.Time
		seq uint16
	}
	var arrivals []event
	add := func(at time.Time, seq uint16) {
		i, _ := slices.BinarySearchFunc(arrivals, at, func(e event, at time.Time) int { return e.at.Compare(at) })
		for i < len(arrivals) && arrivals[i].at.Equal(at) {
			i++
		}
		arrivals = slices.Insert(arrivals, i, event{at, seq})
	}
	res := result{sent: n}
	for i := range n {
		if i == 0 || i == n-1 || r.Float64() >= loss {
			add(t0.Add(time.Duration(i)*every+rtt/2), uint16(i))
		}
	}
	repeatedAt := map[uint16]time.Time{}
	b := New[int](Config{Start: hold, Wait: wait})
	var asked []uint16
	came := 0
	step := func(now time.Time) {
		asked = b.Ask(now, asked[:0])
		for _, seq := range asked {
			at := now.Add(rtt / 2)
			if last, ok := repeatedAt[seq]; ok && at.Sub(last) < rtt {
				continue
			}
			repeatedAt[seq] = at
			res.repeated++
			if r.Float64() >= loss {
				add(at.Add(rtt/2), seq)
			}
		}
		came += len(popAll(b, now))
	}
	for len(arrivals) > 0 || b.span > 0 {
		d, ok := b.Deadline()
		if ok && (len(arrivals) == 0 || d.Before(arrivals[0].at)) {
			step(d)
			continue
		}
		e := arrivals[0]
		arrivals = arrivals[1:]
		b.Push(e.at, e.seq, int(e.seq))
		step(e.at)
	}
	res.lost = n - came
	return res
}

// TestWaiting measures what the time of waiting is worth; the numbers are in
// docs/adr/0005.
func TestWaiting(t *testing.T) {
	for _, c := range []struct {
		loss  float64
		rtt   time.Duration
		wait  time.Duration
		bound float64 // of the packets, that stay lost
	}{
		{0.10, 100 * time.Millisecond, 800 * time.Millisecond, 0.0001},
		{0.20, 300 * time.Millisecond, 1500 * time.Millisecond, 0.004},
	} {
		res := simulate(rand.New(rand.NewPCG(1, 1)), 20000, 60*time.Millisecond, c.rtt, c.wait, c.loss)
		share := float64(res.lost) / float64(res.sent)
		t.Logf("%2.0f %% loss, round trip %v, waiting %v: %.4f %% stay lost, %.2f repetitions a packet",
			100*c.loss, c.rtt, c.wait, 100*share, float64(res.repeated)/float64(res.sent))
		if share > c.bound {
			t.Errorf("%.0f %% loss, round trip %v: %.4f %% stay lost, want at most %.4f %%", 100*c.loss, c.rtt, 100*share, 100*c.bound)
		}
	}
}
