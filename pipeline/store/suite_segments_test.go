package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func numbers(ns []Numbered) (out []int64) {
	for _, n := range ns {
		out = append(out, n.N)
	}
	return out
}

func testNumbers(t *testing.T, s *Store) {
	ctx := t.Context()
	tracks := []meeting.Track{track(t, s, "A", "M", ada), track(t, s, "B", "M", bob), track(t, s, "C", "M", ada), track(t, s, "D", "N", ada)}
	want := map[string]int64{}
	next := make([]int, len(tracks))
	rapid.Check(t, func(r *rapid.T) {
		i := rapid.IntRange(0, len(tracks)-1).Draw(r, "track")
		tr := tracks[i]
		c := Commit{Track: tr.ID, Epoch: tr.Epoch}
		for range rapid.IntRange(0, 3).Draw(r, "segments") {
			c.Segments = append(c.Segments, seg(tr.ID, next[i], 0, 1, "x"))
			next[i]++
		}
		if rapid.IntRange(0, 4).Draw(r, "zombie") == 0 {
			c.Epoch--
			if _, err := s.Commit(ctx, c); !errors.Is(err, ErrNotOwner) {
				t.Fatal(err)
			}
			return
		}
		last := ok[int64](t)(s.Commit(ctx, c))
		want[tr.Meeting] += int64(len(c.Segments))
		if len(c.Segments) > 0 {
			same(t, last, want[tr.Meeting])
		}
	})
	for _, m := range []string{"M", "N"} {
		for i, n := range ok[[]Numbered](t)(s.Segments(ctx, m, 0, 1000)) {
			same(t, n.N, int64(i+1))
		}
	}
}

// testConcurrentCommits: whoever sees a number has seen all before it.
func testConcurrentCommits(t *testing.T, s *Store) {
	const writers, commits = 4, 25
	var wg sync.WaitGroup
	for w := range writers {
		id := fmt.Sprintf("T%d", w)
		tr := track(t, s, id, "M", ada)
		wg.Go(func() {
			for n := range commits {
				if _, err := s.Commit(t.Context(), Commit{Track: id, Epoch: tr.Epoch, Segments: []transcript.Segment{seg(id, n, 0, 1, "x")}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var seen int64
	for seen < writers*commits && !t.Failed() {
		for _, n := range ok[[]Numbered](t)(s.Segments(t.Context(), "M", seen, 7)) {
			seen++
			same(t, n.N, seen)
		}
	}
	wg.Wait()
}

func testSegments(t *testing.T, s *Store) {
	ctx := t.Context()
	a, b := track(t, s, "A", "M", ada), track(t, s, "B", "M", bob)
	join(t, s, "empty", ada)
	commit := func(tr meeting.Track, segs ...transcript.Segment) {
		ok[int64](t)(s.Commit(ctx, Commit{Track: tr.ID, Epoch: tr.Epoch, Segments: segs}))
	}
	commit(b, seg("B", 0, 50, 60, ""), seg("B", 1, 20, 30, ""))
	commit(a, seg("A", 9, 20, 30, ""), seg("A", 10, 20, 30, ""), seg("A", 11, 20, 25, ""))

	var got []string
	for _, sg := range ok[[]transcript.Segment](t)(s.Transcript(ctx, "M")) {
		got = append(got, sg.ID)
	}
	same(t, got, []string{"A.11", "A.9", "A.10", "B.1", "B.0"})

	for _, tt := range []struct {
		after int64
		limit int
		want  []int64
	}{{0, 10, []int64{1, 2, 3, 4, 5}}, {0, 2, []int64{1, 2}}, {2, 2, []int64{3, 4}}, {4, 9, []int64{5}}, {5, 9, nil}, {99, 9, nil}, {0, 0, []int64{1}}} {
		same(t, numbers(ok[[]Numbered](t)(s.Segments(ctx, "M", tt.after, tt.limit))), tt.want)
	}
	same(t, ok[[]Numbered](t)(s.Segments(ctx, "empty", 0, 9)), []Numbered{})
	same(t, ok[[]transcript.Segment](t)(s.Transcript(ctx, "empty")), []transcript.Segment{})
}

func testText(t *testing.T, s *Store) {
	ctx := t.Context()
	tr := track(t, s, "A", "M", transcript.Participant{ID: "x", Name: "\x00O'Neil\xff"})
	texts := []string{"", "'; DROP TABLE segments; --", "世界 🎤", strings.Repeat("long ", 10_000), "$1 ?1 :a"}
	for i, text := range texts {
		ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{seg("A", i, int64(i), 0, text)}}))
	}
	ok[int64](t)(s.Commit(ctx, Commit{Track: "A", Epoch: tr.Epoch, Segments: []transcript.Segment{seg("A", 99, 99, 0, "a\x00b\xffc")}}))
	var got []string
	for _, sg := range ok[[]transcript.Segment](t)(s.Transcript(ctx, "M")) {
		got = append(got, sg.Text)
		same(t, sg.Participant.Name, "\uFFFDO'Neil\uFFFD")
	}
	same(t, got, slices.Concat(texts, []string{"a\uFFFDb\uFFFDc"}))
}
