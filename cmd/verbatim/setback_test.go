package main

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/pipeline/meeting"
)

// TestClockSetBack: an hour goes by on no clock but the wall's, which is set back
// by it while a meeting goes on, and once more while the server is away. What is
// said stands in the meeting in the order in which it was said, and as far apart.
//
// In a bubble time.Now cannot be set. That it shows an hour less than the clock
// of the server does comes to the same for whoever would look at it.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var said []time.Time
		var speakers []*speaker
		began := time.Now()
		half := func(h *house, first int) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for i := range 2 {
				s := h.speaker(first+i, "speaks in turn", 0)
				s.name = [2]string{"ada", "bob"}[i]
				speakers = append(speakers, s)
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 20 * time.Second) // the second comes later
					s.join(1, 1)
					for range 4 {
						s.sound()
						s.talk(7 * second)
					}
					s.leave()
					mu.Lock()
					defer mu.Unlock()
					said = append(said, s.sounds...)
				})
			}
			wg.Wait()
		}
		h := newHouseIn(t, dir, time.Hour)
		half(h, 0)
		h.stop()
		time.Sleep(10 * time.Second)
		h = newHouseIn(t, dir, 0)
		half(h, 2)

		time.Sleep(2 * time.Minute) // until the meeting has ended
		all, _, err := h.pipeline.Meetings(t.Context(), "", 10, "")
		if err != nil || len(all) != 1 || all[0].State != meeting.StateComplete {
			t.Fatalf("meetings %+v (%v), want one that is complete", all, err)
		}
		m := all[0]
		doc, err := h.pipeline.Transcript(t.Context(), m.ID)
		if err != nil || len(doc.Segments) != len(said) || len(doc.Missing) > 0 {
			t.Fatalf("%d segments of %d sounds, %d gaps (%v)", len(doc.Segments), len(said), len(doc.Missing), err)
		}
		// What the server did not see pass, it cannot know: while it was away, the
		// clock stood still.
		for i, at := range inOrder(said) {
			s := doc.Segments[i]
			want := at.Sub(began).Milliseconds()
			if i >= len(said)/2 {
				want -= 10_000
			}
			if off := s.StartMS - want; s.StartMS < 0 || s.EndMS < s.StartMS || off < -1500 || off > 500 {
				t.Errorf("sound %d is at %d to %d ms, was made at %d", i, s.StartMS, s.EndMS, want)
			}
			if i > 0 && s.StartMS < doc.Segments[i-1].StartMS {
				t.Errorf("segment %d comes before the one before it", i)
			}
		}
		var total int64
		for i, track := range m.Tracks {
			if track.StartedAt.Before(m.StartedAt) || i > 0 && track.StartedAt.Before(m.Tracks[i-1].StartedAt) {
				t.Errorf("track %d begins %v after the meeting", i, track.StartedAt.Sub(m.StartedAt))
			}
			checkCoverage(t, track.Coverage)
			h.checkLog(t, track)
			total += track.Account.Received
		}
		var sent int64
		for _, s := range speakers {
			sent += s.track().received
		}
		if len(m.Tracks) != 4 || total != sent || m.Coverage.TranscribedMS != m.Coverage.DurationMS || m.Coverage.PendingMS+m.Coverage.SkippedMS != 0 {
			t.Errorf("%d tracks, %d ticks of %d that were sent; coverage %+v", len(m.Tracks), total, sent, m.Coverage)
		}
		for _, p := range m.Participants {
			if p.JoinedAt.Before(m.StartedAt) || p.LeftAt == nil || !p.LeftAt.After(p.JoinedAt) || p.LeftAt.After(*m.EndedAt) {
				t.Errorf("%s was there from %v to %v of a meeting from %v to %v", p.ID, p.JoinedAt, p.LeftAt, m.StartedAt, m.EndedAt)
			}
		}
		h.stop()
	})
}

func inOrder(times []time.Time) []time.Time {
	slices.SortFunc(times, time.Time.Compare)
	return times
}
