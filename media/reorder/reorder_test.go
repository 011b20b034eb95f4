package reorder

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	hold = 100 * time.Millisecond
	wait = 400 * time.Millisecond
)

func newBuffer() *Buffer[int] { return New[int](Config{Start: hold, Wait: wait}) }

func popAll(b *Buffer[int], now time.Time) (values []int) {
	for {
		p, ok := b.Pop(now)
		if !ok {
			return values
		}
		values = append(values, p.Value)
	}
}

func TestInOrderPassesAtOnce(t *testing.T) {
	b := newBuffer()
	b.Push(t0, 65534, 0)
	if got := popAll(b, t0.Add(hold)); !slices.Equal(got, []int{0}) {
		t.Fatalf("after the hold: got %v, want the first packet", got)
	}
	now := t0.Add(hold)
	for i := 1; i < 5; i++ { // across the wrap
		seq := uint16(65534 + i)
		if !b.Passes(seq) {
			t.Fatalf("packet %d: not passed though it is next", seq)
		}
		b.Push(now, seq, i)
		if got := popAll(b, now); !slices.Equal(got, []int{i}) {
			t.Fatalf("packet %d: got %v at once, want it alone", seq, got)
		}
	}
	if _, waiting := b.Deadline(); waiting {
		t.Fatal("it waits although nothing is missing")
	}
}

func TestHoleIsSkippedAtItsDeadline(t *testing.T) {
	b := newBuffer()
	b.Push(t0, 10, 10)
	now := t0.Add(hold)
	popAll(b, now)
	b.Push(now, 12, 12)
	if got := popAll(b, now.Add(wait-1)); got != nil {
		t.Fatalf("before the deadline: got %v, want nothing", got)
	}
	b.Ask(now.Add(wait-1), nil)
	if d, ok := b.Deadline(); !ok || !d.Equal(now.Add(wait)) {
		t.Fatalf("deadline %v %v, want %v", d, ok, now.Add(wait))
	}
	// A packet that comes later must not move the deadline of the hole.
	b.Push(now.Add(wait/2), 13, 13)
	if got := popAll(b, now.Add(wait)); !slices.Equal(got, []int{12, 13}) {
		t.Fatalf("at the deadline: got %v, want 12 and 13", got)
	}
	if v := b.Push(now.Add(wait), 11, 11); v != Late {
		t.Fatalf("the packet whose place was given up: %v, want Late", v)
	}
	if v := b.Push(now.Add(wait), 12, 12); v != Duplicate {
		t.Fatalf("a packet that went out before: %v, want Duplicate", v)
	}
}

func TestFirstPacketsOvertaken(t *testing.T) {
	b := newBuffer()
	for _, seq := range []uint16{2, 0, 3, 65535, 1} {
		if v := b.Push(t0, seq, int(int16(seq))); v != Accepted {
			t.Fatalf("packet %d: %v, want Accepted", seq, v)
		}
	}
	if got := popAll(b, t0.Add(hold)); !slices.Equal(got, []int{-1, 0, 1, 2, 3}) {
		t.Fatalf("got %v, want -1 to 3", got)
	}
}

func TestJump(t *testing.T) {
	b := newBuffer()
	b.Push(t0, 100, 0)
	now := t0.Add(hold)
	popAll(b, now)
	if v := b.Push(now, 30000, 1); v != Stray {
		t.Fatalf("one packet far off: %v, want Stray", v)
	}
	if v := b.Push(now, 101, 2); v != Accepted {
		t.Fatalf("the next in order: %v, want Accepted", v)
	}
	popAll(b, now)
	b.Push(now, 30000, 3)
	if v := b.Push(now, 30001, 4); v != Jumped {
		t.Fatalf("two in a row far off: %v, want Jumped", v)
	}
	b.Restart()
	b.Push(now, 30001, 4)
	if got := popAll(b, now.Add(hold)); !slices.Equal(got, []int{4}) {
		t.Fatalf("after the restart: got %v, want 4", got)
	}
}

// schedule is how the network mistreats the packets 0…n-1 of a stream.
type schedule struct {
	first uint16
	n     int
	// arrivals are in order of time; one packet may arrive more than once.
	arrivals []arrival
}

type arrival struct {
	at time.Time
	i  int
}

const packetTime = 20 * time.Millisecond

// drawSchedule delays each packet by up to maxDelay, doubles and loses some.
func drawSchedule(t *rapid.T, maxDelay time.Duration, lossy bool) schedule {
	s := schedule{
		first: uint16(rapid.IntRange(0, 65535).Draw(t, "first")),
		n:     rapid.IntRange(1, 200).Draw(t, "n"),
	}
	// One seed instead of a draw a packet keeps 10,000 schedules quick.
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	loss := 0.0
	if lossy {
		loss = rapid.Float64Range(0, 0.4).Draw(t, "loss")
	}
	for i := range s.n {
		if r.Float64() < loss {
			continue
		}
		for range 1 + r.IntN(5)/4 {
			delay := time.Duration(r.Int64N(int64(maxDelay) + 1))
			s.arrivals = append(s.arrivals, arrival{t0.Add(time.Duration(i)*packetTime + delay), i})
		}
	}
	slices.SortStableFunc(s.arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })
	return s
}

// play drives a buffer as the track goroutine does: it wakes up for packets and
// for deadlines. It returns what came out and when.
func (s schedule) play(b *Buffer[int]) (out []Packet[int], at []time.Time) {
	drain := func(now time.Time) {
		b.Ask(now, nil)
		for {
			p, ok := b.Pop(now)
			if !ok {
				return
			}
			out, at = append(out, p), append(at, now)
		}
	}
	for _, a := range s.arrivals {
		for {
			d, ok := b.Deadline()
			if !ok || d.After(a.at) {
				break
			}
			drain(d)
		}
		b.Push(a.at, s.first+uint16(a.i), a.i)
		drain(a.at)
	}
	for {
		d, ok := b.Deadline()
		if !ok {
			return out, at
		}
		drain(d)
	}
}

// Whatever is delayed by less than the hold is put in order, and nothing else
// happens to it: no packet is lost, doubled or renumbered.
func TestReorderedComesOutWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t, hold-packetTime, false)
		out, _ := s.play(newBuffer())
		if len(out) != s.n {
			t.Fatalf("%d of %d packets came out", len(out), s.n)
		}
		for i, p := range out {
			if p.Value != i || p.Ext != out[0].Ext+int64(i) {
				t.Fatalf("place %d: packet %d with extended number %d, first %d", i, p.Value, p.Ext, out[0].Ext)
			}
		}
	})
}

// With loss and any delay: order holds, extended numbers tell how many are
// missing, nothing is held longer than its deadline, and nothing at all when
// nothing is missing before it.
func TestOrderAndDeadlines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t, time.Second, true)
		out, at := s.play(newBuffer())
		for i, p := range out {
			if held := at[i].Sub(p.Arrived); held > wait+hold || held < 0 {
				t.Fatalf("packet %d was held for %v", p.Value, held)
			}
			if i == 0 {
				continue
			}
			if p.Ext-out[i-1].Ext != int64(p.Value-out[i-1].Value) || p.Value <= out[i-1].Value {
				t.Fatalf("packet %d (ext %d) after packet %d (ext %d)", p.Value, p.Ext, out[i-1].Value, out[i-1].Ext)
			}
			begun := out[0].Arrived.Add(hold) // the start of the stream is held
			if p.Value == out[i-1].Value+1 && at[i].After(p.Arrived) && at[i].After(at[i-1]) && at[i].After(begun) {
				t.Fatalf("packet %d was held until %v though nothing was missing since %v", p.Value, at[i], at[i-1])
			}
		}
	})
}

// Arbitrary sequence numbers do not break the buffer or its bound.
func TestArbitraryNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkArbitrary(t, rapid.SliceOfN(rapid.Uint16(), 1, 500).Draw(t, "seqs"))
	})
}

func FuzzPush(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 255, 255, 128, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		seqs := make([]uint16, len(b)/2)
		for i := range seqs {
			seqs[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		checkArbitrary(t, seqs)
	})
}

func checkArbitrary(t interface{ Fatalf(string, ...any) }, seqs []uint16) {
	b := newBuffer()
	now, last := t0, int64(-1)
	for i, seq := range seqs {
		now = now.Add(time.Duration(i%7) * 10 * time.Millisecond)
		v := b.Push(now, seq, i)
		for v == Full {
			if p, ok := b.Flush(); ok {
				last = p.Ext
			}
			v = b.Push(now, seq, i)
		}
		if v == Jumped {
			for _, ok := b.Flush(); ok; _, ok = b.Flush() {
			}
			b.Restart()
			b.Push(now, seq, i)
			last = -1
		}
		if n := len(b.Ask(now, nil)); n > MaxAsk {
			t.Fatalf("%d numbers are asked for at once", n)
		}
		b.Fill(now, seq-uint16(i%5), -1)
		for p, ok := b.Pop(now); ok; p, ok = b.Pop(now) {
			if p.Ext <= last {
				t.Fatalf("extended number %d after %d", p.Ext, last)
			}
			if p.Value >= 0 && uint16(p.Ext) != seqs[p.Value] {
				t.Fatalf("packet %d came out as %d", seqs[p.Value], p.Ext)
			}
			last = p.Ext
		}
		missing := 0
		for i := range b.span {
			if !b.at(i).held {
				missing++
			}
		}
		if missing != b.missing {
			t.Fatalf("it counts %d missing places, there are %d", b.missing, missing)
		}
		if len(b.slots) > Window {
			t.Fatalf("the ring has %d places", len(b.slots))
		}
	}
}

func BenchmarkInOrder(b *testing.B) {
	buf := newBuffer()
	now := t0
	buf.Push(now, 0, 0)
	now = now.Add(time.Second)
	buf.Pop(now)
	b.ReportAllocs()
	seq := uint16(1)
	for b.Loop() {
		buf.Push(now, seq, 1)
		if _, ok := buf.Pop(now); !ok {
			b.Fatal("a packet in order did not pass")
		}
		seq++
	}
}

func BenchmarkSwapped(b *testing.B) {
	buf := newBuffer()
	now := t0
	buf.Push(now, 0, 0)
	now = now.Add(time.Second)
	buf.Pop(now)
	b.ReportAllocs()
	seq := uint16(1)
	for b.Loop() {
		buf.Push(now, seq+1, 1)
		buf.Push(now, seq, 1)
		buf.Pop(now)
		if _, ok := buf.Pop(now); !ok {
			b.Fatal("two swapped packets did not pass")
		}
		seq += 2
	}
}
