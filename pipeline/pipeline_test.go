package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a pipeline without a recognizer, as serve wires it, within a bubble:
// the tests say what a recognizer would.
type world struct {
	*Pipeline
	t    *testing.T
	dir  string
	told []meeting.Event // published so far; read it after synctest.Wait
	stop func()
}

func newWorld(t *testing.T, dir string) *world {
	w := &world{t: t, dir: dir}
	log := slog.New(slog.DiscardHandler)
	db := ok(store.Open(t.Context(), filepath.Join(dir, "verbatim.db")))(t)
	logs := ok(tracklog.New(tracklog.Options{Dir: filepath.Join(dir, "tracks"), SyncEvery: -1, Logger: log}))(t)
	var mu sync.Mutex
	publish := func(e meeting.Event) {
		mu.Lock()
		defer mu.Unlock()
		w.told = append(w.told, e)
	}
	registry := ok(meeting.NewRegistry(t.Context(), meeting.Config{
		Store: db, Publish: publish, CloseSession: func(string, audio.Reason) bool { return true }, Linger: time.Hour, Logger: log,
	}))(t)
	w.Pipeline = New(Config{Logs: logs, Store: db, Registry: registry, Publish: publish, Engine: "test", Logger: log})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := logs.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { w.Run(ctx) })
	w.stop = func() {
		ended, end := context.WithCancel(ctx)
		end()
		w.Close(ended)
		cancel()
		wg.Wait()
		ok(0, db.Close())(t)
	}
	return w
}

func ok[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// open begins a track of a new participant.
func (w *world) open(name string) (*Writer, *track) {
	w.t.Helper()
	m := ok(w.cfg.Registry.Join(w.t.Context(), "room", transcript.Participant{ID: name, Name: name}))(w.t)
	log := ok(w.OpenTrack(w.t.Context(), m.Session, time.Now()))(w.t)
	w.mu.Lock()
	defer w.mu.Unlock()
	return log, w.tracks[log.track]
}

// sender makes the packets of a track, which come as if in real time.
type sender struct {
	begun   time.Time
	seq     uint64
	start   int64
	account audio.Account
}

func (s *sender) packet(kind audio.Kind, samples int64) audio.Packet {
	if s.seq == 0 {
		s.begun = time.Now()
	}
	at := s.begun.Add(time.Duration(s.start) * time.Second / audio.TickRate)
	p := audio.Packet{Seq: s.seq, Start: s.start, Samples: samples, Kind: kind, At: at}
	if kind == audio.Coded {
		p.Format, p.Payload = audio.FormatPCMU, make([]byte, samples/6)
	}
	s.seq, s.start = s.seq+1, s.start+samples
	s.account.Add(p)
	return p
}

func (s *sender) end() audio.Packet {
	return audio.NewEnd(s.seq, s.start, time.Now(), audio.EndInfo{Reason: audio.ReasonLeft, Totals: s.account})
}

// coverage is what was told of the meetings' accounts from the event n on.
func (w *world) coverage(n int) (out []meeting.Progress) {
	for _, e := range w.told[n:] {
		if p, ok := e.Data.(meeting.Progress); ok {
			out = append(out, p)
		}
	}
	return out
}

func TestStatesAreToldAtOnceAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		defer w.stop()
		log, track := w.open("ada")
		var tx sender
		ok(0, log.Append(t.Context(), tx.packet(audio.Coded, 960)))(t)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		n := len(w.told)

		since := time.Now()
		track.State(transcribe.Status{State: transcribe.StateOpening, Engine: "test", Since: since})
		synctest.Wait()
		got := w.coverage(n)
		want := meeting.Transcription{State: "opening", Engine: "test", Since: since.UTC()}
		if len(got) != 1 || got[0].Tracks[0].Transcription == nil || *got[0].Tracks[0].Transcription != want {
			t.Fatalf("told at once: %+v", got)
		}

		// A recognizer that dies as soon as it is there.
		n = len(w.told)
		for i := range 1000 {
			time.Sleep(5 * time.Millisecond)
			state := []transcribe.State{transcribe.StateRetrying, transcribe.StateOpening}[i%2]
			track.State(transcribe.Status{State: state, Engine: "test", Retries: i, Since: time.Now()})
		}
		synctest.Wait()
		if got := len(w.coverage(n)); got < 15 || got > 26 {
			t.Errorf("%d events in 5 s of 1,000 changes", got)
		}
		time.Sleep(showRest)
		synctest.Wait()
		told := w.coverage(n)
		if last := told[len(told)-1].Tracks[0].Transcription; last.Retries != 999 || last.State != "opening" {
			t.Errorf("the last that was told is %+v", last)
		}

		m := ok(w.Meeting(t.Context(), track.row.Meeting))(t)
		text := string(ok(json.Marshal(m.Tracks[0]))(t))
		if !strings.Contains(text, `"transcription":{"state":"opening","engine":"test","retries":999,"since":"2000-01-01T`) {
			t.Errorf("in the API: %s", text)
		}

		// Nothing is said of the transcription of a track that is done.
		ok(0, log.Append(t.Context(), tx.end()))(t)
		synctest.Wait()
		told = w.coverage(n)
		if last := told[len(told)-1].Tracks[0]; last.Transcription != nil || last.State != meeting.TrackComplete {
			t.Errorf("at the end %+v", last)
		}
		m = ok(w.Meeting(t.Context(), track.row.Meeting))(t)
		if text := string(ok(json.Marshal(m.Tracks[0]))(t)); strings.Contains(text, "transcription") {
			t.Errorf("at the end, in the API: %s", text)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if again := w.coverage(n); len(again) != len(told) {
			t.Errorf("%d events of a meeting in which nothing happens", len(again)-len(told))
		}
	})
}

// commit is what the supervisor does with a final.
func (t *track) say(from, to int64) error {
	return t.Commit(context.Background(), to, []transcribe.Utterance{{Start: from, End: to, Text: "word"}})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t, dir)
		log, track := w.open("ada")
		var tx sender
		for _, kind := range []audio.Kind{audio.Coded, audio.Lost, audio.Silence, audio.Discontinuity, audio.Coded} {
			ok(0, log.Append(t.Context(), tx.packet(kind, 4800)))(t)
		}
		check := func(what string, want Stats) {
			t.Helper()
			got := w.Stats()
			got.Commit, got.Delay = Histogram{}, Histogram{}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s:\n%+v, want\n%+v", what, got, want)
			}
		}
		account := audio.Account{Received: 9600, Concealed: 4800, Silence: 4800, Discontinuity: 4800}
		check("all is pending", Stats{
			Tracks: map[string]int{"": 1}, Pending: 24000, Ticks: Ticks{Arrived: account}, Segments: map[string]uint64{},
		})

		track.State(transcribe.Status{State: transcribe.StateLive})
		time.Sleep(400 * time.Millisecond) // the word ended at 200 ms
		ok(0, track.say(0, 3200))(t)
		check("a word", Stats{
			Tracks: map[string]int{"live": 1}, Pending: 14400, Ticks: Ticks{Arrived: account, Transcribed: 9600},
			Segments: map[string]uint64{"test": 1},
		})
		if d := w.Stats().Delay; d.Count != 1 || d.Sum < 0.199 || d.Sum > 0.201 || d.Counts[0] != 1 {
			t.Errorf("it came 200 ms after it was said, not %+v", d)
		}
		if c := w.Stats().Commit; c.Count != 1 {
			t.Errorf("commits: %+v", c)
		}

		// The server goes down before the rest, and another takes the track up: it
		// counts what it does itself.
		w.stop()
		check("it was left pending", Stats{
			Tracks: map[string]int{}, Ticks: Ticks{Arrived: account, Transcribed: 9600}, Segments: map[string]uint64{"test": 1},
		})
		w = newWorld(t, dir)
		defer w.stop()
		ok(0, w.Recover(t.Context()))(t)
		synctest.Wait()
		check("the rest was given up", Stats{
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
