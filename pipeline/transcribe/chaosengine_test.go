package transcribe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
)

// chaosEngine reads the numbers, and has its ways; its streams have fates.
type chaosEngine struct {
	name     string
	limits   Limits
	wordless bool          // no words; it keeps to Options.Spoken
	flushes  bool          // a Flusher
	mum      bool          // no interims
	twice    bool          // says finals twice
	halves   bool          // says something of a word that was torn
	keeps    bool          // there is a final of whatever was shown
	late     time.Duration // from a result to its arrival
	costs    time.Duration // what a second of audio takes it
	hush     int64         // samples of pause after which an utterance is over
	longest  int           // words in an utterance
	ends     int           // what End is
	jitter   int64         // samples: by how much words are misplaced, at most; they are short, 100 ms
	lives    time.Duration // of a stream; 0: for ever
	fates    [][]fate      // per track, of its first streams

	mu      sync.Mutex // guards what follows
	streams map[string]int
	dropped map[string]int // the last number of an utterance of which there was no final
	live    int
	most    int
}

// fate is what becomes of a stream; the zero value is a good end.
type fate struct {
	open   int           // 0: it opens
	dies   time.Duration // 0: it does not
	hangs  int64         // in the Write at that sample; 0: it does not
	finish int           // 0: well
	drop   int           // 1 + the utterance of which there is no final; 0: none
}

const (
	refuses = iota + 1
	retries
	hangs
	dies // says its last and dies
)

func drawEngine(rt *rapid.T, tracks int) *chaosEngine {
	e := &chaosEngine{streams: map[string]int{}, dropped: map[string]int{}}
	num := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(rt, name) }
	rare := func(name string) bool { return num(name, 0, 3) == 3 }
	e.limits.Streams = num("streams", 0, 3)
	e.wordless, e.flushes, e.mum, e.twice = rare("wordless"), rare("flushes"), rare("mum"), rare("twice")
	if rare("late") {
		e.late = time.Duration(num("late ms", 1, 3000)) * time.Millisecond
	}
	if rare("slow") {
		e.costs = time.Duration(num("costs ms", 1, 2000)) * time.Millisecond
	}
	e.hush = int64(num("hush ms", 400, 900)) * 16
	if rare("patient") {
		e.hush *= 8
	}
	e.longest = 1000
	if rare("short utterances") {
		e.longest = num("longest", 1, 20)
	}
	e.ends = num("end", 0, 2)
	if rare("jitters") {
		e.jitter = int64(num("jitter ms", 0, 12)) * 16
	}
	if rare("paced") {
		e.limits.Speed = float64(num("speed", 11, 40)) / 10
	}
	if rare("mortal") {
		// Long enough to say something each time.
		least := time.Duration(float64(4*time.Second+time.Duration(e.hush)*time.Second/16000) * max(1, e.costs.Seconds()))
		e.lives = least + e.late + time.Duration(num("lives ms", 0, 10000))*time.Millisecond
		if rapid.Bool().Draw(rt, "told") {
			e.limits.Session = e.lives
		} else {
			e.lives *= 2
		}
	}
	one := rapid.Custom(func(rt *rapid.T) (f fate) {
		num := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(rt, name) }
		switch num("fate", 0, 5) {
		case 1:
			f.open = num("open", refuses, hangs)
		case 2:
			f.dies = time.Duration(num("dies ms", 1, 20000)) * time.Millisecond
		case 3:
			f.hangs = int64(num("hangs at ms", 1, 20000)) * 16
		case 4:
			f.finish = num("finish", refuses, dies)
		case 5:
			f.drop = num("drop", 1, 4)
		}
		return f
	})
	for range tracks {
		e.fates = append(e.fates, rapid.SliceOfN(one, 0, 8).Draw(rt, "fates"))
	}
	return e
}

func (e *chaosEngine) Open(ctx context.Context, o Options) (Stream, error) {
	e.mu.Lock()
	n := e.streams[o.Track]
	e.streams[o.Track]++
	var track int
	fmt.Sscan(o.Track, &track)
	s := &chaosStream{e: e, o: o, results: make(chan Result), dead: make(chan struct{}), gone: make(chan struct{}), wake: make(chan struct{}, 1), born: time.Now()}
	s.jitter = rand.New(rand.NewPCG(uint64(track), uint64(n)))
	if n < len(e.fates[track]) {
		s.fate = e.fates[track][n]
	}
	e.mu.Unlock()
	switch s.fate.open {
	case refuses:
		return nil, errors.New("connection refused")
	case retries:
		return nil, &RetryError{7 * time.Second, errors.New("too many requests")}
	case hangs:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	e.mu.Lock()
	if e.live++; e.live > e.most {
		e.most = e.live
	}
	e.mu.Unlock()
	s.kill = sync.OnceFunc(func() { close(s.dead) })
	for _, d := range []time.Duration{s.fate.dies, e.lives} {
		if d > 0 {
			time.AfterFunc(d, s.kill)
		}
	}
	go s.deliver()
	if e.flushes {
		return chaosFlusher{s}, nil
	}
	return s, nil
}

type chaosStream struct {
	e       *chaosEngine
	o       Options
	fate    fate
	jitter  *rand.Rand
	born    time.Time
	results chan Result
	dead    chan struct{} // closed by kill
	gone    chan struct{} // closed by deliver, and all is delivered
	wake    chan struct{} // capacity 1
	kill    func()
	closed  bool

	mu    sync.Mutex // guards what follows
	queue []chaosResult
	last  bool

	// Of the goroutine that writes.
	tail   [2]int16
	at     int64
	place  int64 // in the track, of at
	heard  []Word
	said   int64
	shown  int // words
	finals int
}

type chaosResult struct {
	Result
	at time.Time
}

func (s *chaosStream) say(r Result) {
	s.mu.Lock()
	s.queue = append(s.queue, chaosResult{r, time.Now().Add(s.e.late)})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// deliver hands the results over when it is time, until the stream is dead or
// finished.
func (s *chaosStream) deliver() {
	defer close(s.gone)
	defer close(s.results)
	for {
		s.mu.Lock()
		last, queue := s.last, s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, r := range queue {
			select {
			case <-time.After(time.Until(r.at)):
			case <-s.dead:
				return
			}
			select {
			case s.results <- r.Result:
			case <-s.dead:
				return
			}
		}
		if last {
			return
		}
		select {
		case <-s.wake:
		case <-s.dead:
			return
		}
	}
}

func (s *chaosStream) over(ctx context.Context) error {
	select {
	case <-s.dead:
		return errDead
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

func (s *chaosStream) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return s.over(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.dead:
	}
	return s.over(ctx)
}

const never = 1000 * time.Hour

func (s *chaosStream) Write(ctx context.Context, f audio.Frame) error {
	if err := s.wait(ctx, s.e.costs*time.Duration(len(f.PCM))/audio.FrameRate); err != nil {
		return err
	}
	if s.fate.hangs > 0 && s.at >= s.fate.hangs {
		return s.wait(ctx, never)
	}
	if s.at == 0 && f.Start%tonecode.Symbol > middle {
		s.half(0, tonecode.Symbol-f.Start%tonecode.Symbol, f.Start)
	}
	for _, v := range f.PCM {
		if s.at++; s.tail == [2]int16{marker, -marker} {
			s.hear(int(v), s.at-middle-3)
		}
		s.tail = [2]int16{s.tail[1], v}
	}
	if s.place = f.Start + int64(len(f.PCM)); f.Kind == audio.Silence {
		s.place = 0
	}
	n := len(s.heard)
	if n == 0 {
		return nil
	}
	if s.shown < n && s.at >= s.heard[n-1].End && !s.e.mum {
		s.shown = n
		s.say(s.utterance(false))
	}
	if s.at-s.heard[n-1].End >= s.e.hush || n >= s.e.longest && s.at >= s.heard[n-1].End {
		s.final()
	}
	return nil
}

// half hears part of a word of which the middle is missing, at place of the
// track.
func (s *chaosStream) half(start, end, place int64) {
	if s.e.halves && tonecode.Spoken(int(place/tonecode.Symbol)) && end-start >= 200 {
		s.heard = append(s.heard, Word{Text: "half", Start: start, End: end})
	}
}

func (s *chaosStream) hear(number int, start int64) {
	if s.e.wordless && start+middle < s.o.Spoken {
		return
	}
	shift := func(pos int64) int64 { return max(0, pos+s.jitter.Int64N(2*s.e.jitter+1)-s.e.jitter) }
	s.heard = append(s.heard, Word{Text: tonecode.Word(number), Start: shift(start), End: shift(start + tonecode.Symbol)})
}

func (s *chaosStream) utterance(final bool) Result {
	r := Result{Final: final, Start: s.said, End: s.at}
	if n := len(s.heard); n > 0 && s.e.ends == 1 {
		r.Start, r.End = s.heard[0].Start, s.heard[n-1].End
	} else if n > 0 && s.e.ends == 2 && !s.e.wordless {
		r.End = max(r.Start, s.heard[n-1].End-50*16)
	}
	text := make([]string, len(s.heard))
	for i, w := range s.heard {
		text[i] = w.Text
	}
	r.Text = strings.Join(text, " ")
	if !s.e.wordless {
		r.Words = slices.Clone(s.heard)
	}
	return r
}

func (s *chaosStream) final() {
	r := s.utterance(true)
	defer func() { s.heard, s.said, s.shown = nil, r.End, 0 }()
	if r.Text != "" {
		if s.finals++; s.drops(r) {
			return
		}
	}
	s.say(r)
	if s.e.twice {
		s.say(r)
	}
}

// drops reports whether there is no final of what was shown: not again, where it
// is heard again.
func (s *chaosStream) drops(Result) bool {
	e, n := s.e, len(s.heard)
	first, _ := tonecode.Index(s.heard[0].Text)
	last, _ := tonecode.Index(s.heard[n-1].Text)
	e.mu.Lock()
	defer e.mu.Unlock()
	before, again := e.dropped[s.o.Track]
	if e.keeps || s.finals != s.fate.drop || s.shown < n || again && first <= before || e.longest < 1000 || s.heard[n-1].Text == "half" {
		return false
	}
	e.dropped[s.o.Track] = last
	return true
}

func (s *chaosStream) Results() <-chan Result { return s.results }

func (s *chaosStream) Finish(ctx context.Context) error {
	switch s.fate.finish {
	case refuses:
		s.kill()
	case hangs:
		return s.wait(ctx, never)
	}
	if err := s.over(ctx); err != nil {
		return err
	}
	if off := s.place % tonecode.Symbol; s.place > 0 && off < middle {
		s.half(s.at-off, s.at, s.place)
	}
	for i := range s.heard {
		s.heard[i].End = min(s.heard[i].End, s.at)
	}
	s.final()
	s.mu.Lock()
	s.last = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-s.gone:
	case <-ctx.Done():
	}
	if s.fate.finish == dies {
		s.kill()
	}
	return s.over(ctx)
}

func (s *chaosStream) Close() error {
	died := s.over(context.Background())
	s.kill()
	<-s.gone
	if !s.closed {
		s.closed = true
		s.e.mu.Lock()
		s.e.live--
		s.e.mu.Unlock()
	}
	return died
}

type chaosFlusher struct{ *chaosStream }

func (s chaosFlusher) Flush(ctx context.Context) error {
	if len(s.heard) > 0 && s.at >= s.heard[len(s.heard)-1].End {
		s.final()
	}
	return s.over(ctx)
}
