package audio

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestClockWithoutDriftIsStraight(t *testing.T) {
	var c Clock
	if _, ok := c.At(0); ok {
		t.Fatal("a clock that saw no packet tells the time")
	}
	for i := range int64(100_000) {
		c.Add(Packet{Start: i * 960, Samples: 960, At: t0.Add(time.Duration(i) * 20 * time.Millisecond)})
	}
	if len(c.bends) != 1 {
		t.Errorf("it bends %d times", len(c.bends))
	}
	for _, tick := range []int64{-48, 0, 1, 480, 48000, 1 << 40} {
		if at, _ := c.At(tick); !at.Equal(t0.Add(duration(tick))) {
			t.Errorf("tick %d is at %v after the start, want %v", tick, at.Sub(t0), duration(tick))
		}
	}
}

// Over two hours, whatever drift and jitter a sender has, the clock never runs
// back, stays small, and lies within 100 ms of the truth.
func TestClockFollowsDrift(t *testing.T) {
	const delay = 40 * time.Millisecond
	for _, ppm := range []int64{-300, -20, 0, 20, 300} {
		for _, jitter := range []int64{0, 60} {
			t.Run(fmt.Sprintf("%d ppm, jitter of %d ms", ppm, jitter), func(t *testing.T) {
				// When a tick of the sender's clock is spoken.
				spoken := func(tick int64) time.Time {
					d := duration(tick)
					return t0.Add(d + d/1_000_000*time.Duration(ppm))
				}
				r := rand.New(rand.NewPCG(uint64(ppm), uint64(jitter)))
				var tl Timeline
				var c Clock
				const packet, packets = 2880, 7200 * 1000 / 60
				for i := range int64(packets) {
					late := time.Duration(r.Int64N(jitter+1)) * time.Millisecond
					tl.Push(Coding{
						Ext: i, Timestamp: uint32(i * packet), Rate: TickRate, Samples: packet, Format: FormatOpus,
						Arrived: spoken((i + 1) * packet).Add(delay + late),
					}, c.Add)
				}
				var last time.Time
				for tick := int64(0); tick < packets*packet; tick += 48000*7 + 111 {
					at, _ := c.At(tick)
					if off := at.Sub(spoken(tick + packet).Add(delay)); off < -100*time.Millisecond || off > 100*time.Millisecond {
						t.Fatalf("after %v the clock is off by %v", duration(tick), off)
					}
					if at.Before(last) {
						t.Fatalf("after %v the clock runs back by %v", duration(tick), last.Sub(at))
					}
					last = at
				}
				if len(c.bends) > 1000 {
					t.Fatalf("it bends %d times", len(c.bends))
				}
			})
		}
	}
}

func TestClockIsBounded(t *testing.T) {
	var c Clock
	for i := range int64(3 * maxBends) {
		c.Add(Packet{Start: i * 960, At: t0.Add(time.Duration(i) * 30 * time.Millisecond)})
	}
	if len(c.bends) > maxBends {
		t.Errorf("it has %d bends", len(c.bends))
	}
	n := int64(3*maxBends - 1)
	if at, _ := c.At(n * 960); at.Sub(t0) != time.Duration(n)*30*time.Millisecond {
		t.Errorf("the newest tick is at %v", at.Sub(t0))
	}
}

// A server that ends the track of one before it may have another idea of the
// time.
func TestClockIgnoresTheEnd(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		var c Clock
		c.Add(Packet{Samples: 10 * TickRate, Kind: Coded, At: t0})
		c.Add(NewEnd(1, 10*TickRate, t0.Add(off), EndInfo{}))
		for _, s := range []int64{0, 5, 10} {
			if at, _ := c.At(s * TickRate); !at.Equal(t0.Add(time.Duration(s) * time.Second)) {
				t.Errorf("off by %v: second %d is at %v", off, s, at.Sub(t0))
			}
		}
	}
}
