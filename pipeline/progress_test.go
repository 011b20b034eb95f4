package pipeline

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcribe"
)

// watched is a server without a recognizer, whose events are kept: the test says
// what a recognizer would.
type watched struct {
	*server
	mu   sync.Mutex // guards told
	told []meeting.Event
}

// watch starts one, in the bubble of the test.
func watch(t *testing.T, w *world) (s *watched, stop func()) {
	s = &watched{}
	s.server = w.server(nil, func(e meeting.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, e)
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { check(t, s.logs.Run(ctx)) })
	wg.Go(func() { s.Run(ctx) })
	return s, func() {
		ended, end := context.WithCancel(ctx)
		end()
		s.Close(ended)
		cancel()
		wg.Wait()
	}
}

// open begins a track.
func (s *watched) open(t *testing.T) (*Writer, *track) {
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), "room", ada))
	w := must[*Writer](t)(s.OpenTrack(t.Context(), m.Session, m.StartedAt))
	return w, s.running(w.track)
}

// coverage is what was told of accounts after the first n events.
func (s *watched) coverage(n int) (out []meeting.Progress) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.told[n:] {
		if p, ok := e.Data.(meeting.Progress); ok {
			out = append(out, p)
		}
	}
	return out
}

func (s *watched) events() int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told)
}

func TestStatesAreToldAtOnceAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := watch(t, newWorld(t))
		defer stop()
		log, track := s.open(t)
		line := &sender{at: time.Now()}
		check(t, log.Append(t.Context(), line.next(audio.Packet{Kind: audio.Silence, Samples: 960})))
		time.Sleep(5 * time.Second)

		n := s.events()
		track.State(transcribe.Status{State: transcribe.StateOpening, Engine: "test", Since: time.Now()})
		want := meeting.Transcription{State: "opening", Engine: "test", Since: time.Now().UTC()}
		got := s.coverage(n)
		if len(got) != 1 || got[0].Tracks[0].Transcription == nil || *got[0].Tracks[0].Transcription != want {
			t.Fatalf("told at once: %+v", got)
		}

		// A recognizer that dies as soon as it is there.
		n = s.events()
		for i := range 1000 {
			time.Sleep(5 * time.Millisecond)
			state := []transcribe.State{transcribe.StateRetrying, transcribe.StateOpening}[i%2]
			track.State(transcribe.Status{State: state, Engine: "test", Retries: i, Since: time.Now()})
		}
		if got := len(s.coverage(n)); got < 15 || got > 26 {
			t.Errorf("%d events in 5 s of 1,000 changes", got)
		}
		time.Sleep(showRest)
		told := s.coverage(n)
		if last := told[len(told)-1].Tracks[0].Transcription; last.Retries != 999 || last.State != "opening" {
			t.Errorf("the last that was told is %+v", last)
		}

		inAPI := func() string {
			m := must[meeting.Meeting](t)(s.Meeting(t.Context(), track.row.Meeting))
			return string(must[[]byte](t)(json.Marshal(m.Tracks[0])))
		}
		if text := inAPI(); !strings.Contains(text, `"transcription":{"state":"opening","engine":"test","retries":999,"since":"2000-01-01T`) {
			t.Errorf("in the API: %s", text)
		}

		// Nothing is said of the transcription of a track that is done.
		check(t, log.Append(t.Context(), line.end()))
		told = s.coverage(n)
		if last := told[len(told)-1].Tracks[0]; last.Transcription != nil || last.State != meeting.TrackComplete {
			t.Errorf("at the end %+v", last)
		}
		if text := inAPI(); strings.Contains(text, "transcription") {
			t.Errorf("at the end, in the API: %s", text)
		}
		time.Sleep(5 * time.Second)
		if again := s.coverage(n); len(again) != len(told) {
			t.Errorf("%d events of a meeting in which nothing happens", len(again)-len(told))
		}
	})
}
