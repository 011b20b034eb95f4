package transcribe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
	"verbatim/pipeline/vad"
)

// Lengths are in samples (16 kHz).
const (
	// preroll is how far before the last commit a new stream begins: engines
	// need to hear a word's beginning to know it. After a silence it is wake.
	preroll = 300 * audio.FrameRate / 1000
	wake    = audio.FrameRate
	// warmup is how far before that decoding begins, for the codec to settle.
	warmup = 500 * audio.FrameRate / 1000
	// A silence of silentFor is spoken for without a final up to lag ago, so
	// that a new stream need not hear it again. lag is time that engines have for
	// a final that they are still thinking about.
	silentFor = 15 * audio.FrameRate
	lag       = 10 * audio.FrameRate
	// After pause without speech, silence is lent in pieces while nothing
	// arrives: see feed.lend. maxLent ends most engines' utterances.
	pause     = 150 * audio.FrameRate / 1000
	lendPiece = 100 * audio.FrameRate / 1000
	maxLent   = audio.FrameRate
)

const (
	// lendEvery is how long nothing arrives until silence is lent, and from
	// piece to piece: longer than packets last. lookEvery is how long nothing
	// arrives until it is time to look whether a turn is due.
	lendEvery = lendPiece * time.Second / audio.FrameRate
	lookEvery = 500 * time.Millisecond
	// breath is a pause in which a stream can end and no word is cut.
	breath = 600 * time.Millisecond
	// After flushAfter of silence an engine is asked for its final. One that does
	// not say it is finished after forceAfter; if it has shown no words, which
	// may be as they were no speech, after forceLater.
	flushAfter = 800 * time.Millisecond
	forceAfter = 3 * time.Second
	forceLater = 10 * time.Second
	stallAfter = 2 * time.Second // in which nothing came, a stall is taken for a pause
	yieldAfter = time.Second     // of silence, if others wait
	homeAfter  = 5 * time.Second
	// What is written is live as long as it is not older than that, and it is
	// catching up from behindBy on.
	liveWithin = time.Second * audio.TickRate / time.Second
	behindBy   = 5 * time.Second * audio.TickRate / time.Second
)

// feed reads a track from one place on and hands it to one stream after the
// other. It belongs to the goroutine of Run.
type feed struct {
	r        *run
	next     uint64 // Seq of the packet to read
	read     int64  // ticks up to which packets were read
	pos      int64  // sample up to which there were frames
	origin   int64  // of the detector
	decode   *decode.Decoder
	detector vad.Detector
	recent   recent // what lies before pos

	e      *engine // the one in use, or used last; at first, the one to use
	s      *session
	opened bool          // it has opened a stream
	held   time.Duration // the last one
	ended  bool          // the track's End was read
	got    time.Time
}

// session is a stream that is open.
type session struct {
	stream  Stream
	born    time.Time
	base    int64 // sample of the track with which it begins
	lent    int64 // samples of silence that it got ahead of the track
	flushed bool
	pace    *rate.Limiter // nil: none
	cut     bool          // it ends while audio comes in
}

func newFeed(r *run) *feed {
	from := max(0, r.position()-preroll)
	f := &feed{r: r, e: r.s.engines[0], decode: decode.New(), pos: from, origin: from, got: time.Now()}
	f.next = r.log.SeqAt(max(0, from-warmup) * audio.TicksPerSample)
	r.wrote(from, 0)
	return f
}

// run goes on until the track is transcribed to its end, or something fails.
func (f *feed) run(ctx context.Context) error {
	if f.r.stuck() >= stuckTries { // it may be the silence that streams die of
		if done, err := f.skip(ctx, f.r.position()+touch); err != nil || done {
			return err
		}
	}
	for {
		e, err := f.r.choose(ctx)
		if err != nil {
			return err
		}
		f.e = e
		err = f.stream(ctx)
		e.release()
		if err != nil || f.ended {
			return err
		}
		if done, err := f.idle(ctx); err != nil || done {
			return err
		}
	}
}

// stream is one stream of the engine, from its opening to its last result.
func (f *feed) stream(ctx context.Context) error {
	r := f.r
	f.held = 0
	r.state(StateOpening, f.e)
	begun := r.position() // what lies before it was committed
	base := max(f.pos-f.recent.have, begun-preroll, 0)
	octx, cancel := context.WithTimeout(ctx, r.s.cfg.OpenTimeout)
	stream, err := f.e.Open(octx, Options{Track: r.track, Spoken: max(0, begun-base)})
	cancel()
	switch {
	case err != nil && ctx.Err() != nil:
		f.e.leave()
		return ctx.Err()
	case err != nil:
		err = fmt.Errorf("open: %w", err)
		f.blame(err)
		return err
	}
	f.e.opened()
	f.opened = true

	f.s = &session{stream: stream, born: time.Now(), base: base}
	if s := f.e.Speed; s > 0 {
		f.s.pace = rate.NewLimiter(rate.Limit(s*audio.FrameRate), 2*audio.FrameRate)
	}
	res := newResults(r, f.e, f.s.base, begun)

	// What is written is of no use when nothing comes back any more; Finish has
	// some time after that.
	fctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	sctx, stop := context.WithCancelCause(fctx)
	defer stop(nil)
	consumed := make(chan error, 1)
	go func() {
		err := res.consume(ctx, stream.Results(), abort)
		stop(errStreamEnded)
		consumed <- err
	}()
	err = f.begin(sctx)
	f.recent.keep(preroll + edge) // the next stream begins there: see results.over
	if err == nil && !f.ended {
		err = f.take(sctx, f.due)
	}
	if err == nil {
		r.state(StateFinishing, f.e)
		if f.s.cut && !f.ended {
			res.cutAt(f.pos)
		}
		res.finishing()
		defer context.AfterFunc(sctx, func() {
			late := time.AfterFunc(r.s.cfg.FinishTimeout, func() { abort(errStalled) })
			context.AfterFunc(fctx, func() { late.Stop() })
		})()
		if err = stream.Finish(fctx); err != nil {
			err = fmt.Errorf("finish: %w", err)
		}
	}
	cause := context.Cause(sctx)
	cerr := stream.Close()
	f.held = time.Since(f.s.born)
	f.s = nil
	switch rerr := <-consumed; {
	case rerr != nil:
		return rerr
	case err == nil:
		if r.stretch *= 2; r.stretch > maxStretch {
			r.stretch = 0
		}
		return res.over(ctx, f.pos)
	case ctx.Err() != nil, errors.As(err, new(*logError)):
		return err
	}
	err = because(err, cause, cerr)
	f.blame(err)
	return err
}

// begin writes what the stream gets of the time before it was opened.
func (f *feed) begin(ctx context.Context) error {
	const piece = audio.FrameRate / 50
	for at := f.s.base; at < f.pos; {
		pcm := f.recent.last(f.pos - at)
		pcm = pcm[:min(piece, len(pcm))]
		if err := f.write(ctx, audio.Frame{Start: at, PCM: pcm, Kind: audio.Coded}); err != nil {
			return err
		}
		at += int64(len(pcm))
	}
	return nil
}

// because is what a stream failed of: err is how that was noticed, cause why it
// was stopped, and closed what it says itself.
func because(err, cause, closed error) error {
	switch {
	case cause != nil && !errors.Is(cause, errStreamEnded):
		err = cause
	case cause != nil && errors.Is(err, context.Canceled):
		err = errStreamEnded
	}
	if closed != nil && !errors.Is(err, closed) {
		err = fmt.Errorf("%w: %w", err, closed)
	}
	return err
}

// blame counts a failure as the engine's.
func (f *feed) blame(err error) {
	if open, wait := f.e.failed(time.Now(), err); open {
		f.r.s.cfg.Logger.Warn("the recognizer is taken to be away", "engine", f.e.Name, "next_try_in", wait, "err", err)
	}
}

// idle is what there is between two streams.
func (f *feed) idle(ctx context.Context) (done bool, err error) {
	if f.detector.Speech() {
		return false, nil
	}
	f.r.state(StateIdle, f.e)
	return f.skip(ctx, 0)
}

// skip reads on without a stream until someone speaks beyond a sample, or the
// track ends: done, unless a word may have begun at the very end.
func (f *feed) skip(ctx context.Context, beyond int64) (done bool, err error) {
	f.recent.keep(wake)
	err = f.take(ctx, func(time.Duration) bool { return f.detector.Speech() && f.lastSpeech() > beyond })
	if err != nil || !f.ended || f.detector.Stirs() || f.lastSpeech() > f.r.position() {
		return false, err
	}
	return true, f.r.commit(ctx, f.pos, nil)
}

// take reads packets until the track ends or enough is true, which is asked
// after every packet, and when nothing has come for some time.
func (f *feed) take(ctx context.Context, enough func(waited time.Duration) bool) error {
	for {
		done, err := f.takeSome(ctx, enough)
		if done || err != nil {
			return err
		}
		if f.r.log.Tail() > f.read {
			continue // it was us who kept the log waiting
		}
		if err := f.tick(ctx); err != nil {
			return err
		}
		if enough(time.Since(f.got)) {
			return nil
		}
	}
}

// takeSome is take until nothing has come for some time.
func (f *feed) takeSome(ctx context.Context, enough func(time.Duration) bool) (done bool, err error) {
	rctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(f.patience(), cancel)
	defer patience.Stop()
	for p, err := range f.r.log.Read(rctx, f.next) {
		patience.Stop()
		switch {
		case err != nil && ctx.Err() != nil:
			if cause := context.Cause(ctx); cause != nil {
				return false, cause
			}
			return false, ctx.Err()
		case err != nil && rctx.Err() != nil:
			return false, nil
		case err != nil:
			return false, &logError{err}
		}
		if err := f.packet(ctx, p); err != nil {
			return false, err
		}
		if f.ended || enough(0) {
			return true, nil
		}
		patience.Reset(f.patience())
	}
	return false, &logError{errors.New("it stopped before its end")}
}

func (f *feed) patience() time.Duration {
	if f.lending() || f.flushing() {
		return lendEvery
	}
	return lookEvery
}

func (f *feed) packet(ctx context.Context, p audio.Packet) (err error) {
	f.decode.Packet(p, func(fr audio.Frame) bool {
		err = f.frame(ctx, fr)
		return err == nil
	})
	if err != nil {
		return err
	}
	f.next, f.read, f.got = p.Seq+1, p.Next(), time.Now()
	f.ended = p.Kind == audio.End
	if f.s != nil && !f.ended {
		f.tell()
	}
	return nil
}

// tell says how far behind the stream is.
func (f *feed) tell() {
	switch behind := f.r.log.Tail() - f.read; {
	case f.e != f.r.s.engines[0]:
		f.r.state(StateFallback, f.e)
	case behind > int64(behindBy):
		f.r.state(StateCatchingUp, f.e)
	case behind <= int64(liveWithin) || f.r.status.State == StateOpening:
		f.r.state(StateLive, f.e)
	}
}

// frame takes one frame, leaving out what lies before the feed's beginning.
func (f *feed) frame(ctx context.Context, fr audio.Frame) error {
	if skip := f.pos - fr.Start; skip >= int64(len(fr.PCM)) {
		return nil
	} else if skip > 0 {
		fr.PCM, fr.Start = fr.PCM[skip:], f.pos
	}
	f.detector.Write(fr.PCM)
	f.pos += int64(len(fr.PCM))
	f.r.wrote(f.pos, f.lastSpeech())
	var err error
	if f.s != nil {
		err = f.write(ctx, fr)
	}
	f.recent.add(fr.PCM)
	if err != nil {
		return err
	}
	return f.r.silence(ctx, f.pos, f.lastSpeech(), f.s == nil)
}

// lastSpeech is the sample up to which someone spoke, 0 if nobody did.
func (f *feed) lastSpeech() int64 {
	if at := f.detector.LastSpeech(); at > 0 {
		return f.origin + at
	}
	return 0
}

// write writes a frame, leaving out silence that the stream has got already.
func (f *feed) write(ctx context.Context, fr audio.Frame) error {
	s := f.s
	if s.lent > 0 {
		if fr.Kind == audio.Silence {
			n := min(s.lent, int64(len(fr.PCM)))
			s.lent -= n
			fr.PCM, fr.Start = fr.PCM[n:], fr.Start+n
		} else {
			// Not silence but a stall of the network: what was lent stays in the
			// stream and not in the track.
			f.r.insert(fr.Start-s.base, s.lent)
			s.lent = 0
		}
	}
	if len(fr.PCM) == 0 {
		return nil
	}
	if s.pace != nil {
		if err := s.pace.WaitN(ctx, len(fr.PCM)); err != nil {
			return err
		}
	}
	return f.put(ctx, fr)
}

// put hands a frame to the stream. One that never takes it is found by stalled.
func (f *feed) put(ctx context.Context, fr audio.Frame) error {
	f.r.blocked(time.Now())
	defer f.r.blocked(time.Time{})
	if err := f.s.stream.Write(ctx, fr); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// tick does what is due while nothing arrives. A sender that falls silent stops
// sending (DTX) and tells of the silence only with its next packet, 400 ms
// later, or never when it is muted; without help the engine would learn of the
// end of a sentence too late. Silence is lent in pauses only, where it does no
// harm should it not come true.
func (f *feed) tick(ctx context.Context) error {
	switch {
	case f.s == nil:
		return nil
	case f.lending():
		var zeros [lendPiece]int16
		f.s.lent += lendPiece
		return f.put(ctx, audio.Frame{Start: f.pos + f.s.lent - lendPiece, PCM: zeros[:], Kind: audio.Silence})
	case f.flushing() && f.paused(time.Since(f.got)):
		return f.flush(ctx)
	}
	return nil
}

// paused reports whether a speaker has paused, rather than their network in the
// middle of a word.
func (f *feed) paused(waited time.Duration) bool {
	return f.detector.Silence() >= pause && f.quiet(waited) >= flushAfter || waited >= stallAfter
}

// lending reports whether someone has just stopped speaking and the engine has
// not said its last word on it.
func (f *feed) lending() bool {
	if f.s == nil || f.s.lent >= maxLent || f.detector.LastSpeech() == 0 || f.detector.Silence() < pause || f.detector.Stirs() {
		return false // nobody was heard, or a word may just have begun
	}
	_, flushes := f.s.stream.(Flusher)
	return !flushes && f.r.isPending()
}

// flushing reports the same of an engine that can be asked for its last word.
func (f *feed) flushing() bool {
	if f.s == nil || f.s.flushed {
		return false
	}
	_, flushes := f.s.stream.(Flusher)
	return flushes && f.r.owed()
}

func (f *feed) flush(ctx context.Context) error {
	f.s.flushed = true
	f.r.blocked(time.Now())
	defer f.r.blocked(time.Time{})
	if err := f.s.stream.(Flusher).Flush(ctx); err != nil { //nolint:errcheck,forcetypeassert // flushing has looked
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// quiet is for how long nobody has spoken; waited is for how long nothing has
// come.
func (f *feed) quiet(waited time.Duration) time.Duration {
	return time.Duration(f.detector.Silence())*time.Second/audio.FrameRate + waited
}

// due reports whether the stream has to be finished, and another opened when it
// is needed.
func (f *feed) due(waited time.Duration) bool {
	s, cfg := f.s, &f.r.s.cfg
	held, quiet := time.Since(s.born), f.quiet(waited)
	stirs := f.detector.Stirs()
	if stirs {
		quiet = 0
	}
	breathes := quiet >= breath
	s.cut = waited == 0 || stirs
	if !breathes {
		s.flushed = false
	}
	if limit := f.e.Session; limit > 0 {
		if held >= limit-min(limit/10, 30*time.Second) {
			return true
		}
		if held >= limit*3/4 && breathes {
			return true
		}
	}
	if n := f.r.stretch; n > 0 && (f.pos-s.base >= n || f.pos-s.base >= n/2 && breathes) {
		return true
	}
	if quiet >= cfg.IdleAfter {
		return true
	}
	if f.e.crowded() {
		turn := cfg.Turn << min(f.r.cuts, maxDoublings)
		switch {
		case held >= 2*turn, held >= turn && breathes, waited > 0 && quiet >= yieldAfter:
			return true
		}
	}
	if waited > 0 || f.live() {
		if quiet >= max(forceAfter, f.e.Answer) && f.r.isPending() || quiet >= max(forceLater, f.e.Answer) && f.r.owed() {
			return true
		}
	}
	home := f.r.s.engines[0]
	if f.e != home && breathes && held >= homeAfter {
		ready, _, _ := home.ready(time.Now())
		return ready
	}
	return false
}

func (f *feed) live() bool { return f.r.log.Tail()-f.read <= int64(liveWithin) }
