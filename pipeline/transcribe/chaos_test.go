//go:build chaos

package transcribe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
)

// TestChaos: whatever the engines, the network, the store and the server do,
// every track gets each of its numbers once, in order and in its place.
func TestChaos(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		synctest.Test(t, func(*testing.T) { w.run() })
		if len(w.faults) > 0 {
			rt.Fatal(strings.Join(w.faults, "\n"))
		}
	})
}

// chaosWorld is one run: some tracks, the engines that they share, and when the
// server is started again.
type chaosWorld struct {
	cfg      Config
	engines  []*chaosEngine
	tracks   []*chaosTrack
	restarts []time.Duration // from each to the next

	mu     sync.Mutex // guards faults
	faults []string
}

func drawWorld(rt *rapid.T) *chaosWorld {
	ms := func(name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(rt, name)) * time.Millisecond
	}
	w := &chaosWorld{cfg: Config{Logger: slog.New(slog.DiscardHandler), GiveUpAfter: 24 * time.Hour}}
	w.cfg.IdleAfter = ms("idle after", 1500, 20000)
	w.cfg.Turn = ms("turn", 500, 8000)
	n := rapid.IntRange(1, 3).Draw(rt, "tracks")
	for range rapid.IntRange(1, 2).Draw(rt, "engines") {
		w.engines = append(w.engines, drawEngine(rt, n))
	}
	halves := true
	for range n {
		c := drawTrack(rt)
		w.tracks = append(w.tracks, c)
		halves = halves && c.smooth
	}
	for i, e := range w.engines {
		e.halves = halves && !e.wordless
		e.name = fmt.Sprint("engine", i)
		e.keeps = i > 0 // two that both forget the same words are beyond help
	}
	for range rapid.IntRange(0, 2).Draw(rt, "restarts") {
		w.restarts = append(w.restarts, ms("restart after", 1, 40000))
	}
	return w
}

func (w *chaosWorld) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *chaosWorld) run() {
	began := time.Now()
	for _, c := range w.tracks {
		c.began = began
	}
	for _, after := range w.restarts {
		ctx, cancel := context.WithTimeoutCause(context.Background(), after, errors.New("restart"))
		w.server(ctx)
		cancel()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Hour)
	defer cancel()
	w.server(ctx)
	if ctx.Err() != nil {
		w.fault("not finished in 6 hours")
	}
	for i, c := range w.tracks {
		for _, f := range c.check() {
			w.fault("track %d: %s", i, f)
		}
	}
	for _, e := range w.engines {
		if e.live != 0 {
			w.fault("%s: %d streams are open in the end", e.name, e.live)
		}
		if e.limits.Streams > 0 && e.most > e.limits.Streams {
			w.fault("%s: %d streams at once", e.name, e.most)
		}
	}
}

// server is one run of the server, until all is done or ctx ends.
func (w *chaosWorld) server(ctx context.Context) {
	cfg := w.cfg
	for _, e := range w.engines {
		cfg.Engines = append(cfg.Engines, engineOf(e.name, e, e.limits))
	}
	s := New(cfg)
	var wg sync.WaitGroup
	for i, c := range w.tracks {
		wg.Go(func() {
			// The context of the real server has no deadline.
			rctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err := s.Run(&noDeadline{rctx}, fmt.Sprint(i), c, c.through, c)
			if err != nil && ctx.Err() == nil {
				w.fault("track %d: %v", i, err)
			}
			c.done = c.done || err == nil
		})
	}
	wg.Wait()
	for _, st := range s.Stats() {
		if st.Streams != 0 || st.Waiting != 0 {
			w.fault("%+v in the end", st)
		}
	}
}

type noDeadline struct{ context.Context }

func (noDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// chaosTrack is a track's log, and the sink of its transcript.
type chaosTrack struct {
	began   time.Time
	packets []audio.Packet
	due     []time.Duration // when each is there
	want    []string
	smooth  bool // no word is torn by the network
	fails   []bool

	mu      sync.Mutex // guards what follows
	commits int
	through int64
	words   []Word
	loose   []string // the words of utterances without words
	faults  []string
	state   State
	done    bool
}

var chaosPCM = sync.OnceValue(func() (b []byte) {
	l := newToneLog(500)
	for _, v := range l.pcm {
		b = append(b, byte(v), byte(v>>8))
	}
	return b
})

func drawTrack(rt *rapid.T) *chaosTrack {
	c := &chaosTrack{smooth: true, fails: drawBools(rt, "commit fails", 12)}
	frames := rapid.IntRange(0, 300).Draw(rt, "numbers") * tonecode.Symbol / framePCM
	ready := rapid.IntRange(0, 3).Draw(rt, "ready") == 0
	// What comes next is sent late, or is not sent at all.
	type hole struct {
		at, n int
		mute  bool
	}
	var holes []hole
	for range rapid.IntRange(0, 3).Draw(rt, "holes") {
		h := hole{at: rapid.IntRange(0, 1500).Draw(rt, "hole at"), n: rapid.IntRange(1, 40).Draw(rt, "hole of"), mute: rapid.Bool().Draw(rt, "mute")}
		if rapid.Bool().Draw(rt, "a long one") {
			h.n *= 20
		}
		if h.mute { // of whole words: what is left of one may be too short for one
			h.at, h.n = h.at/5*5, (h.n+4)/5*5
		}
		c.smooth = c.smooth && !h.mute && h.n < 900/20
		holes = append(holes, h)
	}
	heard := map[int]bool{}
	var start int64
	for f := 0; f < frames; {
		p := audio.Packet{Seq: uint64(len(c.packets)), Start: start, Samples: packetTicks}
		late := f + 1
		for _, h := range holes {
			if f >= h.at && f < h.at+h.n {
				late = max(late, min(h.at+h.n, frames))
				if h.mute {
					p.Kind, p.Samples = audio.Silence, int64(min(h.at+h.n, frames)-f)*packetTicks
				}
			}
		}
		if p.Kind != audio.Silence {
			p.Kind, p.Format, p.Payload = audio.Coded, audio.FormatPCM, chaosPCM()[2*f*framePCM:][:2*framePCM]
			if f%5 == 2 && tonecode.Spoken(f/5) {
				heard[f/5] = true
			}
		}
		due := time.Duration(late) * frameTime
		if n := len(c.due); n > 0 {
			due = max(due, c.due[n-1])
		}
		if ready {
			due = 0
		}
		c.packets, c.due = append(c.packets, p), append(c.due, due)
		f += int(p.Samples / packetTicks)
		start = p.Next()
	}
	end := time.Duration(0)
	if n := len(c.due); n > 0 {
		end = c.due[n-1]
	}
	end += time.Duration(rapid.IntRange(0, 20000).Draw(rt, "the end after")) * time.Millisecond
	c.packets = append(c.packets, audio.NewEnd(uint64(len(c.packets)), start, epoch, audio.EndInfo{}))
	c.due = append(c.due, end)
	for i := range frames/5 + 1 {
		if heard[i] {
			c.want = append(c.want, tonecode.Word(i))
		}
	}
	return c
}

// drawBools are some that are true now and then.
func drawBools(rt *rapid.T, name string, n int) []bool {
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) bool { return rapid.IntRange(0, 5).Draw(rt, "") == 5 }), 0, n).Draw(rt, name)
}

func (c *chaosTrack) SeqAt(tick int64) uint64 {
	i := sort.Search(len(c.packets), func(i int) bool { return c.packets[i].Next() > tick })
	return uint64(min(i, len(c.packets)-1))
}

func (c *chaosTrack) Tail() int64 {
	now := time.Since(c.began)
	n := sort.Search(len(c.due), func(i int) bool { return c.due[i] > now })
	if n == 0 {
		return 0
	}
	return c.packets[n-1].Next()
}

func (c *chaosTrack) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for seq := from; seq < uint64(len(c.packets)); seq++ {
			if wait := c.due[seq] - time.Since(c.began); wait > 0 {
				timer := time.NewTimer(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
				timer.Stop()
			}
			if ctx.Err() != nil {
				yield(audio.Packet{}, ctx.Err())
				return
			}
			if !yield(c.packets[seq], nil) {
				return
			}
		}
	}
}

func (c *chaosTrack) Interim(Utterance) {}

func (c *chaosTrack) State(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s.State
}

func (c *chaosTrack) Commit(_ context.Context, through int64, finals []Utterance) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.commits++; c.commits <= len(c.fails) && c.fails[c.commits-1] {
		return errors.New("database is locked")
	}
	if through < c.through {
		c.faults = append(c.faults, fmt.Sprintf("through goes back from %d to %d", c.through, through))
	}
	if tail := c.Tail() / audio.TicksPerSample; through > tail {
		c.faults = append(c.faults, fmt.Sprintf("through %d, but there is audio up to %d", through, tail))
	}
	c.through = through
	for _, u := range finals {
		if u.Skipped != "" {
			c.faults = append(c.faults, fmt.Sprintf("given up from %d to %d", u.Start, u.End))
		}
		if len(u.Words) == 0 {
			for _, text := range strings.Fields(u.Text) {
				// Where it is in the utterance nobody knows.
				c.words = append(c.words, Word{Text: text, Start: -1})
			}
		}
		c.words = append(c.words, u.Words...)
	}
	return nil
}

func (c *chaosTrack) check() (faults []string) {
	faults = c.faults
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if !c.done {
		say("in the end it is %s", c.state)
	}
	if total := c.packets[len(c.packets)-1].Start / audio.TicksPerSample; c.through != total {
		say("through %d of %d", c.through, total)
	}
	var got []string
	for _, w := range c.words {
		got = append(got, w.Text)
		index, _ := tonecode.Index(w.Text)
		if d := w.Start - int64(index)*tonecode.Symbol; w.Start >= 0 && (d < -1600 || d > 1600) {
			say("%s stands at %d ms", w.Text, w.Start/16)
		}
	}
	if !slices.Equal(got, c.want) {
		i := 0
		for i < min(len(got), len(c.want)) && got[i] == c.want[i] {
			i++
		}
		say("%d words of %d; word %d: got …%v, want …%v", len(got), len(c.want), i,
			got[max(0, i-2):min(len(got), i+4)], c.want[max(0, i-2):min(len(c.want), i+4)])
	}
	return faults
}

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
	shift := func(pos int64) int64 { return max(0, pos+int64(s.jitter.Int64N(2*s.e.jitter+1))-s.e.jitter) }
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
