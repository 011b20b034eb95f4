package transcribe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
)

// toneLog is a track that spells its numbers, in real time from when it was
// made; after `until` numbers it ends. A mute is where nothing is sent.
type toneLog struct {
	began  time.Time
	pcm    []int16
	ready  bool // all of it is there from the beginning
	mutes  []span
	ending time.Duration // after the last packet until the end comes
}

// Nothing between the log and the engine here changes a sample, so that each
// number stands in its middle as it is: reading tones would take minutes.
func newToneLog(numbers int) *toneLog {
	l := &toneLog{began: time.Now(), pcm: slices.Clone(signal()[:numbers*tonecode.Symbol])}
	for i := range numbers {
		if tonecode.Spoken(i) {
			copy(l.pcm[i*tonecode.Symbol+middle:], []int16{marker, -marker, int16(i)})
		}
	}
	return l
}

var signal = sync.OnceValue(func() []int16 { return tonecode.Signal(0, 4400) })

const (
	middle = tonecode.Symbol / 2
	marker = 12345
)

const (
	framePCM  = audio.FrameRate / 50
	frameTime = 20 * time.Millisecond
)

func (l *toneLog) frames() int { return len(l.pcm) / framePCM }

func (l *toneLog) SeqAt(tick int64) uint64 {
	return uint64(min(tick/packetTicks, int64(l.frames())))
}

// due is when packet seq is there; in a mute nothing comes until it is over.
func (l *toneLog) due(seq int) time.Time {
	if l.ready {
		return l.began
	}
	at := l.began.Add(time.Duration(seq+1) * frameTime)
	for _, m := range l.mutes {
		if s := int64(seq) * framePCM; s >= m.start && s < m.end {
			at = l.began.Add(time.Duration(m.end) * time.Second / audio.FrameRate)
		}
	}
	if seq == l.frames() {
		at = at.Add(l.ending)
	}
	return at
}

func (l *toneLog) Tail() int64 {
	now := time.Now()
	n := sort.Search(l.frames(), func(seq int) bool { return l.due(seq).After(now) })
	return int64(n) * packetTicks
}

func (l *toneLog) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		var b []byte
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		for seq := int(from); ; seq++ {
			if d := time.Until(l.due(seq)); d > 0 {
				timer.Reset(d)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				yield(audio.Packet{}, ctx.Err())
				return
			}
			p := audio.Packet{Seq: uint64(seq), Start: int64(seq) * packetTicks, At: l.due(seq)}
			if seq == l.frames() {
				yield(audio.NewEnd(p.Seq, p.Start, p.At, audio.EndInfo{}), nil)
				return
			}
			b = b[:0]
			for _, v := range l.pcm[seq*framePCM:][:framePCM] {
				b = append(b, byte(v), byte(v>>8))
			}
			p.Samples, p.Kind, p.Format, p.Payload = packetTicks, audio.Coded, audio.FormatPCM, b
			if !yield(p, nil) {
				return
			}
		}
	}
}

// reader is an engine that reads the numbers, and misbehaves as it is told.
type reader struct {
	open   func(n int) error // of stream number n, from 1 on
	finals func(s *reading, r Result) []Result
	silent func(n int) bool // it takes audio and says nothing
	mum    bool             // it has no interims
	lives  time.Duration    // then the stream dies; 0: it does not
	costs  time.Duration    // what a second of audio takes it
	hush   int64            // samples of pause after which an utterance is over

	mu      sync.Mutex
	streams int // so far
	live    int
	most    int
}

type reading struct {
	e       *reader
	n       int
	results chan Result
	dead    chan struct{}
	die     func()
	last    [2]int16
	at      int64
	words   []Word
	said    int64
}

func (e *reader) Open(context.Context, Options) (Stream, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams++
	if e.open != nil {
		if err := e.open(e.streams); err != nil {
			return nil, err
		}
	}
	if e.live++; e.live > e.most {
		e.most = e.live
	}
	s := &reading{e: e, n: e.streams, results: make(chan Result, 64), dead: make(chan struct{})}
	kill := sync.OnceFunc(func() { close(s.dead) })
	if e.lives > 0 {
		time.AfterFunc(e.lives, kill)
	}
	s.die = sync.OnceFunc(func() {
		kill()
		close(s.results)
		e.mu.Lock()
		e.live--
		e.mu.Unlock()
	})
	return s, nil
}

var errDead = errors.New("the stream is dead")

func (s *reading) Write(ctx context.Context, f audio.Frame) error {
	if s.e.costs > 0 {
		time.Sleep(s.e.costs * time.Duration(len(f.PCM)) / audio.FrameRate)
	}
	select {
	case <-s.dead:
		return errDead
	default:
	}
	for _, v := range f.PCM {
		if s.at++; s.last == [2]int16{marker, -marker} {
			s.hear(int(v), s.at-middle-3)
		}
		s.last = [2]int16{s.last[1], v}
	}
	hush := s.e.hush
	if hush == 0 {
		hush = 300 * 16
	}
	if n := len(s.words); n > 0 && s.at-s.words[n-1].End >= hush {
		return s.final(ctx)
	}
	return nil
}

func (s *reading) hear(number int, start int64) {
	s.words = append(s.words, Word{Text: tonecode.Word(number), Start: max(0, start), End: start + tonecode.Symbol})
	if !s.e.mum {
		s.say(s.utterance(false))
	}
}

func (s *reading) utterance(final bool) Result {
	r := Result{Final: final, Start: s.said, End: s.at, Words: slices.Clone(s.words)}
	var text []string
	for _, w := range s.words {
		text = append(text, w.Text)
	}
	r.Text = strings.Join(text, " ")
	return r
}

func (s *reading) final(context.Context) error {
	r := s.utterance(true)
	s.words, s.said = nil, s.at
	for _, r := range s.change(r) {
		s.say(r)
	}
	return nil
}

func (s *reading) change(r Result) []Result {
	if s.e.finals != nil {
		return s.e.finals(s, r)
	}
	return []Result{r}
}

func (s *reading) say(r Result) {
	if s.e.silent != nil && s.e.silent(s.n) {
		return
	}
	s.results <- r
}

func (s *reading) Results() <-chan Result { return s.results }

func (s *reading) Finish(ctx context.Context) error {
	if s.e.silent != nil && s.e.silent(s.n) {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-s.dead:
		return errDead
	default:
	}
	err := s.final(ctx)
	s.die()
	return err
}

func (s *reading) Close() error { s.die(); return nil }

// numbers are those that are spoken below n, without those in mutes.
func numbers(n int, mutes ...span) (words []string) {
	for i := range n {
		at := int64(i) * tonecode.Symbol
		if tonecode.Spoken(i) && !slices.ContainsFunc(mutes, func(m span) bool { return at >= m.start && at < m.end }) {
			words = append(words, tonecode.Word(i))
		}
	}
	return words
}

// checkNumbers compares what was transcribed with what was spoken.
func checkNumbers(t *testing.T, sink *testSink, want []string) {
	t.Helper()
	if !slices.Equal(sink.words, want) {
		for i, w := range sink.words {
			if i >= len(want) || w != want[i] {
				t.Errorf("word %d is %s; got %d words, want %d: …%v", i, w, len(sink.words), len(want), sink.words[max(0, i-3):])
				return
			}
		}
		t.Errorf("%d words of %d: the last is %v", len(sink.words), len(want), sink.words[max(0, len(sink.words)-1):])
	}
	for i, at := range sink.starts {
		index, _ := tonecode.Index(sink.words[i])
		if d := at - int64(index)*tonecode.Symbol; d < -1600 || d > 1600 {
			t.Errorf("%s stands at %d ms", sink.words[i], at/16)
		}
	}
}

func engineOf(name string, r Recognizer, l Limits) Engine {
	return Engine{Name: name, Recognizer: r, Limits: l}
}

func newTest(engines ...Engine) *Supervisor {
	return New(Config{Engines: engines, Logger: slog.New(slog.DiscardHandler)})
}

func TestStreams(t *testing.T) {
	for _, c := range []struct {
		name    string
		e       *reader
		limits  Limits
		ready   bool
		streams int // at least
	}{
		{"a good engine", &reader{}, Limits{}, false, 1},
		{"a good engine, all at once", &reader{}, Limits{}, true, 1},
		{"sessions of 10 s", &reader{lives: 10 * time.Second}, Limits{Session: 10 * time.Second}, false, 6},
		{"sessions of 10 s, nobody told us", &reader{lives: 10 * time.Second}, Limits{}, false, 6},
		{"sessions of 10 s, no pause that long", &reader{lives: 10 * time.Second, hush: 1 << 40}, Limits{Session: 10 * time.Second}, false, 6},
		{"sessions that end in mid-word", &reader{lives: 3100 * time.Millisecond, hush: 1 << 40}, Limits{Session: 3 * time.Second}, false, 20},
		{"at most 1.25 times real time", &reader{}, Limits{Speed: 1.25}, true, 1},
		{"half as slow as time", &reader{costs: 500 * time.Millisecond}, Limits{}, false, 1},
		{"slower than time", &reader{costs: 1500 * time.Millisecond}, Limits{}, false, 1},
		{"ten times slower than time", &reader{costs: 10 * time.Second}, Limits{}, false, 1},
		{"finals twice", &reader{finals: func(_ *reading, r Result) []Result { return []Result{r, r} }}, Limits{}, false, 1},
		{"one final never comes", &reader{finals: func(s *reading, r Result) []Result {
			if s.n == 1 && s.at > 20*audio.FrameRate && s.at < 24*audio.FrameRate {
				return nil
			}
			return []Result{r}
		}}, Limits{}, false, 2},
		{"does not answer on speech once", &reader{silent: func(n int) bool { return n == 1 }}, Limits{}, false, 2},
		{"does not answer on speech five times", &reader{silent: func(n int) bool { return n < 6 }}, Limits{}, false, 6},
		{"refuses for a minute", &reader{open: func(n int) error {
			if n < 10 {
				return errors.New("connection refused")
			}
			return nil
		}}, Limits{}, false, 10},
		{"asks for time", &reader{open: func(n int) error {
			if n < 3 {
				return &RetryError{20 * time.Second, errors.New("too many requests")}
			}
			return nil
		}}, Limits{}, false, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 600
				l := newToneLog(n)
				l.ready = c.ready
				sink := &testSink{}
				s := newTest(engineOf("e", c.e, c.limits))
				if err := s.Run(t.Context(), "track", l, 0, sink); err != nil {
					t.Fatal(err)
				}
				checkNumbers(t, sink, numbers(n))
				if sink.through != n*tonecode.Symbol || len(sink.skipped) > 0 {
					t.Errorf("through %d of %d, skipped %v", sink.through, n*tonecode.Symbol, sink.skipped)
				}
				if c.e.streams < c.streams {
					t.Errorf("%d streams, want %d", c.e.streams, c.streams)
				}
				if took := time.Since(l.began); c.limits.Speed > 0 && took < n*100*time.Millisecond*3/4 {
					t.Errorf("%v for %v at %v times real time", took, n*100*time.Millisecond, c.limits.Speed)
				}
			})
		})
	}
}

// A final that comes after the one that follows it is no less true.
func TestFinalsOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held []Result
		e := &reader{mum: true, finals: func(s *reading, r Result) []Result {
			if held == nil && s.at > 10*audio.FrameRate {
				held = []Result{r}
				return nil
			}
			out := append([]Result{r}, held...)
			held = held[:0]
			return out
		}}
		sink := &testSink{}
		if err := newTest(engineOf("e", e, Limits{})).Run(t.Context(), "track", newToneLog(400), 0, sink); err != nil {
			t.Fatal(err)
		}
		slices.Sort(sink.words)
		sink.starts = nil
		checkNumbers(t, sink, numbers(400))
	})
}

// Twenty tracks on an engine of two streams all finish, late but whole, and none
// waits until another is over.
func TestTwentyTracksOnTwoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 700
		e := &reader{costs: 200 * time.Millisecond} // so that two can do ten
		s := newTest(engineOf("e", e, Limits{Streams: 2}))
		var wg sync.WaitGroup
		sinks := make([]*testSink, 20)
		for i := range sinks {
			sinks[i] = &testSink{}
			l := newToneLog(n)
			wg.Go(func() {
				if err := s.Run(t.Context(), fmt.Sprint(i), l, 0, sinks[i]); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for i, sink := range sinks {
			if _, through, _ := sink.look(); through == 0 {
				t.Errorf("track %d got no turn in two minutes", i)
			}
		}
		wg.Wait()
		for _, sink := range sinks {
			checkNumbers(t, sink, numbers(n))
		}
		if e.most > 2 {
			t.Errorf("%d streams at once", e.most)
		}
		if st := s.Stats()[0]; st.Streams != 0 || st.Waiting != 0 || st.Finals == 0 {
			t.Errorf("stats %+v in the end", st)
		}
	})
}

// The microphone goes off in the middle of a sentence and nothing more is sent:
// the final comes all the same.
func TestMuteInMidSentence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := span{21*tonecode.Symbol + 800, 321 * tonecode.Symbol}
		l := newToneLog(400)
		l.mutes = []span{mute}
		clear(l.pcm[mute.start:mute.end])
		sink := &testSink{}
		// An engine that waits for a pause longer than any that it is lent.
		e := &reader{hush: 5 * audio.FrameRate}
		done := make(chan error)
		go func() { done <- newTest(engineOf("e", e, Limits{})).Run(t.Context(), "track", l, 0, sink) }()
		time.Sleep(2*time.Second + 6*time.Second)
		synctest.Wait()
		if got, _, _ := sink.look(); got < 21 {
			t.Errorf("6 s after the mute %d words are final, want 21", got)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got := sink.words
		sink.words, sink.starts = nil, nil
		for _, w := range got {
			if w != tonecode.Word(21) { // half of it was said
				sink.words = append(sink.words, w)
			}
		}
		checkNumbers(t, sink, numbers(400, span{21 * tonecode.Symbol, mute.end}))
	})
}

// Who says nothing for minutes holds no stream, and loses no word when they
// speak again.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := span{400 * tonecode.Symbol, 4000 * tonecode.Symbol}
		l := newToneLog(4400)
		room := tonecode.Signal(30, 40) // a pause
		for i := quiet.start; i < quiet.end; i++ {
			l.pcm[i] = room[i%int64(len(room))]
		}
		s, sink := newTest(engineOf("e", &reader{}, Limits{})), &testSink{}
		done := make(chan error)
		go func() { done <- s.Run(t.Context(), "track", l, 0, sink) }()
		time.Sleep(200 * time.Second)
		synctest.Wait()
		_, through, st := sink.look()
		if n := s.Stats()[0].Streams; n != 0 || st.State != StateIdle {
			t.Errorf("after minutes of silence: %d streams, state %v", n, st)
		}
		if behind := 2000*tonecode.Symbol - through; behind > 30*audio.FrameRate {
			t.Errorf("the checkpoint is %d s behind in silence", behind/audio.FrameRate)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		checkNumbers(t, sink, numbers(4400, quiet))
	})
}

// The first engine goes away for a while; the second one speaks for it.
func TestFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		away := func() bool { d := time.Since(begin); return d > 30*time.Second && d < 60*time.Second }
		first, second := &awayReader{away: away}, &reader{}
		s := newTest(engineOf("first", first, Limits{}), engineOf("second", second, Limits{}))
		sink := &testSink{}
		if err := s.Run(t.Context(), "track", newToneLog(1200), 0, sink); err != nil {
			t.Fatal(err)
		}
		checkNumbers(t, sink, numbers(1200))
		var order []string
		for _, e := range sink.engines {
			if len(order) == 0 || order[len(order)-1] != e {
				order = append(order, e)
			}
		}
		if !slices.Equal(order, []string{"first", "second", "first"}) {
			t.Errorf("engines in turn: %v; states %v", order, sink.states)
		}
		var states []State
		for _, st := range sink.states {
			states = append(states, st.State)
		}
		for _, want := range []State{StateOpening, StateLive, StateRetrying, StateFallback, StateFinishing} {
			if !slices.Contains(states, want) {
				t.Errorf("state %s never came: %v", want, states)
			}
		}
	})
}

// awayReader is a reader whose streams die, and do not open, while it is away.
type awayReader struct {
	reader
	away func() bool
}

func (e *awayReader) Open(ctx context.Context, o Options) (Stream, error) {
	if e.away() {
		return nil, errors.New("connection refused")
	}
	s, err := e.reader.Open(ctx, o)
	return &awayReading{s, e}, err
}

type awayReading struct {
	Stream
	e *awayReader
}

func (s *awayReading) Write(ctx context.Context, f audio.Frame) error {
	if s.e.away() {
		return errDead
	}
	return s.Stream.Write(ctx, f)
}

// An engine that is away is asked by one track at a time, not by all; and
// when it is back all go on soon.
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		e := &awayReader{away: func() bool { d := time.Since(begin); return d > 20*time.Second && d < 140*time.Second }}
		var tries atomic.Int64
		e.open = func(int) error { return nil }
		counted := &countedReader{e, &tries}
		s := newTest(engineOf("e", counted, Limits{}))
		var wg sync.WaitGroup
		sinks := make([]*testSink, 40)
		for i := range sinks {
			sinks[i] = &testSink{}
			l := newToneLog(240)
			l.ending = 200 * time.Second
			wg.Go(func() {
				if err := s.Run(t.Context(), fmt.Sprint(i), l, 0, sinks[i]); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Second)
		synctest.Wait()
		open := 0
		for _, sink := range sinks {
			if _, _, st := sink.look(); st.State == StateCircuitOpen {
				open++
			}
		}
		if open < 39 || !s.Stats()[0].CircuitOpen {
			t.Errorf("%d of 40 tracks know that the circuit is open", open)
		}
		if n := tries.Load() - 40; n > 60 {
			t.Errorf("%d tries in 80 s", n)
		}
		time.Sleep(75 * time.Second)
		synctest.Wait()
		for i, sink := range sinks {
			if n, _, _ := sink.look(); n < len(numbers(230)) {
				t.Errorf("track %d has %d words 35 s after the engine was back", i, n)
			}
		}
		wg.Wait()
		for _, sink := range sinks {
			checkNumbers(t, sink, numbers(240))
		}
	})
}

type countedReader struct {
	Recognizer
	n *atomic.Int64
}

func (e *countedReader) Open(ctx context.Context, o Options) (Stream, error) {
	e.n.Add(1)
	return e.Recognizer.Open(ctx, o)
}
