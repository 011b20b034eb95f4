package transcribe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
)

// The tests speak in words of half a second: word k lies at half-second k of
// the track. The test engine knows from a frame's place which word it hears.
const word = audio.FrameRate / 2

// testLog is a track of n words in 20 ms packets; live ones come in real time.
type testLog struct {
	words int
	live  bool
	began time.Time // of a live one; set by the first Read
}

const packetTicks = 960

// wordPCM is a word: 400 ms of a tone, and a pause in which one hears the room.
var wordPCM = func() (b []byte) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range word {
		v := 400*r.Float64() - 200
		if i < word*4/5 {
			v += 5000 * math.Sin(float64(i)/2)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(v)))
	}
	return b
}()

func (l *testLog) packets() uint64 {
	return uint64(l.words * word * audio.TicksPerSample / packetTicks)
}

func (l *testLog) SeqAt(tick int64) uint64 { return min(uint64(tick/packetTicks), l.packets()) }

func (l *testLog) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	return func(yield func(audio.Packet, error) bool) {
		for seq := from; ; seq++ {
			if l.live {
				select {
				case <-time.After(time.Until(l.began.Add(time.Duration(seq) * 20 * time.Millisecond))):
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				yield(audio.Packet{}, ctx.Err())
				return
			}
			at := int64(seq) * packetTicks
			if seq == l.packets() {
				yield(audio.NewEnd(seq, at, time.Now(), audio.EndInfo{}), nil)
				return
			}
			const size = 2 * packetTicks / audio.TicksPerSample
			pcm := wordPCM[int(seq)*size%len(wordPCM):][:size]
			if !yield(audio.Packet{Seq: seq, Start: at, Samples: packetTicks, Kind: audio.Coded, Format: audio.FormatPCM, Payload: pcm}, nil) {
				return
			}
		}
	}
}

func (l *testLog) Tail() int64 {
	if l.live {
		return int64(min(time.Since(l.began)/(20*time.Millisecond)+1, time.Duration(l.packets()))) * packetTicks
	}
	return int64(l.packets()) * packetTicks
}

// testSink keeps what was committed.
type testSink struct {
	words    []string
	through  int64
	interims int
	skipped  []Utterance
	states   []Status
	mu       sync.Mutex // guards what is read while it runs
	starts   []int64    // of the words
	engines  []string   // of the finals
	commit   func() error
}

func (s *testSink) Interim(Utterance) { s.interims++ }

func (s *testSink) State(st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = append(s.states, st)
}

// look reads what there is by now.
func (s *testSink) look() (words int, through int64, st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.words), s.through, s.states[len(s.states)-1]
}

func (s *testSink) Commit(_ context.Context, through int64, finals []Utterance) error {
	if s.commit != nil {
		if err := s.commit(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if through < s.through {
		return fmt.Errorf("through goes back from %d to %d", s.through, through)
	}
	s.through = through
	for _, u := range finals {
		s.engines = append(s.engines, u.Engine)
		if u.Skipped != "" {
			s.skipped = append(s.skipped, u)
		}
		for _, w := range u.Words {
			s.words = append(s.words, w.Text)
			s.starts = append(s.starts, w.Start)
		}
	}
	return nil
}

// testEngine speaks an utterance of every few words, and misbehaves as told.
type testEngine struct {
	perUtterance int
	// dieAfter is after how many samples each stream dies; 0: never.
	dieAfter   func(stream int) int64
	failOpen   func(stream int) error
	failFinish func(stream int) error
	hang       func(stream int) bool // in Finish
	streams    int
	spoken     []int64 // of the streams' options
}

func (e *testEngine) Open(_ context.Context, o Options) (Stream, error) {
	e.streams++
	e.spoken = append(e.spoken, o.Spoken)
	n := e.streams
	if e.failOpen != nil {
		if err := e.failOpen(n); err != nil {
			return nil, err
		}
	}
	return &testStream{e: e, n: n, results: make(chan Result), dead: make(chan struct{}), base: -1}, nil
}

type testStream struct {
	e       *testEngine
	n       int
	results chan Result
	dead    chan struct{}
	over    bool
	base    int64 // of the track
	heard   int64 // samples
	spoken  int64 // words that finals were sent for, counted on the track
}

var errDied = errors.New("the engine died")

func (s *testStream) Write(ctx context.Context, f audio.Frame) error {
	if s.over {
		return errDied
	}
	if s.base < 0 {
		s.base = f.Start
		s.spoken = (f.Start + word - 1) / word // a word of which the beginning is missing is not understood
		if f.Start%word <= word/2 {
			s.spoken = f.Start / word
		}
	}
	s.heard += int64(len(f.PCM))
	if s.e.dieAfter != nil {
		if d := s.e.dieAfter(s.n); d > 0 && s.heard >= d {
			s.die()
			return errDied
		}
	}
	for s.base+s.heard >= (s.spoken+int64(s.e.perUtterance))*word {
		if !s.say(ctx, s.e.perUtterance) {
			return ctx.Err()
		}
	}
	return nil
}

// say sends a final of the next n words, and an interim before it.
func (s *testStream) say(ctx context.Context, n int) bool {
	r := Result{Final: true, Start: s.spoken*word - s.base, End: (s.spoken+int64(n))*word - s.base}
	for range n {
		at := s.spoken*word - s.base
		r.Words = append(r.Words, Word{Text: fmt.Sprint(s.spoken), Start: at, End: at + word})
		r.Text += fmt.Sprint(s.spoken) + " "
		s.spoken++
	}
	interim := r
	interim.Final = false
	for _, r := range []Result{interim, r} {
		select {
		case s.results <- r:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (s *testStream) die() {
	if !s.over {
		s.over = true
		close(s.results)
	}
}

func (s *testStream) Results() <-chan Result { return s.results }

func (s *testStream) Finish(ctx context.Context) error {
	if s.e.hang != nil && s.e.hang(s.n) {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.e.failFinish != nil {
		if err := s.e.failFinish(s.n); err != nil {
			return err
		}
	}
	if rest := int((s.base+s.heard)/word - s.spoken); s.base >= 0 && rest > 0 {
		s.say(ctx, rest)
	}
	s.die()
	return nil
}

func (s *testStream) Close() error { s.die(); return nil }

func supervise(ctx context.Context, e *testEngine, l *testLog, through int64, sink *testSink) error {
	sink.through = through
	return supervisorOf(e).Run(ctx, "track", l, through, sink)
}

func supervisorOf(e Recognizer) *Supervisor {
	return New(Config{Engines: []Engine{{Name: "test", Recognizer: e}}, Logger: slog.New(slog.DiscardHandler)})
}

func want(from, to int) (words []string) {
	for i := from; i < to; i++ {
		words = append(words, fmt.Sprint(i))
	}
	return words
}

func TestEveryWordOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		name   string
		engine testEngine
		live   bool
	}{
		{"a good engine", testEngine{perUtterance: 5}, false},
		{"live", testEngine{perUtterance: 5}, true},
		{"one long utterance", testEngine{perUtterance: 1000}, false},
		{"dies in mid-sentence once", testEngine{perUtterance: 5, dieAfter: func(n int) int64 {
			if n == 1 {
				return 12*word + word/3
			}
			return 0
		}}, true},
		{"dies every 8 seconds", testEngine{perUtterance: 5, dieAfter: func(int) int64 { return 8 * audio.FrameRate }}, true},
		{"dies at random", testEngine{perUtterance: 3, dieAfter: func(int) int64 { return 2*audio.FrameRate + r.Int64N(5*audio.FrameRate) }}, false},
		{"cannot be opened for a while", testEngine{perUtterance: 5, failOpen: func(n int) error {
			if n < 8 {
				return errors.New("connection refused")
			}
			return nil
		}}, true},
		{"fails to finish twice", testEngine{perUtterance: 7, failFinish: func(n int) error {
			if n < 3 {
				return errDied
			}
			return nil
		}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &testSink{}
				l := &testLog{words: 101, live: c.live}
				if err := supervise(t.Context(), &c.engine, l, 0, sink); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(sink.words, want(0, 101)) {
					t.Errorf("words %v", sink.words)
				}
				if sink.through != 101*word {
					t.Errorf("through %d of %d", sink.through, 101*word)
				}
			})
		})
	}
}

func TestResumesFromTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, sink := &testEngine{perUtterance: 5}, &testSink{}
		if err := supervise(t.Context(), e, &testLog{words: 50}, 20*word, sink); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sink.words, want(20, 50)) {
			t.Errorf("words %v, want 20 to 49", sink.words)
		}
		if !slices.Equal(e.spoken, []int64{preroll}) {
			t.Errorf("streams were told that %v samples are spoken for, want the pre-roll", e.spoken)
		}
	})
}

func TestDeathsAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		per := rapid.IntRange(1, 8).Draw(rt, "words per utterance")
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			// Long enough for one utterance each time, or it would never end.
			e := &testEngine{perUtterance: per, dieAfter: func(int) int64 {
				return int64(per+2)*word + r.Int64N(10*word)
			}}
			sink := &testSink{}
			if err := supervise(t.Context(), e, &testLog{words: 60}, 0, sink); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(sink.words, want(0, 60)) {
				t.Errorf("seed %d, %d words an utterance: %v", seed, per, sink.words)
			}
		})
	})
}

func TestGivesUpWhatNeverFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		e := &testEngine{perUtterance: 5, hang: func(int) bool { return true }}
		sink := &testSink{}
		if err := supervise(t.Context(), e, &testLog{words: 53}, 0, sink); err != nil {
			t.Fatal(err)
		}
		if len(sink.skipped) != 1 || sink.skipped[0].Start != 50*word || sink.skipped[0].End != 53*word {
			t.Fatalf("skipped %v, want everything from word 50 on", sink.skipped)
		}
		if !slices.Equal(sink.words, want(0, 50)) {
			t.Errorf("words %v", sink.words)
		}
		if d := time.Since(begin); d < 24*time.Hour || d > 25*time.Hour {
			t.Errorf("given up after %v", d)
		}
	})
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		sink := &testSink{}
		err := supervise(ctx, &testEngine{perUtterance: 5}, &testLog{words: 1000, live: true}, 0, sink)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if len(sink.words) == 0 || sink.through != int64(len(sink.words))*word {
			t.Errorf("%d words through %d", len(sink.words), sink.through)
		}
	})
}

func TestStopsWhenItLostTheTrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &testSink{commit: func() error { return ErrNotOwner }}
		err := supervise(t.Context(), &testEngine{perUtterance: 5}, &testLog{words: 20}, 0, sink)
		if !errors.Is(err, ErrNotOwner) {
			t.Fatalf("error %v, want ErrNotOwner", err)
		}
	})
}

func TestStoreThatFailsOnceLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		sink := &testSink{commit: func() error {
			if n++; n == 3 {
				return errors.New("disk full")
			}
			return nil
		}}
		if err := supervise(t.Context(), &testEngine{perUtterance: 5}, &testLog{words: 40}, 0, sink); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sink.words, want(0, 40)) {
			t.Errorf("words %v", sink.words)
		}
	})
}

// However long the store is away, nothing is given up because of it.
func TestStoreThatIsAwayLosesNothing(t *testing.T) {
	for _, live := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			sink := &testSink{commit: func() error {
				if d := time.Since(begin); d > 3*time.Second && d < 40*time.Second || !live && d < 20*time.Second {
					return errors.New("database is locked")
				}
				return nil
			}}
			e := &testEngine{perUtterance: 5}
			if err := supervise(t.Context(), e, &testLog{words: 200, live: live}, 0, sink); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(sink.words, want(0, 200)) {
				t.Errorf("live %v: words %v", live, sink.words)
			}
		})
	}
}
