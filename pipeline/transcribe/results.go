package transcribe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"verbatim/media/audio"
)

const (
	// slack (samples) is by how much an engine's word on where it is may lie
	// before where the speech ended.
	slack = 300 * audio.FrameRate / 1000
	// edge is how near to the end of a stream a word may end and still be whole,
	// where audio follows: a speaker may have begun a word there, even if nobody
	// seems to speak yet.
	edge = 300 * audio.FrameRate / 1000
	// touch is by how much words that follow each other may overlap, if that is
	// not most of them.
	touch = 50 * audio.FrameRate / 1000
	// maxSpans of what a stream has said are remembered.
	maxSpans = 256
)

// results takes what one stream says. Its goroutine is that of consume; the
// other methods are called before it or after it, but for those about its end.
type results struct {
	r     *run
	e     *engine
	base  int64  // sample of the track with which the stream begins
	begun int64  // what lies before it was committed by another stream
	ended int64  // where the last word of that ends; 0: unknown
	spans []span // of the finals so far, in order of their position
	shown *Utterance
	// trimmed says that something at the end is for the next stream.
	trimmed bool
	again   int64 // from where on, then

	// Guarded by run.mu.
	cut   int64     // the stream ends here and audio follows; 0: none does
	last  bool      // it is being finished
	asked time.Time // since when an answer is awaited at the end
}

type span struct{ start, end int64 }

func newResults(r *run, e *engine, base, begun int64) *results {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = false // what another stream was about to say is heard again
	r.inserts, r.awaited, r.answered = nil, time.Time{}, begun
	return &results{r: r, e: e, base: base, begun: begun, ended: r.ended}
}

// consume takes results until there are no more. When one cannot be committed,
// or the engine has gone silent, it stops the stream: what follows would be of no
// use.
func (q *results) consume(ctx context.Context, from <-chan Result, stop context.CancelCauseFunc) (failed error) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case res, ok := <-from:
			if !ok {
				return failed
			}
			if failed != nil {
				continue // the stream is about to be closed; let it finish
			}
			if failed = q.take(ctx, res); failed != nil {
				stop(failed)
			}
		case <-look.C:
			if err := q.stalled(time.Now()); err != nil {
				stop(err)
			}
		}
	}
}

func (q *results) take(ctx context.Context, res Result) error {
	q.answer(res)
	u := q.place(res)
	if q.trimmed && u.Start >= q.again {
		return nil // that is heard again
	}
	if q.vanished(u) {
		return errVanished
	}
	if !res.Final {
		if u, ok := q.news(u); ok {
			q.shown = &u
			q.r.interim(u)
		}
		return nil
	}
	q.shown = nil
	through := q.trim(&u)
	u, ok := q.news(u)
	if u.Skipped != "" {
		ok = u.End > q.r.position()
		u.Start = max(u.Start, q.r.position())
	}
	if !ok {
		return q.r.commit(ctx, through, nil)
	}
	q.said(u)
	u.Heard = q.r.heard(u.End)
	return q.r.commit(ctx, through, []Utterance{u})
}

// answer notes that the engine is alive.
func (q *results) answer(res Result) {
	q.e.heard(time.Now(), res.Final)
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	q.r.awaited, q.r.answered, q.asked = time.Time{}, q.r.written, time.Now()
}

// stalled says that the engine has been silent for too long: on speech, or at
// the end.
func (q *results) stalled(now time.Time) error {
	r := q.r
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg := &r.s.cfg
	if q.last && now.Sub(q.asked) >= max(cfg.FinishTimeout, q.e.Answer) {
		return fmt.Errorf("finish: %w", errStalled)
	}
	patience := max(cfg.StallTimeout, q.e.Answer) << r.stalls
	if !q.last && !r.writing.IsZero() && now.Sub(r.writing) >= patience && now.Sub(q.asked) >= patience {
		return errStalled
	}
	if !q.last && !r.awaited.IsZero() && now.Sub(r.awaited) >= patience {
		return errStalled
	}
	return nil
}

// finishing says that everything is written, and cutAt before it that audio
// follows what was.
func (q *results) finishing() {
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	q.last, q.asked = true, time.Now()
}

func (q *results) cutAt(pos int64) {
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	q.cut = pos
}

// over is called when the stream was finished, having got everything up to pos.
func (q *results) over(ctx context.Context, pos int64) error {
	if q.shown != nil && q.once() {
		return errVanished
	}
	if q.trimmed {
		return errCut
	}
	if q.cut > 0 {
		pos -= edge
	}
	return q.r.commit(ctx, pos, nil)
}

// vanished reports whether the words of the last interim lie before this result,
// and no final has come of them.
func (q *results) vanished(u Utterance) bool {
	if q.shown == nil {
		return false
	}
	start, from, end := u.Start, q.shown.Start, q.shown.End
	if n := len(q.shown.Words); n > 0 {
		from, end = q.shown.Words[0].Start, q.shown.Words[n-1].End
	}
	leeway := int64(slack) // engines change their mind about a first word
	if len(u.Words) > 0 {
		start = u.Words[0].Start
	}
	if u.Text == "" || end-from >= audio.FrameRate { // but not that all of a second was silence
		leeway = -touch
	}
	return end+leeway <= start && q.once()
}

// once is true once at a place: a second time, it is what the engine means.
func (q *results) once() bool {
	at := q.r.position() + 1 // 0 is none
	if q.r.vanished == at {
		return false
	}
	q.r.vanished = at
	return true
}

// trim takes away what ends at the very end of a stream that others follow: the
// last word, or all of an utterance that only begins there. They hear it again.
// It returns up to where the final speaks for the audio.
func (q *results) trim(u *Utterance) (through int64) {
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	limit := q.cut - edge
	n := len(u.Words)
	switch {
	case q.trimmed: // late, and from before that, or said twice
		if n > 0 {
			u.Words = slices.DeleteFunc(u.Words, func(w Word) bool { return w.middle() >= q.again })
			u.Text = join(u.Words)
		}
		return min(u.End, q.again)
	case q.cut == 0 || u.End < limit, n == 0 && u.Text != "" && u.Start < limit:
		return u.End
	case u.Text == "", n > 0 && u.Words[n-1].End < limit:
		return limit
	case n <= 1:
		q.trimmed = true
		u.End = min(u.Start, limit)
		if n == 1 { // what lies before it was silence
			u.End = min(u.Words[0].Start, limit)
		}
		u.Words, u.Text = nil, ""
		q.again = u.End
		return u.End
	}
	q.trimmed = true
	u.End = (u.Words[n-2].End + u.Words[n-1].Start) / 2
	q.again = u.End
	u.Words = u.Words[:n-1]
	u.Text = join(u.Words)
	return u.End
}

// place takes a result's positions from the stream to the track.
func (q *results) place(res Result) Utterance {
	r := q.r
	r.mu.Lock()
	defer r.mu.Unlock()
	at := func(pos int64) int64 {
		for _, i := range r.inserts {
			if pos > i.at {
				pos = max(i.at, pos-i.n)
			}
		}
		return min(q.base+pos, r.written) // nobody speaks in what was only lent
	}
	u := Utterance{Start: at(res.Start), End: at(res.End), Text: res.Text, Engine: q.e.Name, Skipped: res.Skipped}
	for _, w := range res.Words {
		w.Start, w.End = at(w.Start), at(w.End)
		u.Words = append(u.Words, w)
	}
	if n := len(u.Words); n > 0 { // or the last word would be said again by another stream
		u.Start, u.End = min(u.Start, u.Words[0].Start), max(u.End, u.Words[n-1].End)
	}
	return u
}

// news leaves of an utterance what was not said yet, going by position and never
// by text. ok is false when nothing is left.
func (q *results) news(u Utterance) (_ Utterance, ok bool) {
	if len(u.Words) == 0 {
		// A stream begins a pre-roll early: what ends within it is the tail of
		// what was committed.
		return u, u.Text != "" && u.End > q.begun && !q.known(u.Start, u.End)
	}
	kept := make([]Word, 0, len(u.Words))
	for _, w := range u.Words {
		if middle := w.middle(); q.fresh(w) && !q.known(middle, middle) {
			kept = append(kept, w)
		}
	}
	if len(kept) == len(u.Words) {
		return u, u.Text != ""
	}
	if u.Words, u.Text = kept, join(kept); len(kept) > 0 {
		u.Start = kept[0].Start
	}
	return u, u.Text != ""
}

// fresh reports whether a word was not said by another stream. One that only
// began when that ended is new if nothing was said where it begins.
func (q *results) fresh(w Word) bool {
	if w.middle() >= q.begun {
		return true
	}
	return w.End > q.begun && q.ended > 0 && w.Start >= q.ended-min(touch, (w.End-w.Start)/3)
}

// known reports whether this stream has spoken for more than half of a stretch.
func (q *results) known(start, end int64) bool {
	var covered int64
	for _, s := range q.spans {
		if start == end && s.start <= start && start < s.end {
			return true
		}
		covered += max(0, min(end, s.end)-max(start, s.start))
	}
	return 2*covered > end-start
}

// said remembers where a final has its words.
func (q *results) said(u Utterance) {
	s := span{u.Start, u.End}
	if n := len(u.Words); n > 0 {
		s = span{u.Words[0].Start, u.Words[n-1].End}
	}
	q.r.ended = max(q.r.ended, s.end)
	at, _ := slices.BinarySearchFunc(q.spans, s, func(a, b span) int { return int(a.start - b.start) })
	q.spans = slices.Insert(q.spans, at, s)
	if len(q.spans) > maxSpans {
		q.begun = max(q.begun, q.spans[0].end)
		q.spans = slices.Delete(q.spans, 0, 1)
	}
}

// middle is the sample by which a word is counted to one stream or another.
func (w Word) middle() int64 { return (w.Start + w.End) / 2 }

func join(words []Word) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.Text
	}
	return strings.Join(texts, " ")
}

// insert is silence at a place of the track (relative to the stream's base).
type insert struct{ at, n int64 }

// insert notes silence that the stream got and the track does not have.
func (r *run) insert(at, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inserts = append(r.inserts, insert{at, n})
}

// wrote notes how much of the track the stream gets with the next write, and up
// to where someone spoke.
func (r *run) wrote(end, lastSpeech int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.lastSpeech = end, lastSpeech
	if r.marks != nil {
		r.marks.add(end, time.Now())
	}
	if r.awaited.IsZero() && lastSpeech > r.answered {
		r.awaited = time.Now()
	}
}

// blocked notes since when a Write is under way; zero: none is.
func (r *run) blocked(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing = since
}

func (r *run) isPending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending
}

// owed reports whether someone spoke behind what is spoken for.
func (r *run) owed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending || r.lastSpeech > r.through+slack
}

// silence moves the checkpoint through a long silence. Speech that is not spoken
// for holds it back, if there is a stream that may still say something.
func (r *run) silence(ctx context.Context, written, lastSpeech int64, alone bool) error {
	r.mu.Lock()
	through := written - lag
	due := written-lastSpeech >= silentFor && through-r.through >= silentFor &&
		(alone || !r.pending && lastSpeech <= r.through+slack)
	r.mu.Unlock()
	if !due {
		return nil
	}
	return r.commit(ctx, through, nil)
}

func (r *run) interim(u Utterance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = true
	r.sink.Interim(u)
}
