// Package transcribe turns the log of a track into text, whatever becomes of
// the recognizer on the way.
//
// A Supervisor reads the log, decodes it, and writes the frames to a stream of
// a Recognizer, while a second goroutine takes the results and commits finals.
// When a stream dies it opens another and goes on from the last commit: audio
// waits in the log meanwhile, nothing is dropped. Two goroutines per track, both
// gone when Run returns.
package transcribe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
	"verbatim/pipeline/vad"
)

// Lengths are in samples (16 kHz).
const (
	// preroll is how far before the last commit a new stream begins: engines
	// need to hear a word's beginning to know it.
	preroll = 300 * audio.FrameRate / 1000
	// warmup is how far before that decoding begins, for the codec to settle.
	warmup = 500 * audio.FrameRate / 1000
	// After silentFor without speech the audio up to lag ago is spoken for
	// without a final, so that a new stream need not hear it again. lag is time
	// that engines have for a final that they were still thinking about.
	silentFor = 15 * audio.FrameRate
	lag       = 10 * audio.FrameRate
	// After pause without speech, silence is lent in pieces while nothing
	// arrives: see writer.lend. maxLent ends any engine's utterance.
	pause     = 150 * audio.FrameRate / 1000
	lendPiece = 100 * audio.FrameRate / 1000
	maxLent   = 1000 * audio.FrameRate / 1000
)

// behindAfter is how old audio is that is caught up on.
const behindAfter = 5 * time.Second

// idleAfter is how long nothing arrives until silence is lent, and from piece to
// piece: longer than packets last.
const idleAfter = lendPiece * time.Second / audio.FrameRate

// Log is where a track's audio is read from; pipeline/tracklog has one.
type Log interface {
	Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error]
	SeqAt(tick int64) uint64
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
	// Engine is the name of the engine that said it.
	Engine string
	// Skipped, with an empty Text, is why the engine refused this stretch for good.
	Skipped string
}

// Supervisor transcribes tracks. One is enough for all of them.
type Supervisor struct {
	Recognizer Recognizer
	Name       string // of the recognizer
	Logger     *slog.Logger
	// OpenTimeout and FinishTimeout bound the engine's answer to Open and Finish.
	OpenTimeout, FinishTimeout time.Duration
	// MinBackoff doubles up to MaxBackoff from failure to failure until there is
	// progress again.
	MinBackoff, MaxBackoff time.Duration
	// FinishAttempts is how often a track that has ended is tried without any
	// progress before the rest of it is given up.
	FinishAttempts int

	streams                atomic.Int64
	opened, failed, finals atomic.Uint64
}

// Stats are the numbers of the engines.
func (s *Supervisor) Stats() []EngineStats {
	return []EngineStats{{
		Name: s.Name, Streams: int(s.streams.Load()),
		Opened: s.opened.Load(), Failed: s.failed.Load(), Finals: s.finals.Load(),
	}}
}

// Incomplete is the error of Run when a part of the track was given up, in
// samples (16 kHz): everything from From to the end.
type Incomplete struct {
	From   int64
	Reason string
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("given up from sample %d: %s", e.From, e.Reason)
}

// Run transcribes a track from sample `through` on, until everything up to its
// End is committed. It goes on for as long as that takes, so that an error is
// that of ctx, ErrNotOwner, the log's, or an *Incomplete.
func (s *Supervisor) Run(ctx context.Context, track string, log Log, through int64, sink Sink) error {
	r := &run{s: s, track: track, log: log, sink: sink, through: through}
	backoff, stuck := s.MinBackoff, 0
	for {
		before := r.position()
		r.state(StateOpening)
		ended, err := r.attempt(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrNotOwner), errors.As(err, new(*logError)):
			return err
		}
		if r.position() > before {
			backoff, stuck = s.MinBackoff, 0
			r.status.Retries = 0
		}
		s.failed.Add(1)
		r.status.Retries++
		r.state(StateRetrying)
		if ended && !errors.As(err, new(*sinkError)) {
			if stuck++; stuck >= s.FinishAttempts {
				return &Incomplete{From: r.position(), Reason: err.Error()}
			}
		}
		wait := backoff/2 + rand.N(backoff/2+1)
		s.Logger.Warn("recognizer failed; the audio waits in the log",
			"track", track, "at_ms", r.position()/(audio.FrameRate/1000), "retry_in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		backoff = min(2*backoff, s.MaxBackoff)
	}
}

// run is the transcription of one track.
type run struct {
	s     *Supervisor
	track string
	log   Log
	sink  Sink

	status Status // of the goroutine of Run

	mu      sync.Mutex // guards what follows and the calls of sink
	through int64
	pending bool  // an interim is shown of which nothing has come yet
	fatal   error // of the sink
	written int64 // sample of the track up to which the stream has got it
	// inserts are what the stream got that is not of the track.
	inserts []insert
}

// state tells of a change.
func (r *run) state(st State) {
	if st == r.status.State {
		return
	}
	r.status.State, r.status.Engine, r.status.Since = st, r.s.Name, time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sink.State(r.status)
}

// insert is silence at a place of the track (relative to the stream's base).
type insert struct{ at, n int64 }

// insert notes silence that the stream got and the track does not have.
func (r *run) insert(at, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inserts = append(r.inserts, insert{at, n})
}

// onTrack takes a result's positions from the stream to the track, both
// relative to the stream's base.
func (r *run) onTrack(res Result) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.inserts) == 0 {
		return res
	}
	place := func(pos int64) int64 {
		for _, i := range r.inserts {
			if pos > i.at {
				pos = max(i.at, pos-i.n)
			}
		}
		return pos
	}
	res.Start, res.End = place(res.Start), place(res.End)
	res.Words = slices.Clone(res.Words)
	for i := range res.Words {
		res.Words[i].Start, res.Words[i].End = place(res.Words[i].Start), place(res.Words[i].End)
	}
	return res
}

// wrote notes how much of the track the stream gets with the next write.
func (r *run) wrote(end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = end
}

func (r *run) isPending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending
}

// logError is an error of the log: trying again with another stream is no help.
type logError struct{ err error }

func (e *logError) Error() string { return "read the track's log: " + e.err.Error() }
func (e *logError) Unwrap() error { return e.err }

// sinkError is an error of the sink: no fault of the recognizer.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return "commit: " + e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

var errStreamEnded = errors.New("the recognizer ended before the audio did")

func (r *run) position() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.through
}

// attempt is one stream of the recognizer. ended says that all of the track's
// audio was written to it.
func (r *run) attempt(ctx context.Context) (ended bool, err error) {
	octx, cancel := context.WithTimeout(ctx, r.s.OpenTimeout)
	stream, err := r.s.Recognizer.Open(octx, Options{Track: r.track})
	cancel()
	if err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	r.s.opened.Add(1)
	r.s.streams.Add(1)
	defer r.s.streams.Add(-1)
	begun := r.position() // what lies before it was committed by another stream
	base := max(0, begun-preroll)
	r.settled() // what another stream was about to say is heard again

	actx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	consumed := make(chan error, 1)
	go func() {
		err := r.consume(ctx, stream.Results(), base, begun, stop)
		stop(errStreamEnded) // of no effect when that was by Finish
		consumed <- err
	}()

	total, err := r.write(actx, stream, base)
	if err == nil {
		ended = true
		r.state(StateFinishing)
		fctx, cancel := context.WithTimeout(ctx, r.s.FinishTimeout)
		if err = stream.Finish(fctx); err != nil {
			err = fmt.Errorf("finish: %w", err)
		}
		cancel()
	}
	cerr := stream.Close()
	if err := <-consumed; err != nil {
		return ended, err
	}
	if err != nil {
		if errors.Is(context.Cause(actx), errStreamEnded) && cerr != nil {
			return ended, fmt.Errorf("%w: %w", errStreamEnded, cerr)
		}
		return ended, err
	}
	return ended, r.commit(ctx, total, nil)
}

// write decodes the track from base on and writes it to the stream, up to the
// track's End, whose position it returns.
func (r *run) write(ctx context.Context, stream Stream, base int64) (total int64, err error) {
	w := &writer{r: r, stream: stream, base: base, decode: decode.New()}
	next := r.log.SeqAt(max(0, base-warmup) * audio.TicksPerSample)
	for {
		total, done, err := w.read(ctx, &next)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return 0, cause
		}
		if done || err != nil {
			return total, err
		}
	}
}

// writer hands a track's audio to one stream.
type writer struct {
	r        *run
	stream   Stream
	base     int64
	decode   *decode.Decoder
	detector vad.Detector
	lent     int64 // samples of silence that the stream got ahead of the track
}

// read writes packets from next on. It returns without being done when it has
// to wait for the next one differently from then on.
func (w *writer) read(ctx context.Context, next *uint64) (total int64, done bool, err error) {
	rctx, waiting := ctx, w.ending()
	if waiting {
		var cancel context.CancelFunc
		rctx, cancel = context.WithTimeout(ctx, idleAfter)
		defer cancel()
	}
	for p, err := range w.r.log.Read(rctx, *next) {
		switch {
		case err != nil && rctx.Err() != nil && ctx.Err() == nil:
			return 0, false, w.lend(ctx)
		case err != nil:
			return 0, false, &logError{err}
		}
		if behind := time.Since(p.At); behind < behindAfter/2 || p.Kind == audio.End {
			w.r.state(StateLive)
		} else if behind > behindAfter {
			w.r.state(StateCatchingUp)
		}
		var werr error
		w.decode.Packet(p, func(f audio.Frame) bool {
			werr = w.frame(ctx, f)
			return werr == nil
		})
		if werr != nil {
			return 0, false, werr
		}
		if p.Kind == audio.End {
			return p.Start / audio.TicksPerSample, true, nil
		}
		if *next = p.Seq + 1; waiting || w.ending() {
			return 0, false, nil
		}
	}
	return 0, false, &logError{errors.New("it stopped before its end")}
}

// frame writes one frame, leaving out what lies before base, and silence that
// the stream has got already.
func (w *writer) frame(ctx context.Context, f audio.Frame) error {
	if skip := w.base - f.Start; skip >= int64(len(f.PCM)) {
		return nil
	} else if skip > 0 {
		f.PCM, f.Start = f.PCM[skip:], w.base
	}
	w.detector.Write(f.PCM)
	end := f.Start + int64(len(f.PCM))
	w.r.wrote(end)
	if w.lent > 0 {
		if f.Kind == audio.Silence {
			n := min(w.lent, int64(len(f.PCM)))
			w.lent -= n
			f.PCM, f.Start = f.PCM[n:], f.Start+n
		} else {
			// Not silence but a stall of the network: what was lent stays in the
			// stream and not in the track.
			w.r.insert(f.Start-w.base, w.lent)
			w.lent = 0
		}
	}
	if len(f.PCM) > 0 {
		if err := w.stream.Write(ctx, f); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return w.r.silence(ctx, end, w.base+w.detector.LastSpeech())
}

// ending reports whether someone has just stopped speaking and the engine has
// not said its last word on it.
func (w *writer) ending() bool {
	return w.lent < maxLent && w.detector.Silence() >= pause && w.detector.LastSpeech() > 0 && w.r.isPending()
}

// lend writes some silence ahead of the track. A sender that falls silent stops
// sending (DTX) and tells of the silence only with its next packet, 400 ms
// later; without it the engine would learn of the end of a sentence too late. It
// is lent in pauses only, where it does no harm should it not come true.
func (w *writer) lend(ctx context.Context) error {
	var zeros [lendPiece]int16
	w.lent += lendPiece
	err := w.stream.Write(ctx, audio.Frame{Start: w.base + w.detector.Position() + w.lent - lendPiece, PCM: zeros[:], Kind: audio.Silence})
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// silence moves the checkpoint through a long silence.
func (r *run) silence(ctx context.Context, written, lastSpeech int64) error {
	r.mu.Lock()
	through := written - lag
	due := !r.pending && written-lastSpeech >= silentFor && through-r.through >= silentFor
	r.mu.Unlock()
	if !due {
		return nil
	}
	return r.commit(ctx, through, nil)
}

// consume takes the results of a stream that began at base, leaving out what lies
// before begun. When one cannot be committed it stops the attempt: what follows
// would be of no use.
func (r *run) consume(ctx context.Context, results <-chan Result, base, begun int64, stop context.CancelCauseFunc) error {
	var failed error
	for res := range results {
		if failed != nil {
			continue // the stream is about to be closed; let it finish
		}
		u, ok := clip(r.onTrack(res), base, begun)
		switch {
		case res.Final && ok:
			r.s.finals.Add(1)
			failed = r.commit(ctx, u.End, []Utterance{u})
		case res.Final:
			failed = r.commit(ctx, u.End, nil)
		case ok:
			r.interim(u)
		}
		if failed != nil {
			stop(failed)
		}
	}
	return failed
}

// clip places a result on the track and takes away what lies before begun, by
// position and never by text. ok is false when nothing is left.
func clip(res Result, base, begun int64) (u Utterance, ok bool) {
	u = Utterance{Start: base + res.Start, End: base + res.End, Text: res.Text}
	for _, w := range res.Words {
		w.Start, w.End = base+w.Start, base+w.End
		u.Words = append(u.Words, w)
	}
	if u.Start < begun {
		if len(u.Words) == 0 {
			// A stream begins a pre-roll early: what ends within it is the tail
			// of what was committed.
			return u, u.End > begun && u.Text != ""
		}
		kept := u.Words[:0]
		for _, w := range u.Words {
			if (w.Start+w.End)/2 >= begun {
				kept = append(kept, w)
			}
		}
		if dropped := len(u.Words) - len(kept); dropped > 0 {
			u.Words = kept
			u.Text = ""
			for i, w := range kept {
				if i > 0 {
					u.Text += " "
				}
				u.Text += w.Text
			}
		}
		if len(kept) > 0 {
			u.Start = kept[0].Start
		}
	}
	return u, u.Text != ""
}

// settled says that what the last interim showed is decided: nothing, maybe.
func (r *run) settled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = false
	r.inserts = nil
}

func (r *run) interim(u Utterance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = true
	r.sink.Interim(u)
}

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
