package insight

import (
	"cmp"
	"slices"
)

const (
	// shortMS is how long someone must talk for it to be a turn. What is shorter,
	// and stands by itself, is mostly a sign of listening ("mhm", "right").
	shortMS = 1000
	// turnPauseMS is the pause in which nobody talks that ends a turn.
	turnPauseMS = 2000
)

// phrase is talk of one voice that is long enough to be a turn, or part of one.
type phrase struct {
	Span
	voice int
}

// takeTurns fills in turns, short talk and interruptions.
func takeTurns(voices []*voice, s *Stats) {
	var phrases []phrase
	for i, v := range voices {
		for _, t := range join(slices.Clone(v.talk), shortMS) {
			if t.length() < shortMS {
				s.Participants[i].ShortTalks++
			} else {
				phrases = append(phrases, phrase{t, i})
			}
		}
	}
	slices.SortFunc(phrases, func(a, b phrase) int {
		return cmp.Or(cmp.Compare(a.StartMS, b.StartMS), cmp.Compare(a.voice, b.voice))
	})
	countTurns(phrases, s.Participants)
	countInterruptions(phrases, s.Participants)
}

// countTurns takes phrases by their start. A turn goes on over a pause if it is
// short and nobody has a phrase in it.
func countTurns(phrases []phrase, ps []Participant) {
	pauses := silences(phrases)
	current := make([]Span, len(ps)) // each participant's newest turn
	for _, f := range phrases {
		p, turn := &ps[f.voice], &current[f.voice]
		pause := Span{turn.EndMS, f.StartMS}
		if p.Turns > 0 && pause.length() < turnPauseMS && pauses[pause] {
			turn.EndMS = f.EndMS
		} else {
			p.Turns++
			*turn = f.Span
		}
		if p.LongestTurn == nil || turn.length() > p.LongestTurn.length() {
			longest := *turn
			p.LongestTurn = &longest
		}
	}
}

// silences are the stretches between phrases that have none in them. A pause of
// someone is one of them if nobody else talked in it.
func silences(phrases []phrase) map[Span]bool {
	out := make(map[Span]bool, len(phrases))
	var end int64
	for _, f := range phrases {
		if f.StartMS > end {
			out[Span{end, f.StartMS}] = true
		}
		end = max(end, f.EndMS)
	}
	return out
}

// countInterruptions takes phrases by their start. One interrupts another that
// has gone on for a while, if both go on together for a while and the other ends
// first.
func countInterruptions(phrases []phrase, ps []Participant) {
	var open []phrase // at most one of each participant
	for _, f := range phrases {
		open = slices.DeleteFunc(open, func(o phrase) bool { return o.EndMS <= f.StartMS })
		for _, o := range open {
			if f.StartMS-o.StartMS >= overlapMS && o.EndMS-f.StartMS >= overlapMS && o.EndMS < f.EndMS {
				ps[f.voice].Interruptions++
				ps[o.voice].Interrupted++
			}
		}
		open = append(open, f)
	}
}
