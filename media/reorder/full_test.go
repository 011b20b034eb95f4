package reorder

import (
	"testing"
	"time"
)

// GStreamer sends what it had queued while it connected in one burst: more
// packets than the window has places, in order, while the first one is held or
// one is missing. None of them may be taken for a stray.
func TestBurstLongerThanTheWindow(t *testing.T) {
	const packets = 3 * Window
	for _, c := range []struct {
		name string
		lost int
		at   time.Time // of the burst
	}{
		{"while the first one is held", -1, t0},
		{"while the second one is missing", 1, t0.Add(hold)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuffer()
			var out []int
			take := func(p Packet[int], ok bool) bool {
				if ok {
					out = append(out, p.Value)
				}
				return ok
			}
			b.Push(t0, 0, 0)
			for take(b.Pop(c.at)) {
			}
			for i := 1; i < packets; i++ {
				if i == c.lost {
					continue
				}
				v := b.Push(c.at, uint16(i), i)
				for v == Full && take(b.Flush()) {
					v = b.Push(c.at, uint16(i), i)
				}
				if v != Accepted {
					t.Fatalf("packet %d: verdict %v, want Accepted", i, v)
				}
			}
			for take(b.Flush()) {
			}
			want := 0
			for _, got := range out {
				if want == c.lost {
					want++
				}
				if got != want {
					t.Fatalf("got packet %d, want %d", got, want)
				}
				want++
			}
			if want != packets {
				t.Fatalf("the packets from %d on did not come out", want)
			}
		})
	}
}
