package insight

import (
	"cmp"
	"slices"
)

const (
	// pauseMS is the shortest pause that interrupts talk. What is shorter is part
	// of fluent speech (stops, the ends of words that a recognizer cuts short).
	pauseMS = 300
	// overlapMS is the shortest overlap that counts as one. Most changes of
	// speaker overlap a little, and word times are not exact to 300 ms.
	overlapMS = 500
)

// join sorts spans and joins those with less than pause between them. It uses
// the memory of spans.
func join(spans []Span, pause int64) []Span {
	slices.SortFunc(spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.StartMS, b.StartMS), cmp.Compare(a.EndMS, b.EndMS))
	})
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.StartMS-out[n-1].EndMS < pause {
			out[n-1].EndMS = max(out[n-1].EndMS, s.EndMS)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// edge is where a voice begins or ends to talk.
type edge struct {
	at    int64
	voice int
	step  int // +1 or −1
}

// sweep goes through the meeting from edge to edge, and fills in what depends on
// how many talk at once.
func sweep(voices []*voice, s *Stats) {
	var edges []edge
	for i, v := range voices {
		for _, t := range v.talk {
			edges = append(edges, edge{t.StartMS, i, 1}, edge{t.EndMS, i, -1})
		}
	}
	// Beginnings first: who takes over without a pause makes no silence of 0 ms,
	// and two overlaps that touch are one.
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.step, a.step)) })

	alone := make([]int64, len(voices))
	var before, since int64 // the last edge; when the double talk began
	talking, sum := 0, 0    // how many talk, and the sum of their indexes
	for _, e := range edges {
		passed := e.at - before
		switch talking {
		case 0:
			s.SilenceMS += passed
		case 1:
			alone[sum] += passed // the sum of one index
		default:
			s.DoubleTalkMS += passed
			s.OverlapMS += passed * int64(talking-1)
		}
		before = e.at
		if talking == 1 && e.step > 0 {
			since = e.at
		}
		if talking == 2 && e.step < 0 && e.at-since >= overlapMS {
			s.Overlaps++
		}
		talking += e.step
		sum += e.step * e.voice
	}
	s.SilenceMS += s.DurationMS - before
	for i := range s.Participants {
		s.Participants[i].OverlappedMS = s.Participants[i].TalkMS - alone[i]
	}
}
