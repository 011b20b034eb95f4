package transcribe

import (
	"slices"
	"testing"
)

func TestRecentKeepsTheNewest(t *testing.T) {
	var r recent
	var all []int16
	for i := range 100 {
		pcm := make([]int16, 1+i*17%1700)
		for j := range pcm {
			pcm[j] = int16(len(all) + j)
		}
		r.add(pcm)
		all = append(all, pcm...)
		if want := min(int64(len(all)), wake); r.len() != want {
			t.Fatalf("%d of %d samples, want %d", r.len(), len(all), want)
		}
		var got []int16
		for n := r.len(); n > 0; n -= int64(len(r.last(n))) {
			got = append(got, r.last(n)...)
		}
		if !slices.Equal(got, all[len(all)-len(got):]) {
			t.Fatalf("after %d samples the newest are others", len(all))
		}
	}
}
