package pipeline

import (
	"slices"
	"sort"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

const (
	// Gaps of a kind that lie less than joinWithin apart, in ticks, make one row,
	// which gets no longer than longestRow by that.
	joinWithin = 2 * audio.TickRate
	longestRow = 60 * audio.TickRate
	// maxExact is how many spans of a kind wait for a commit with their exact
	// places (24 bytes each; 10 % of all packets for 6 minutes). Those beyond are
	// joined as in rows, so that there are at most 30 more a minute.
	maxExact = 2000
)

// gapKinds are the packets that hold nothing to hear where something may have
// been said.
var gapKinds = map[audio.Kind]transcript.MissingKind{
	audio.Lost:          transcript.Concealed,
	audio.Discontinuity: transcript.Discontinuity,
	audio.Shed:          transcript.Shed,
}

// gaps collects what a track's readers come across that nobody can hear, until
// a commit has stored it. A part that is read again counts once, but audio that
// was shed meanwhile is new: whoever heard it has not committed it.
type gaps struct {
	stored int64 // tick: the checkpoint; what lies before it is stored
	read   int64 // tick: how far the track was read
	// spans of each kind, in order and apart from each other, all behind stored.
	spans map[transcript.MissingKind][]span
}

// span is a part of a track that lacks some ticks: all, but for joined ones.
type span struct{ start, end, ticks int64 }

// add takes a packet that was read.
func (g *gaps) add(p audio.Packet) {
	start, end := max(p.Start, g.stored), p.Next()
	g.read = max(g.read, end)
	kind, ok := gapKinds[p.Kind]
	if !ok || start >= end {
		return
	}
	if g.spans == nil {
		g.spans = map[transcript.MissingKind][]span{}
	}
	g.spans[kind] = unite(g.spans[kind], start, end)
}

// unite adds what lies between start and end and is not among the spans yet.
func unite(spans []span, start, end int64) []span {
	for start < end {
		i := sort.Search(len(spans), func(i int) bool { return spans[i].end > start })
		if i == len(spans) {
			return extend(spans, start, end)
		}
		if next := spans[i].start; start < next {
			to := min(end, next)
			spans = slices.Insert(spans, i, span{start, to, to - start})
		}
		start = spans[i].end
	}
	return spans
}

// extend adds what lies behind all spans.
func extend(spans []span, start, end int64) []span {
	if n := len(spans); n > 0 {
		last := &spans[n-1]
		if start == last.end || n >= maxExact && joins(last.start, last.end, start, end) {
			last.end, last.ticks = end, last.ticks+end-start
			return spans
		}
	}
	return append(spans, span{start, end, end - start})
}

// joins reports whether a gap from start to end goes into the row before it.
func joins(rowStart, rowEnd, start, end int64) bool {
	return start-rowEnd < joinWithin && end-rowStart <= longestRow
}

// until are the rows of what lies before tick through, cut there.
func (g *gaps) until(through int64) (rows []meeting.Gap) {
	for kind, spans := range g.spans {
		first := len(rows)
		for _, s := range spans {
			if s.start >= through {
				break
			}
			s, _ = s.split(through)
			switch n := len(rows); {
			case s.ticks == 0:
			case n > first && joins(rows[n-1].Start, rows[n-1].End, s.start, s.end):
				rows[n-1].End, rows[n-1].Ticks = s.end, rows[n-1].Ticks+s.ticks
			default:
				rows = append(rows, meeting.Gap{Kind: kind, Start: s.start, End: s.end, Ticks: s.ticks})
			}
		}
	}
	return rows
}

// forget says that what lies before tick through is stored.
func (g *gaps) forget(through int64) {
	for kind, spans := range g.spans {
		i := sort.Search(len(spans), func(i int) bool { return spans[i].end > through })
		if i < len(spans) && spans[i].start < through {
			_, spans[i] = spans[i].split(through)
		}
		g.spans[kind] = slices.Delete(spans, 0, i)
	}
	g.stored, g.read = max(g.stored, through), max(g.read, through)
}

// split cuts a span at a tick behind its start. Of one that was joined the place
// of what is missing is not known; its sum stays.
func (s span) split(at int64) (head, tail span) {
	if at >= s.end {
		return s, span{start: s.end, end: s.end}
	}
	ticks := min(s.ticks, at-s.start)
	return span{s.start, at, ticks}, span{at, s.end, s.ticks - ticks}
}
