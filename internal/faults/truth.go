//go:build linux

package main

import (
	"math"
	"slices"

	"verbatim/internal/tonecode"
)

// fate is what has to become of a number that a participant said.
type fate int

const (
	kept fate = iota // it is in the transcript, once
	// unsent: it could not be sent, or not all of it, because the server was
	// down. The client knows.
	unsent
	// edge: it was sent so shortly before the server died that it may have been
	// in its memory only. No one had said that it was not.
	edge
)

// truth is what one participant said: the numbers from 0 on, one every 100 ms.
type truth struct {
	participant string
	fates       []fate // of each number, those of pauses included
	// again is how many times more each number was sent, in a new track, because
	// a server that died had not yet acknowledged it.
	again []int
	// late are numbers that were sent later than they were said: no server can
	// know when that was.
	late []bool
}

// word is one of the transcript, in the order of which it is given.
type word struct {
	participant, track, text string
	start                    int64 // ms, on the meeting's clock
}

// count is how a participant's truth and transcript differ. Sums of it are
// those of several participants.
type count struct {
	Said int `json:"said"`
	// These have to be 0.
	Lost       int `json:"lost"`
	Doubled    int `json:"doubled"`
	Disordered int `json:"out_of_order"`
	Wrong      int `json:"wrong"` // words that nobody said
	// These are what the faults make unavoidable, see fate and truth.again.
	Unsent int `json:"unsent"`
	Edge   int `json:"in_memory"`
	Again  int `json:"sent_twice"`
	// Off is how far the time of a word that was not late is from the truth, but
	// for what is the same for all words of its track (the way to the server), in
	// ms at most.
	Off float64 `json:"off_ms"`
	// Drift is how far the times of a participant's tracks are from each other's,
	// in ms at most.
	Drift float64 `json:"drift_ms"`
	// Which are the numbers that were lost or doubled, a few at most.
	Which []int `json:"-"`
}

func (c count) plus(d count) count {
	return count{
		Which: c.Which,
		Said:  c.Said + d.Said, Lost: c.Lost + d.Lost, Doubled: c.Doubled + d.Doubled,
		Disordered: c.Disordered + d.Disordered, Wrong: c.Wrong + d.Wrong,
		Unsent: c.Unsent + d.Unsent, Edge: c.Edge + d.Edge, Again: c.Again + d.Again,
		Off: max(c.Off, d.Off), Drift: max(c.Drift, d.Drift),
	}
}

// compare looks for each number of t among the words, of which it takes those
// of the participant.
func (t truth) compare(words []word) count {
	heard := make([]int, len(t.fates))
	var c count
	newest := -1
	offs := map[string][]float64{} // by track
	for _, w := range words {
		if w.participant != t.participant {
			continue
		}
		i, ok := tonecode.Index(w.text)
		if !ok || i >= len(t.fates) || !tonecode.Spoken(i) {
			c.Wrong++
			continue
		}
		if !t.late[i] {
			offs[w.track] = append(offs[w.track], float64(w.start-int64(i)*100))
		}
		if heard[i]++; heard[i] > 1 {
			continue
		}
		if i < newest {
			c.Disordered++
		}
		newest = max(newest, i)
	}
	for i, n := range heard {
		if tonecode.Spoken(i) {
			one := t.judge(i, n)
			if one.Lost+one.Doubled > 0 && len(c.Which) < 10 {
				c.Which = append(c.Which, i)
			}
			c = c.plus(one)
		}
	}
	var tracks []float64
	for _, all := range offs {
		slices.Sort(all)
		middle := all[len(all)/2]
		c.Off = max(c.Off, math.Abs(all[0]-middle), math.Abs(all[len(all)-1]-middle))
		tracks = append(tracks, middle)
	}
	if len(tracks) > 0 {
		c.Drift = slices.Max(tracks) - slices.Min(tracks)
	}
	return c
}

// newTruth is that n numbers were said and kept.
func newTruth(participant string, n int) truth {
	return truth{participant: participant, fates: make([]fate, n), again: make([]int, n), late: make([]bool, n)}
}

// judge is about one number that was heard n times.
func (t truth) judge(i, n int) (c count) {
	c.Said = 1
	switch {
	case n > 0:
		c.Again = min(n-1, t.again[i])
		c.Doubled = n - 1 - c.Again
	case t.fates[i] == unsent:
		c.Unsent = 1
	case t.fates[i] == edge:
		c.Edge = 1
	default:
		c.Lost = 1
	}
	return c
}
