package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"verbatim/pipeline/transcript"
)

// A hundred hours of meetings: 100,000 segments of twelve words.
func searchable(b *testing.B) *Store {
	b.Helper()
	s := openTest(b)
	tr := track(b, s, "A", "M", ada)
	r := rand.New(rand.NewPCG(1, 2))
	for k := range 100 {
		c := Commit{Track: "A", Epoch: tr.Epoch}
		for n := range 1000 {
			var text strings.Builder
			for range 12 {
				fmt.Fprintf(&text, "word%d ", int(r.ExpFloat64()*1000))
			}
			c.Segments = append(c.Segments, seg("A", k*1000+n, int64(n), int64(n)+1, text.String()))
		}
		ok[int64](b)(s.Commit(b.Context(), c))
	}
	return s
}

func BenchmarkSearch(b *testing.B) {
	s := searchable(b)
	for _, q := range []string{"word3", "word3 word40", "word3000 word20"} {
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				_, _, err := s.Search(b.Context(), q, "", 20, "")
				must(b, err)
			}
		})
	}
}

func BenchmarkEraseSearched(b *testing.B) {
	s := searchable(b)
	for b.Loop() {
		join(b, s, "gone", transcript.Participant{ID: "ada"})
		must(b, s.Delete(b.Context(), "gone"))
	}
}
