package transcribe

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRecentKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r recent
		var all []int16
		size, have := wake, 0
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "step") == 0 {
				size = rapid.SampledFrom([]int{wake, preroll + edge}).Draw(t, "size")
				r.keep(size)
			} else {
				pcm := make([]int16, rapid.IntRange(0, 2*wake).Draw(t, "samples"))
				for i := range pcm {
					pcm[i] = int16(len(all) + i)
				}
				r.add(pcm)
				all, have = append(all, pcm...), have+len(pcm)
			}
			if have = min(have, size); r.have != int64(have) {
				t.Fatalf("has %d samples, want %d", r.have, have)
			}
			var got []int16
			for n := r.have; n > 0; n -= int64(len(r.last(n))) {
				got = append(got, r.last(n)...)
			}
			if !slices.Equal(got, all[len(all)-have:]) {
				t.Fatalf("after %d samples the newest are others", len(all))
			}
		}
	})
}
