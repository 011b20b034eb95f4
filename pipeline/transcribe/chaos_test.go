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
