// Package utterance makes streams of engines that take one utterance at a time:
// a request with audio, an answer with its text.
//
//	frames → Splitter → utterances → one request at a time → finals
//
// A Splitter cuts the stream of one track into utterances and silence. Nothing
// lies in two utterances, so that no word comes twice, and what lies in none is
// silence. A Stream hands utterances to the engine, in order and one at a time,
// and silence to whoever keeps the account of what is spoken for.
//
// The goroutine that writes splits; a Stream's worker asks the engine, in a
// goroutine of its own for every request, and sends all results. Close and
// Finish wait for the worker, and it for its request. No locks.
package utterance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	// Longest is the default length of an utterance: below the 30 s that Whisper
	// hears at a time.
	Longest = 28 * time.Second
	// MaxLongest bounds what is held of each stream: 3 × 10 MB.
	MaxLongest = 5 * time.Minute

	// An utterance that is refused is tried tries times, refusedPause apart.
	tries        = 3
	refusedPause = 500 * time.Millisecond
	// refusesAll is when an engine is asked again that refuses any audio: a
	// person has to do something.
	refusesAll = 30 * time.Second

	maxQuote = 200 // bytes
)

// Utterance is what an engine is asked about.
type Utterance struct {
	Start int64   // samples (16 kHz) since the stream's beginning
	PCM   []int16 // not to be kept or changed
}

// Func asks an engine what is said in an utterance. previous is the end of what
// was said before it, "" if that is not known. It must end soon after ctx does,
// and has a deadline of its own. Of the Result, Text and Words count, in samples
// since the utterance's first; or Skipped.
type Func func(ctx context.Context, u Utterance, previous string) (transcribe.Result, error)

// RefusedError is the error of a Func when the engine does not want what it was
// given, though it is there and well. If it wants other audio, the utterance is
// skipped.
type RefusedError struct {
	Reason string
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Quote brings what an engine says, for an error, on one line of some 200 bytes
// at most.
func Quote(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "�")
	if len(text) > maxQuote {
		text = strings.ToValidUTF8(text[:maxQuote], "") + "…"
	}
	if text == "" {
		return "(nothing)"
	}
	return text
}

// Recognizer makes streams of an engine. It needs no closing.
type Recognizer struct {
	recognize Func
	longest   int64
	down      atomic.Bool // the engine's last answer was none
}

var _ transcribe.Recognizer = (*Recognizer)(nil)

// New makes a Recognizer that asks recognize, which is called by many
// goroutines. No utterance is longer than longest.
func New(recognize Func, longest time.Duration) *Recognizer {
	return &Recognizer{recognize: recognize, longest: int64(longest * audio.FrameRate / time.Second)}
}

// Open begins a stream. An engine that failed last is first asked whether it is
// back, with a second of silence.
func (r *Recognizer) Open(ctx context.Context, o transcribe.Options) (transcribe.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.down.Load() {
		if err := r.probe(ctx); err != nil {
			return nil, err
		}
		r.down.Store(false)
	}
	return newStream(r, o), nil
}

// probe asks the engine about a second of silence.
func (r *Recognizer) probe(ctx context.Context) error {
	_, err := r.recognize(ctx, Utterance{PCM: make([]int16, audio.FrameRate)}, "")
	var refused *RefusedError
	if errors.As(err, &refused) {
		return &transcribe.RetryError{After: refusesAll, Err: fmt.Errorf("it takes no audio at all: %w", err)}
	}
	return err
}

// persist asks the engine, and again if it refuses. An utterance that it
// refuses for good while it takes other audio is skipped, so that it does not
// stand in the way of all that follow.
func (r *Recognizer) persist(ctx context.Context, u Utterance, previous string) (transcribe.Result, error) {
	for try := 1; ; try++ {
		res, err := r.recognize(ctx, u, previous)
		var refused *RefusedError
		if !errors.As(err, &refused) {
			return res, err
		}
		if try == tries {
			if err := r.probe(ctx); err != nil {
				return transcribe.Result{}, err
			}
			return transcribe.Result{Skipped: refused.Reason}, nil
		}
		previous = "" // maybe it is that
		select {
		case <-time.After(refusedPause):
		case <-ctx.Done():
			return transcribe.Result{}, ctx.Err()
		}
	}
}
