package deepgram

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	// slack is how far finals may lie apart and still follow each other, in
	// samples: no word is that short.
	slack = 100 * audio.FrameRate / 1000
	// tail is how much silence at the end need not be in a final.
	tail = audio.FrameRate
	// lateBy is how long finals wait for one that should have come before.
	lateBy = 5 * time.Second
	// maxEarly is how many wait.
	maxEarly = 32
)

var errNeverCame = errors.New("deepgram: a final never came")

// order puts finals in order. late is for whoever makes it: a stopped timer
// that fires when a final never came. All else is for one goroutine.
type order struct {
	late  *time.Timer
	next  int64               // up to which finals have come, in samples
	shown int64               // where the last words of an interim end
	early []transcribe.Result // finals that lie behind a hole, by Start
	err   error
}

// take takes a result and returns what is due: it, or nothing, or also what has
// waited for it.
func (o *order) take(m message) (due []transcribe.Result) {
	r := m.result
	switch {
	case !r.Final:
		if r.End <= o.next {
			return nil
		}
		if n := len(r.Words); n > 0 {
			o.shown = max(o.shown, r.Words[n-1].End)
		}
		return append(due, begin(r))
	case r.End <= o.next:
		return nil // it came already, or there is nothing in it
	case r.Start > o.next+slack:
		o.wait(r)
		return nil
	}
	for {
		due = append(due, begin(r))
		o.next = max(o.next, r.End)
		for len(o.early) > 0 && o.early[0].End <= o.next {
			o.early = o.early[1:] // it came twice
		}
		if len(o.early) == 0 {
			o.late.Stop()
			return due
		}
		if o.early[0].Start > o.next+slack {
			o.late.Reset(lateBy)
			return due
		}
		r, o.early = o.early[0], o.early[1:]
	}
}

// wait keeps a final until those before it have come.
func (o *order) wait(r transcribe.Result) {
	at, known := slices.BinarySearchFunc(o.early, r, func(a, b transcribe.Result) int { return int(a.Start - b.Start) })
	if known {
		return
	}
	if len(o.early) == 0 {
		o.late.Reset(lateBy)
	}
	if o.early = slices.Insert(o.early, at, r); len(o.early) > maxEarly {
		o.err = errNeverCame
	}
}

// covers says whether everything was spoken for, of so many samples.
func (o *order) covers(written int64) error {
	if len(o.early) > 0 || o.shown > o.next+slack || written > o.next+tail {
		return fmt.Errorf("%w: those that did end at %d of %d ms", errNeverCame, o.next*1000/audio.FrameRate, written*1000/audio.FrameRate)
	}
	return nil
}

// begin lets a result begin with its first word.
func begin(r transcribe.Result) transcribe.Result {
	if len(r.Words) > 0 {
		r.Start = r.Words[0].Start
	}
	return r
}
