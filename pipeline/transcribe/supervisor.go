// Package transcribe turns the log of a track into text, whatever becomes of
// the recognizer on the way.
//
// A Supervisor reads the log, decodes it, and writes the frames to a stream of
// a Recognizer (feed), while a second goroutine takes the results and commits
// finals (results). Two goroutines per track, both gone when Run returns.
//
// When a stream dies another one goes on from the last commit: audio waits in
// the log meanwhile, nothing is dropped. A stream is also finished and followed
// by another without a failure: before the engine would end it by itself, when
// others wait for it, when nobody speaks, when the engine does not say its last
// word on a sentence, and when the first engine is back after the fallback. Such
// turns are taken in pauses, where nothing is heard twice.
package transcribe

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"verbatim/media/audio"
)

// Log is where a track's audio is read from; pipeline/tracklog has one.
type Log interface {
	Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error]
	// SeqAt is the packet in which a tick (48 kHz) lies.
	SeqAt(tick int64) uint64
	// Tail is the tick up to which there is audio by now.
	Tail() int64
}

// Sink takes the transcript of one track. Positions are samples (16 kHz) of the
// track. Its methods are not called concurrently.
type Sink interface {
	// Interim shows what is being said; it is not kept.
	Interim(u Utterance)
	// Commit keeps finals and moves the point up to which audio is spoken for.
	// ErrNotOwner ends the transcription.
	Commit(ctx context.Context, through int64, finals []Utterance) error
	// State tells what the transcription is doing whenever that changes.
	State(s Status)
}

// ErrNotOwner is returned by a Sink when another process has taken the track.
var ErrNotOwner = errors.New("the track belongs to another process by now")

// Utterance is a piece of transcript, in samples (16 kHz) of the track.
type Utterance struct {
	Start, End int64
	Text       string
	Words      []Word
	// Engine said it, by its Name.
	Engine string
	// Skipped says why there is no text: this stretch is given up.
	Skipped string
	// Heard is when the engine got the end of it, if Config.Times asks for that and
	// it is known.
	Heard time.Time
}

// Config of a Supervisor. What is zero but Engines gets its default.
type Config struct {
	// Engines are the recognizer and, if there is a second one, its fallback.
	Engines []Engine
	Logger  *slog.Logger
	// OpenTimeout bounds Open (15 s), FinishTimeout how long an engine may be
	// silent at the end of a stream (1 min), StallTimeout how long it may be
	// silent on speech (1 min; twice as long each time that it comes to nothing).
	OpenTimeout, FinishTimeout, StallTimeout time.Duration
	// MinBackoff (100 ms) doubles up to MaxBackoff (30 s) from failure to failure
	// until there is progress again.
	MinBackoff, MaxBackoff time.Duration
	// After IdleAfter (1 min) of silence a stream is given back until someone
	// speaks.
	IdleAfter time.Duration
	// Turn is how long a stream is kept while others wait for it (10 s): then it
	// is given back in the next pause, and after twice as long in any case (and
	// twice as long again each time that this comes to nothing).
	Turn time.Duration
	// Times has it noted when engines get what, for Utterance.Heard.
	Times bool
	// GiveUpAfter is for how long a stretch of audio is tried that the engine
	// fails on, though it recognizes others (10 min, and giveUpTries times).
	GiveUpAfter time.Duration
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.OpenTimeout, 15 * time.Second},
		{&c.FinishTimeout, time.Minute},
		{&c.StallTimeout, time.Minute},
		{&c.MinBackoff, 100 * time.Millisecond},
		{&c.MaxBackoff, 30 * time.Second},
		{&c.IdleAfter, time.Minute},
		{&c.Turn, 10 * time.Second},
		{&c.GiveUpAfter, 10 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Supervisor transcribes tracks. New makes it; it needs no closing. What its
// tracks share are the turns at an engine's streams and its circuit.
type Supervisor struct {
	cfg     Config
	engines []*engine
}

// New makes a supervisor of at least one engine; it starts nothing.
func New(cfg Config) *Supervisor {
	s := &Supervisor{cfg: cfg.withDefaults()}
	for _, e := range cfg.Engines {
		s.engines = append(s.engines, newEngine(e))
	}
	return s
}

// Stats are the numbers of the engines, in the order of Config.Engines.
func (s *Supervisor) Stats() []EngineStats {
	out := make([]EngineStats, len(s.engines))
	for i, e := range s.engines {
		out[i] = e.numbers()
	}
	return out
}

const (
	// A stretch that is given up is firstGiveUp long (samples, 16 kHz), and the
	// next one twice as long if that did not help.
	firstGiveUp = 30 * audio.FrameRate
	giveUpTries = 5
	// lastDeadline is how long a track that is over waits for an engine that takes
	// its audio and says nothing.
	lastDeadline = 24 * time.Hour
	// After stuckTries failures in a row a track tries the fallback, though the
	// engine works for others.
	stuckTries = 3
	// After as many a stream gets only half of what the last one died of, at least
	// minStretch (samples), and twice as much each time that it ends well: some
	// die before they say their first final, of their age or of what they hear. One
	// that dies before minHeld has not begun.
	minStretch = 2 * audio.FrameRate
	maxStretch = 3600 * audio.FrameRate
	minHeld    = 2 * time.Second
	// maxDoublings of StallTimeout, and of Turn.
	maxDoublings = 4
)

// maxSinkWait is how long a store that fails is left alone: it is ours, and has
// few to serve.
const maxSinkWait = 2 * time.Second

// Run transcribes a track from sample `through` on, until everything up to its
// End is committed. It goes on for as long as that takes, so that an error is
// that of ctx, ErrNotOwner, or the log's.
func (s *Supervisor) Run(ctx context.Context, track string, log Log, through int64, sink Sink) error {
	r := &run{s: s, track: track, log: log, sink: sink, through: through, giveUp: firstGiveUp}
	if s.cfg.Times {
		r.marks = new(marks)
	}
	backoff, since := s.cfg.MinBackoff, time.Now()
	for {
		before := r.position()
		f := newFeed(r)
		err := f.run(ctx)
		progress := r.position() > before
		if progress {
			r.cuts = 0
		} else if errors.Is(err, errCut) {
			r.cuts++
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrNotOwner), errors.As(err, new(*logError)):
			return err
		case errors.Is(err, errCut):
			backoff, since, r.retries, r.stalls = s.cfg.MinBackoff, time.Now(), 0, 0
			continue
		}
		if f.ended && r.position() >= f.pos && !errors.As(err, new(*sinkError)) {
			return nil // it failed when there was nothing left to say
		}
		if progress {
			backoff, since, r.retries, r.stalls, r.giveUp = s.cfg.MinBackoff, time.Now(), 0, 0, firstGiveUp
		}
		r.failed()
		if r.stuck() >= stuckTries && f.held >= minHeld && !errors.Is(err, errStalled) && !errors.As(err, new(*sinkError)) {
			r.stretch = max(minStretch, min(f.pos-r.position(), maxStretch)/2)
		}
		if errors.Is(err, errStalled) {
			r.stalls = min(r.stalls+1, maxDoublings)
		}
		if f.hopeless(since, err) {
			if r.giveUpSome(ctx, err) == nil {
				since, r.retries = time.Now(), 0
			}
		}
		wait := time.Duration(0) // an engine that is away says itself when to try it
		ready, _, _ := f.e.ready(time.Now())
		if ready {
			wait = backoff/2 + rand.N(backoff/2+1)
			backoff = min(2*backoff, s.cfg.MaxBackoff)
		}
		log := s.cfg.Logger.With("track", track, "engine", r.status.Engine, "at_ms", r.position()/(audio.FrameRate/1000), "err", err)
		if errors.As(err, new(*sinkError)) {
			wait = min(wait, maxSinkWait)
			log.Warn("the transcript could not be stored; the audio waits in the log", "retry_in", wait)
		} else if ready { // or blame has told of it
			log.Warn("recognizer failed; the audio waits in the log", "retry_in", wait)
		}
		r.state(StateRetrying, nil)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hopeless reports whether a stretch of the track is what the engine fails on.
// One that fails on everything is away, which says nothing about the track; only
// a track that is over does not wait for it for more than a day.
func (f *feed) hopeless(since time.Time, err error) bool {
	r := f.r
	if errors.As(err, new(*sinkError)) || !f.opened || r.retries < giveUpTries || time.Since(since) < r.s.cfg.GiveUpAfter {
		return false
	}
	return f.e.heardSince(since) || f.ended && time.Since(since) >= lastDeadline
}

// giveUpSome accounts for what comes next in the track as not transcribed.
func (r *run) giveUpSome(ctx context.Context, cause error) error {
	from := r.position()
	to := min(from+r.giveUp, r.log.Tail()/audio.TicksPerSample)
	r.giveUp *= 2
	r.wrote(to, 0)
	r.s.cfg.Logger.Error("a part of a track is given up: the recognizer fails on it", "track", r.track,
		"from_ms", from/(audio.FrameRate/1000), "to_ms", to/(audio.FrameRate/1000), "err", cause)
	return r.commit(ctx, to, []Utterance{{Start: from, End: to, Engine: r.status.Engine, Skipped: "the recognizer failed on it"}})
}

// choose waits for an engine that may be tried, and takes one of its streams.
func (r *run) choose(ctx context.Context) (*engine, error) {
	order := r.s.engines
	if n := r.stuck(); len(order) > 1 && n >= stuckTries && n%2 == 1 {
		order = []*engine{order[1], order[0]}
	}
	for {
		now := time.Now()
		soonest := now.Add(maxCool)
		var changed [2]<-chan struct{}
		for i, e := range order {
			ok, at, c := e.ready(now)
			if !ok {
				if changed[min(i, 1)] = c; at.Before(soonest) {
					soonest = at
				}
				continue
			}
			if err := e.acquire(ctx, func() { r.state(StateWaiting, e) }); err != nil {
				return nil, err
			}
			if e.enter(time.Now()) {
				return e, nil
			}
			e.release()
			soonest = now
		}
		if soonest.Equal(now) {
			continue // the circuit changed while we waited for a stream
		}
		r.state(StateCircuitOpen, order[0])
		timer := time.NewTimer(time.Until(soonest))
		select {
		case <-timer.C:
		case <-changed[0]:
		case <-changed[1]:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// run is the transcription of one track.
type run struct {
	s       *Supervisor
	track   string
	log     Log
	sink    Sink
	retries int   // failures since failedAt was committed
	stalls  int   // those of them in which the engine went silent
	cuts    int   // errCuts in a row that came to nothing
	giveUp  int64 // samples
	stretch int64 // samples that a stream gets; 0: as much as there is
	// vanished is where an interim came to nothing, and was heard again.
	vanished int64
	// ended is where the last word ends; only the results of one stream at a time
	// use it.
	ended int64

	mu      sync.Mutex // guards what follows and the calls of sink
	status  Status
	through int64
	// failedAt is what through was at the last failure.
	failedAt int64
	pending  bool  // an interim is shown of which nothing has come yet
	fatal    error // of the sink
	written  int64 // sample of the track up to which the stream has got it
	// lastSpeech is the sample up to which someone spoke.
	lastSpeech int64
	// awaited is since when the engine owes an answer to speech; zero: it does
	// not. answered is what it had got when it said something last.
	awaited  time.Time
	writing  time.Time // since when a Write is under way; zero: none is
	answered int64
	// inserts are what the stream got that is not of the track.
	inserts []insert
	marks   *marks // nil: nobody wants to know
}

// state tells the sink what is going on, if that is news. e is the engine that
// it is about; nil: the same as before.
func (r *run) state(st State, e *engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := Status{State: st, Engine: r.status.Engine, Retries: r.stuckLocked(), Since: r.status.Since}
	if e != nil {
		now.Engine = e.Name
	}
	if now == r.status {
		return
	}
	if st != r.status.State {
		now.Since = time.Now()
	}
	r.status = now
	r.sink.State(now)
}

// stuck is the number of failures in a row without progress in between.
func (r *run) stuck() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stuckLocked()
}

func (r *run) stuckLocked() int {
	if r.through > r.failedAt {
		return 0
	}
	return r.retries
}

// failed counts a failure.
func (r *run) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retries++
	r.failedAt = r.through
}

func (r *run) position() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.through
}

// commit stores finals and moves the checkpoint.
func (r *run) commit(ctx context.Context, through int64, finals []Utterance) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fatal != nil {
		return r.fatal
	}
	// No engine speaks for audio that it has not got, or was only lent.
	through = max(min(through, r.written), r.through)
	if err := r.sink.Commit(ctx, through, finals); err != nil {
		err = &sinkError{err}
		if errors.Is(err, ErrNotOwner) {
			r.fatal = err
		}
		return err
	}
	r.through = through
	r.pending = false
	return nil
}

// logError is an error of the log: trying again with another stream is no help.
type logError struct{ err error }

func (e *logError) Error() string { return "read the track's log: " + e.err.Error() }
func (e *logError) Unwrap() error { return e.err }

// sinkError is an error of the sink: no fault of the recognizer.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return "commit: " + e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

var (
	errStreamEnded = errors.New("the recognizer ended before the audio did")
	errStalled     = errors.New("the recognizer says nothing any more")
	errVanished    = errors.New("the recognizer showed words and never said what became of them")
	// errCut ends a feed whose stream had to be finished in the middle of a word.
	errCut = errors.New("begin again at the last word")
)
