package netem

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const many = 200_000

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		name        string
		conditions  Conditions
		rate, burst float64
	}{
		{"none", Conditions{}, 0, 0},
		{"random 1 %", Conditions{Loss: 0.01}, 0.01, 1 / 0.99},
		{"random 20 %", Conditions{Loss: 0.2}, 0.2, 1 / 0.8},
		{"bursts", Conditions{Loss: 0.05, Burst: 4}, 0.05, 4},
		{"long bursts", Conditions{Loss: 0.2, Burst: 10}, 0.2, 10},
	} {
		l := NewLink(c.conditions, 1)
		lost, bursts, before := 0, 0, false
		for range many {
			_, now := l.Up()
			if now {
				lost++
				if !before {
					bursts++
				}
			}
			before = now
		}
		rate, burst := float64(lost)/many, 0.
		if bursts > 0 {
			burst = float64(lost) / float64(bursts)
		}
		if math.Abs(rate-c.rate) > 0.05*c.rate {
			t.Errorf("%s: %.4f of the packets are lost, want %.4f", c.name, rate, c.rate)
		}
		if math.Abs(burst-c.burst) > 0.05*c.burst {
			t.Errorf("%s: bursts of %.2f packets, want %.2f", c.name, burst, c.burst)
		}
	}
}

func TestJitter(t *testing.T) {
	l := NewLink(Conditions{RTT: 300 * time.Millisecond, Jitter: 30 * time.Millisecond}, 1)
	var sum, squares float64
	overtaken, before := 0, time.Duration(0)
	for range many {
		d, _ := l.Up()
		x := float64(d - 150*time.Millisecond)
		sum, squares = sum+x, squares+x*x
		if d+60*time.Millisecond < before {
			overtaken++
		}
		before = d
	}
	if mean := time.Duration(sum / many).Abs(); mean > time.Millisecond/2 {
		t.Errorf("the mean delay is %v off", mean)
	}
	if sigma := time.Duration(math.Sqrt(squares / many)); (sigma - 30*time.Millisecond).Abs() > time.Millisecond/2 {
		t.Errorf("jitter %v", sigma)
	}
	// Two packets sent 60 ms apart: N(0, 30√2) < -60 in 7.9 % of the cases.
	if part := float64(overtaken) / many; math.Abs(part-0.079) > 0.005 {
		t.Errorf("%.3f of the packets are overtaken", part)
	}
	if d := l.Down(); d != 150*time.Millisecond {
		t.Errorf("down takes %v", d)
	}
	short := NewLink(Conditions{RTT: 20 * time.Millisecond, Jitter: 30 * time.Millisecond}, 1)
	for range many {
		if d, _ := short.Up(); d < 0 {
			t.Fatalf("a delay of %v", d)
		}
	}
}

// The same seed makes the same network.
func TestRepeatable(t *testing.T) {
	c := Conditions{Loss: 0.1, RTT: 100 * time.Millisecond, Jitter: 30 * time.Millisecond}
	a, b, other := NewLink(c, 1), NewLink(c, 1), NewLink(c, 2)
	differ := false
	for range 1000 {
		da, la := a.Up()
		db, lb := b.Up()
		do, _ := other.Up()
		if da != db || la != lb {
			t.Fatal("the same seed makes another network")
		}
		differ = differ || da != do
	}
	if !differ {
		t.Error("another seed makes the same network")
	}
}

// What is pushed comes out when it is due, once, in the order of the times, and
// of pushing where those are equal.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 100).Draw(t, "delays")
		start := time.Unix(0, 0)
		var q queue
		for i, d := range delays {
			q.push(start.Add(time.Duration(d)), []byte{byte(i)})
		}
		want := make([]int, len(delays))
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return delays[a] - delays[b] })
		var got []int
		now := start
		for {
			p, next := q.pop(now)
			if p.bytes == nil {
				if next.IsZero() {
					break
				}
				if !next.After(now) {
					t.Fatal("something is due and does not come out")
				}
				now = next
				continue
			}
			if !p.at.Equal(now) {
				t.Fatalf("due at %v, out at %v", p.at, now)
			}
			got = append(got, int(p.bytes[0]))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	var q queue
	for range maxQueued + 5 {
		q.push(time.Unix(0, 0), nil)
	}
	if len(q.heap) != maxQueued || q.dropped != 5 {
		t.Errorf("%d queued, %d dropped", len(q.heap), q.dropped)
	}
}
