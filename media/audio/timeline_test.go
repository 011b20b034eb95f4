package audio

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const frame = 960 // 20 ms

// step is one packet of a table test, relative to the packet before it.
type step struct {
	seq   int64         // sequence numbers further, 1 without loss
	ts    int64         // timestamp further, in ticks
	after time.Duration // arrival
}

func TestTimelineGaps(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		steps []step
		want  string // kinds and ticks of all packets but the first coded one
	}{
		{"without a gap", []step{{1, frame, 20 * ms}}, "coded 960"},
		{"one lost", []step{{2, 2 * frame, 40 * ms}}, "lost 960, coded 960"},
		{"DTX", []step{{1, 20 * frame, 400 * ms}}, "silence 18240, coded 960"},
		{"lost during DTX: next to the later packet", []step{{3, 20 * frame, 400 * ms}}, "silence 16320, lost 1920, coded 960"},
		{"a hole without time is nothing", []step{{3, frame, 20 * ms}}, "coded 960"},
		{"overlap begins anew", []step{{1, frame / 2, 20 * ms}, {1, frame, 20 * ms}}, "coded 960, coded 960"},
		{"backwards by a second begins anew", []step{{1, -48000, 20 * ms}, {1, frame, 20 * ms}}, "coded 960, coded 960"},
		{"half an hour from nowhere", []step{{1, 30 * 60 * 48000, 20 * ms}, {1, frame, 20 * ms}}, "discontinuity 0, coded 960, coded 960"},
		{"an hour back, a second later", []step{{1, -3600 * 48000, 1020 * ms}, {1, frame, 20 * ms}}, "discontinuity 48000, coded 960, coded 960"},
		{"a real pause of ten minutes", []step{{1, 600*48000 + frame, 600*time.Second + 20*ms}}, "silence 28800000, coded 960"},
		{"a stall of ten seconds is no gap", []step{{1, frame, 10 * time.Second}, {1, frame, 0}}, "coded 960, coded 960"},
		{"lost in a stall", []step{{501, 501 * frame, 10 * time.Second}}, "lost 480000, coded 960"},
		{"four seconds ahead of the clock is silence", []step{{1, 200 * frame, 20 * ms}}, "silence 191040, coded 960"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tl Timeline
			var got []Packet
			emit := func(p Packet) { got = append(got, p) }
			at, ts, seq := t0, uint32(1<<32-500), int64(70000) // near the wrap of 32 bits
			push := func() {
				tl.Push(Coding{Ext: seq, Timestamp: ts, Rate: 48000, Samples: frame, Format: FormatOpus, Arrived: at}, emit)
			}
			push()
			for _, s := range c.steps {
				seq, ts, at = seq+s.seq, ts+uint32(s.ts), at.Add(s.after)
				push()
			}
			if s := describe(got[1:]); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
			tl.End(at, ReasonLeft, emit)
			checkInvariants(t, got)
		})
	}
}

// A sender whose timestamps stand still while it pauses (Web Audio that is
// suspended) is where the wall clock says it is soon after. One that the network
// held up is not moved, however slowly it catches up.
func TestPauses(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause time.Duration
		every time.Duration // arrivals of packets of 20 ms after it
		want  int64
	}{
		{"ten minutes", 10 * time.Minute, 20 * time.Millisecond, 600},
		{"four seconds", 4 * time.Second, 20 * time.Millisecond, 0},
		{"a stall of 18 s", 18 * time.Second, 0, 0},
		{"a stall that is caught up at half as fast again", 18 * time.Second, 13333 * time.Microsecond, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tl Timeline
			var got []Packet
			emit := func(p Packet) { got = append(got, p) }
			at, caughtUp := t0, t0
			for i := range int64(6000) {
				if caughtUp = caughtUp.Add(20 * time.Millisecond); i >= 500 {
					at = at.Add(c.every)
				}
				if i == 500 {
					at = at.Add(c.pause)
				}
				if i < 500 || c.want == 0 && c.pause > leeway*time.Second/TickRate && at.Before(caughtUp) {
					at = caughtUp
				}
				tl.Push(Coding{Ext: i, Timestamp: uint32(i * frame), Rate: 48000, Samples: frame, Format: FormatOpus, Arrived: at}, emit)
			}
			if d := at.Sub(got[len(got)-1].At); c.want > 0 && d > time.Second {
				t.Errorf("the last packet stands %v before its arrival", d)
			}
			// In a pause the clocks may drift apart, by 1 in 1,000.
			if s := tl.Account().Discontinuity / TickRate; s != c.want*999/1000 {
				t.Errorf("%d s of discontinuity, want %d less what clocks drift", s, c.want)
			}
			tl.End(at, ReasonLeft, emit)
			checkInvariants(t, got)
		})
	}
}

func describe(ps []Packet) (s string) {
	for i, p := range ps {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%v %d", p.Kind, p.Samples)
	}
	return s
}

// checkInvariants checks what DESIGN promises of every track.
func checkInvariants(t interface{ Fatalf(string, ...any) }, ps []Packet) {
	var next uint64
	var start int64
	var account Account
	var at time.Time
	for i, p := range ps {
		if p.Seq != next || p.Start != start || p.Samples < 0 || !p.Kind.Valid() {
			t.Fatalf("packet %d is %+v, want Seq %d and Start %d", i, p, next, start)
		}
		if p.At.Before(at) {
			t.Fatalf("packet %d: At runs back from %v to %v", i, at, p.At)
		}
		at = p.At
		account.Add(p)
		next, start = next+1, p.Next()
		if (p.Kind == End) != (i == len(ps)-1) {
			t.Fatalf("packet %d of %d is %v", i, len(ps), p.Kind)
		}
	}
	info, err := ps[len(ps)-1].EndInfo()
	if err != nil || info.Totals != account || account.Total() != start {
		t.Fatalf("end says %+v (%v), the packets add up to %+v", info, err, account)
	}
}

func TestBreakTakesTheWallClock(t *testing.T) {
	var tl Timeline
	var got []Packet
	emit := func(p Packet) { got = append(got, p) }
	c := Coding{Ext: 5, Timestamp: 1, Rate: 48000, Samples: frame, Arrived: t0}
	tl.Push(c, emit)
	tl.Break()
	c.Ext, c.Timestamp, c.Arrived = 9, 77777777, t0.Add(3*time.Second)
	tl.Push(c, emit)
	if s := describe(got); s != "coded 960, discontinuity 143040, coded 960" {
		t.Fatal(s)
	}
}

func TestUnusableCountsAsLost(t *testing.T) {
	var tl Timeline
	var got []Packet
	emit := func(p Packet) { got = append(got, p) }
	c := Coding{Ext: 5, Timestamp: 0, Rate: 48000, Samples: frame, Arrived: t0}
	tl.Push(c, emit)
	tl.Unusable(6)
	tl.Push(Coding{Ext: 7, Arrived: t0}, emit) // padding: no audio, no loss
	c.Ext, c.Timestamp = 8, 3*frame
	tl.Push(c, emit)
	if s := describe(got); s != "coded 960, silence 960, lost 960, coded 960" {
		t.Fatal(s)
	}
}

// A sender that talks, is silent and changes its packets' length, over a network
// that loses: every coded packet that arrives has its exact place.
func TestEveryPacketInItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := rapid.IntRange(1, 300).Draw(t, "n")
		loss := rapid.Float64Range(0, 0.5).Draw(t, "loss")
		ts := rapid.Uint32().Draw(t, "timestamp")
		ppm := rapid.Int64Range(-300, 300).Draw(t, "ppm")

		var tl Timeline
		var got []Packet
		var want []int64 // Start of each packet that arrives
		var spoken int64
		first := int64(-1)
		for i := range n {
			if r.IntN(20) == 0 {
				pause := frame * r.Int64N(500)
				spoken, ts = spoken+pause, ts+uint32(pause)
			}
			samples := []int64{120, 240, 480, 960, 1920, 2880, 5760}[r.IntN(7)]
			if i == 0 || r.Float64() >= loss {
				if first < 0 {
					first = spoken
				}
				want = append(want, spoken-first)
				wall := duration(spoken) + duration(spoken)/1e6*time.Duration(ppm)
				jitter := time.Duration(r.Int64N(int64(time.Second)))
				tl.Push(Coding{
					Ext: 1<<16 + int64(i), Timestamp: ts, Rate: 48000, Samples: samples, Arrived: t0.Add(wall + jitter),
				}, func(p Packet) { got = append(got, p) })
			}
			spoken, ts = spoken+samples, ts+uint32(samples)
		}
		var starts []int64
		for _, p := range got {
			if p.Kind == Coded {
				starts = append(starts, p.Start)
			}
		}
		if !slices.Equal(starts, want) {
			t.Fatalf("coded packets at\n%v, want\n%v", starts, want)
		}
		tl.End(t0, ReasonLeft, func(p Packet) { got = append(got, p) })
		checkInvariants(t, got)
	})
}

// Whatever the numbers are, the invariants hold and no time is made up: beyond
// the audio itself the track is never longer than the wall clock and its leeway.
func TestNoSequenceMakesHours(t *testing.T) { rapid.Check(t, anySequence) }

func FuzzTimeline(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anySequence)) }

func anySequence(t *rapid.T) {
	var tl Timeline
	var got []Packet
	emit := func(p Packet) { got = append(got, p) }
	at, ext, coded := t0, int64(1<<16), int64(0)
	n := rapid.IntRange(1, 100).Draw(t, "n")
	for range n {
		ext += rapid.Int64Range(1, 2000).Draw(t, "seq")
		at = at.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "after")))
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			tl.Break()
		case 1:
			tl.Unusable(ext)
		default:
			samples := rapid.SampledFrom([]int64{0, 120, 960, 5760}).Draw(t, "samples")
			tl.Push(Coding{
				Ext: ext, Timestamp: rapid.Uint32().Draw(t, "ts"), Arrived: at, Samples: samples,
				Rate: rapid.SampledFrom([]int{8000, 16000, 48000}).Draw(t, "rate"),
			}, emit)
			coded += samples
		}
	}
	tl.End(at, ReasonServer, emit)
	checkInvariants(t, got)
	wall := at.Sub(t0)
	slack := ticks(2*wall/maxDrift) + int64(n) // clocks drift, conversions round
	if total := tl.Account().Total(); total > coded+ticks(wall)+leeway+slack {
		t.Fatalf("%v of track in %v of time with %v of audio", duration(total), wall, duration(coded))
	}
}

func TestEightHoursOfDrift(t *testing.T) {
	for _, ppm := range []int64{-300, 300} {
		var tl Timeline
		var last Packet
		for i := range int64(8 * 3600 / 2) { // a packet and 2 s of DTX
			spoken := i * 2 * TickRate
			wall := time.Duration(i) * 2 * time.Second
			tl.Push(Coding{
				Ext: 1<<16 + i, Timestamp: uint32(spoken), Rate: 48000, Samples: frame,
				Arrived: t0.Add(wall + wall/1e6*time.Duration(ppm) + time.Duration(i*7919%100)*time.Millisecond),
			}, func(p Packet) { last = p })
		}
		if a := tl.Account(); a.Discontinuity != 0 || tl.Strange() != 0 {
			t.Errorf("%d ppm: taken for %d strange timestamps and %d ticks of discontinuity", ppm, tl.Strange(), a.Discontinuity)
		}
		wall := last.At.Sub(t0)
		off := wall - (duration(last.Start) + duration(last.Start)/1e6*time.Duration(ppm))
		if off.Abs() > 50*time.Millisecond {
			t.Errorf("%d ppm: after 8 h the map to the wall clock is off by %v", ppm, off)
		}
	}
}

func BenchmarkTimeline(b *testing.B) {
	var tl Timeline
	c := Coding{Ext: 1, Rate: 48000, Samples: 2880, Format: FormatOpus, Arrived: t0, Payload: make([]byte, 150)}
	emit := func(Packet) {}
	b.ReportAllocs()
	for b.Loop() {
		tl.Push(c, emit)
		c.Ext++
		c.Timestamp += 2880
		c.Arrived = c.Arrived.Add(60 * time.Millisecond)
	}
}
