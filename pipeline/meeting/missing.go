package meeting

import (
	"cmp"
	"slices"

	"verbatim/pipeline/transcript"
)

// Gap is a part of a track that its transcript lacks, before the checkpoint.
// Gaps of a kind do not overlap; what was skipped may hold what was lost before.
type Gap struct {
	Track string
	Kind  transcript.MissingKind // but for Pending
	// Start and End are in ticks (48 kHz), and Ticks is how much is missing
	// between them: losses close to each other stand together.
	Start, End, Ticks int64
	// StartMS and EndMS are the same places on the meeting's clock.
	StartMS, EndMS int64
	Reason         string // of what was skipped
}

// Missing are the parts of the meeting that no transcript speaks for, by their
// start: its gaps, which come by track, kind and start, and what is pending. at
// places a tick of a track on the meeting's clock.
//
// What is missing of a kind of a track adds up to its coverage, to the
// millisecond. Only audio that was given up after it had been transcribed is
// in the coverage (as shed) and not here.
func (m Meeting) Missing(gaps []Gap, at func(t Track, tick int64) int64) []transcript.Missing {
	tracks := make(map[string]Track, len(m.Tracks))
	out := []transcript.Missing{}
	for _, t := range m.Tracks {
		tracks[t.ID] = t
		if total := t.Account.Total(); total > t.Through {
			pending := Gap{Track: t.ID, Kind: transcript.Pending, Start: t.Through, End: total, Ticks: total - t.Through,
				StartMS: at(t, t.Through), EndMS: at(t, total)}
			out = append(out, m.missing(t, pending, &cutter{t.Through}))
		}
	}
	var before Gap
	var ms *cutter
	for _, g := range gaps {
		t, ok := tracks[g.Track]
		if !ok || g.Start >= t.Through {
			continue // newer than what is known of the meeting
		}
		same := g.Track == before.Track && g.Kind == before.Kind
		if !same {
			ms = &cutter{t.accountBefore(g.Kind)}
		}
		next := m.missing(t, g, ms)
		if same && g.Start == before.End && g.Reason == before.Reason {
			last := &out[len(out)-1]
			last.EndMS, last.MissingMS = next.EndMS, last.MissingMS+next.MissingMS
		} else {
			out = append(out, next)
		}
		before = g
	}
	slices.SortStableFunc(out, func(a, b transcript.Missing) int {
		return cmp.Or(cmp.Compare(a.StartMS, b.StartMS), cmp.Compare(a.EndMS, b.EndMS), cmp.Compare(a.Track, b.Track))
	})
	return out
}

func (m Meeting) missing(t Track, g Gap, ms *cutter) transcript.Missing {
	who := transcript.Participant{ID: t.Participant}
	for _, p := range m.Participants {
		if p.ID == who.ID {
			who.Name = p.Name
		}
	}
	return transcript.Missing{
		Track: t.ID, Participant: who, StartMS: g.StartMS, EndMS: g.EndMS,
		MissingMS: ms.cut(g.Ticks), Kind: g.Kind, Reason: g.Kind.Reason(g.Reason),
	}
}

// accountBefore is how much NewCoverage has cut off when it comes to a kind.
func (t Track) accountBefore(k transcript.MissingKind) int64 {
	a := t.Account
	switch k {
	case transcript.Concealed:
		return a.Received + a.Recovered
	case transcript.Discontinuity:
		return a.Received + a.Recovered + a.Concealed + a.Silence
	case transcript.Shed:
		return a.Total() - a.Shed
	default:
		return t.Through - t.Skipped
	}
}
