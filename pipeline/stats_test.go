package pipeline

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := watch(t, w)
		stats := func(when string, want Stats) Stats {
			t.Helper()
			synctest.Wait()
			got := s.Stats()
			plain := got
			plain.Commit, plain.Delay = Histogram{}, Histogram{}
			if fmt.Sprint(plain) != fmt.Sprint(want) {
				t.Errorf("%s:\n%+v, want\n%+v", when, plain, want)
			}
			return got
		}
		log, track := s.open(t)
		line := &sender{at: time.Now()}
		for _, kind := range []audio.Kind{audio.Coded, audio.Lost, audio.Silence, audio.Discontinuity, audio.Coded} {
			p := audio.Packet{Kind: kind, Samples: 4800} // 100 ms
			if kind == audio.Coded {
				p.Format, p.Payload = audio.FormatPCMU, make([]byte, 800)
			}
			check(t, log.Append(t.Context(), line.next(p)))
		}
		account := audio.Account{Received: 9600, Concealed: 4800, Silence: 4800, Discontinuity: 4800}
		stats("all is pending", Stats{
			Tracks: map[string]int{"": 1}, Pending: 24000, Ticks: Ticks{Arrived: account}, Segments: map[string]uint64{},
		})

		track.State(transcribe.Status{State: transcribe.StateLive})
		time.Sleep(400 * time.Millisecond)
		check(t, track.Commit(t.Context(), 3200, []transcribe.Utterance{{End: 3200, Text: "word", Engine: "test"}}))
		got := stats("a word", Stats{
			Tracks: map[string]int{"live": 1}, Pending: 14400, Ticks: Ticks{Arrived: account, Transcribed: 9600},
			Segments: map[string]uint64{"test": 1},
		})
		if d := got.Delay; d.Count != 1 || d.Sum < 0.199 || d.Sum > 0.201 || d.Counts[0] != 1 {
			t.Errorf("it came 200 ms after it was said, not %+v", d)
		}
		if got.Commit.Count != 1 {
			t.Errorf("commits: %+v", got.Commit)
		}

		// The server goes down before the rest, and another takes the track up: it
		// counts what it does itself.
		stop()
		stats("it was left pending", Stats{
			Tracks: map[string]int{}, Ticks: Ticks{Arrived: account, Transcribed: 9600}, Segments: map[string]uint64{"test": 1},
		})
		s, stop = watch(t, w)
		defer stop()
		check(t, s.Recover(t.Context()))
		stats("the rest was given up", Stats{
			Tracks: map[string]int{}, Ticks: Ticks{Skipped: 14400}, Segments: map[string]uint64{},
		})
	})
}

func TestHistogram(t *testing.T) {
	h := newHistogram(1, 2, 5)
	for _, d := range []time.Duration{-time.Second, time.Second, 1500 * time.Millisecond, 5 * time.Second, time.Minute} {
		h.observe(d)
	}
	if got := h.read(); fmt.Sprint(got) != "{[1 2 5] [2 3 4] 5 67.5}" {
		t.Error(got)
	}
}
