package tonecode

import (
	"math/rand/v2"
	"testing"
)

func spoken(from, to int) (all []int) {
	for i := from; i < to; i++ {
		if Spoken(i) {
			all = append(all, i%Numbers)
		}
	}
	return all
}

func TestEveryNumberIsReadOnceAtItsPlace(t *testing.T) {
	for _, from := range []int{0, 3960, Numbers - 392} {
		pcm := Signal(from, from+600)
		// However it is cut, and wherever reading begins.
		for _, skip := range []int{0, 1000} {
			var r Reader
			var heard []Heard
			cut := rand.New(rand.NewPCG(1, uint64(from)))
			for at := skip; at < len(pcm); {
				n := min(1+cut.IntN(3000), len(pcm)-at)
				heard = append(heard, r.Write(pcm[at:at+n])...)
				at += n
			}
			heard = append(heard, r.Finish()...)
			want := spoken(from, from+600)
			if skip > 0 {
				want = want[1:]
			}
			for k, h := range heard {
				if k >= len(want) || h.Index != want[k] {
					t.Fatalf("from %d, skip %d: number %d is %d", from, skip, k, h.Index)
				}
				at := int64((h.Index-from%Numbers+Numbers)%Numbers)*Symbol - int64(skip)
				if d := h.Start - at; d < -160 || d > 160 {
					t.Errorf("number %d starts at %d, want %d", h.Index, h.Start, at)
				}
			}
			if len(heard) != len(want) {
				t.Errorf("from %d, skip %d: %d numbers of %d", from, skip, len(heard), len(want))
			}
		}
	}
}

func TestNoiseIsNoNumber(t *testing.T) {
	var r Reader
	noise := rand.New(rand.NewPCG(7, 7))
	pcm := make([]int16, Rate*60)
	for i := range pcm {
		pcm[i] = int16(noise.IntN(20000) - 10000)
	}
	if heard := r.Write(pcm); len(heard) > 0 {
		t.Errorf("a minute of noise spells %d numbers", len(heard))
	}
}

func TestWords(t *testing.T) {
	for _, i := range []int{0, 7, 8191} {
		if got, ok := Index(Word(i)); !ok || got != i {
			t.Errorf("%d: %q is %d", i, Word(i), got)
		}
	}
	for _, w := range []string{"", "w", "w12", "w9999", "x0001", "w-001"} {
		if _, ok := Index(w); ok {
			t.Errorf("%q is a number", w)
		}
	}
}

// A number in whose middle nothing can be read is one number, and one that comes
// again is two.
func TestBrokenNumber(t *testing.T) {
	r := Reader{window: []int16{}, last: -1, told: Heard{Index: -1}}
	var heard []Heard
	for _, at := range []int64{1000, 1400, 1000 + Symbol} {
		r.pos = at + window
		heard = r.turn(heard, 7)
		r.times = least
		r.pos += 2 * hop
		heard = r.turn(heard, -1)
	}
	if len(heard) != 2 {
		t.Errorf("heard %v", heard)
	}
}
