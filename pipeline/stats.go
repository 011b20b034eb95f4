package pipeline

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

// Stats are the numbers of a Pipeline.
type Stats struct {
	// Tracks that run now, by the State of their transcription: "" as long as it
	// has none, because it has not begun or there is no recognizer.
	Tracks map[string]int
	// Pending is what running tracks have left to transcribe, in ticks (48 kHz).
	Pending int64
	// Ticks of all tracks since New.
	Ticks Ticks
	// Segments that were stored since New, by the name of their engine.
	Segments map[string]uint64
	// Commit is how long the store took for a commit; Delay how long after the
	// end of an utterance, by the server's clock, it was stored.
	Commit, Delay Histogram
	// Recorded are meetings whose recordings were made since New;
	// RecordFailures are attempts at that which failed.
	Recorded, RecordFailures uint64
}

// Ticks (48 kHz) of tracks that this process took in and transcribed: what an
// earlier one did is not in them. They never become less.
type Ticks struct {
	// Arrived is what came. What is Shed of it was Received or Recovered before,
	// and stays in there, too.
	Arrived audio.Account
	// Transcribed and Skipped are what transcripts moved on by.
	Transcribed, Skipped int64
}

// reached is how far a track's transcript has got, in ticks.
type reached struct {
	through int64 // its checkpoint
	skipped int64 // how much before it was given up
}

// before is what an earlier run of the server had of a track.
type before struct {
	account audio.Account
	reached reached
}

// reach tells Stats how far the transcript is. Only the track's own goroutines
// call it, as they alone change row.
func (t *track) reach() {
	t.reached.Store(&reached{through: t.row.Through, skipped: t.row.Skipped})
}

// add counts a track.
func (s *Ticks) add(t *track) {
	at, arrived := t.reached.Load(), t.log.Arrived()
	s.Arrived.Received += arrived.Received - t.before.account.Received
	s.Arrived.Recovered += arrived.Recovered - t.before.account.Recovered
	s.Arrived.Concealed += arrived.Concealed - t.before.account.Concealed
	s.Arrived.Silence += arrived.Silence - t.before.account.Silence
	s.Arrived.Discontinuity += arrived.Discontinuity - t.before.account.Discontinuity
	s.Arrived.Shed += arrived.Shed - t.before.account.Shed
	skipped := at.skipped - t.before.reached.skipped
	s.Transcribed += at.through - t.before.reached.through - skipped
	s.Skipped += skipped
}

// Stats may be called at any time; it waits neither for the disk nor the store.
func (p *Pipeline) Stats() Stats {
	s := Stats{Tracks: map[string]int{}}
	p.mu.Lock()
	s.Ticks = p.done
	for _, t := range p.tracks {
		state := ""
		if st := t.status.Load(); st != nil {
			state = st.State
		}
		s.Tracks[state]++
		s.Ticks.add(t)
		through := t.reached.Load().through // first: it never passes the end
		_, end, _, _ := t.log.State()
		s.Pending += end - through
	}
	p.mu.Unlock()
	p.counts.read(&s)
	return s
}

// counts is what commits add up to.
type counts struct {
	mu                       sync.Mutex // guards all
	segments                 map[string]uint64
	commit                   histogram
	delay                    histogram
	recorded, recordFailures uint64
}

func newCounts() *counts {
	return &counts{
		segments: map[string]uint64{},
		commit:   newHistogram(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10),
		delay:    newHistogram(.25, .5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600),
	}
}

func (c *counts) read(s *Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Segments, s.Commit, s.Delay = maps.Clone(c.segments), c.commit.read(), c.delay.read()
	s.Recorded, s.RecordFailures = c.recorded, c.recordFailures
}

// attempted counts an attempt to record a meeting.
func (c *counts) attempted(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.recorded++
	case !errors.Is(err, context.Canceled): // by an erasure, or the server's end
		c.recordFailures++
	}
}

// committed counts a commit that the store was asked for at a time. began is the
// start of the meeting, on whose clock the segments are.
func (c *counts) committed(asked, began time.Time, segments []transcript.Segment) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commit.observe(now.Sub(asked))
	for i := range segments {
		s := &segments[i]
		c.segments[s.Engine]++
		c.delay.observe(now.Sub(began.Add(time.Duration(s.EndMS) * time.Millisecond)))
	}
}
