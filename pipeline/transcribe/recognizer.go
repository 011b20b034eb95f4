package transcribe

import (
	"context"
	"log/slog"
	"net"
	"time"

	"verbatim/media/audio"
)

// Engine is a recognizer by its name, and what the supervisor has to know of
// it. The packages below this one make them.
type Engine struct {
	Recognizer
	// Name stands in segments, states, metrics and logs. It holds no secret.
	Name string
	Limits
}

// Limits of an engine. The zero value has none.
type Limits struct {
	// Streams is how many may be open at once; 0: any number.
	Streams int
	// Session is the age at which the engine ends a stream, whatever is going
	// on; the supervisor opens another before. 0: never.
	Session time.Duration
	// Speed is how many times faster than real time audio may be written, on
	// average; 0: as fast as Write takes it.
	Speed float64
	// Answer is how long the engine may take to say anything about speech; what
	// is less than the supervisor's own patience, such as 0, has no effect.
	Answer time.Duration
}

// Host is what an engine gets of the process that it lives in. Every field is
// set.
type Host struct {
	Logger *slog.Logger
	// Dial opens the engine's connections.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Getenv reads the environment, in which keys may stand.
	Getenv func(name string) string
}

// Recognizer turns the speech of many tracks into text. It is safe for
// concurrent use; whoever made it need not close it, only its streams.
type Recognizer interface {
	// Open begins the recognition of one stream of audio. ctx bounds the
	// opening only; the stream lives until it is closed.
	Open(ctx context.Context, o Options) (Stream, error)
}

// Options of one stream.
type Options struct {
	// Track names the stream in logs.
	Track string
	// Spoken is how many samples (16 kHz) of the stream's beginning are spoken
	// for already: they are written again for their context. An engine may leave
	// them out of its results; what it says of them is dropped.
	Spoken int64
}

// Stream is one recognition in progress. One goroutine writes, finishes and
// closes it, another reads its results until the channel closes.
type Stream interface {
	// Write hands over the next frame. Frames come in order without holes. It
	// may block as long as the engine is slow: the track's log absorbs that.
	// It does not keep f.PCM. An error means that the stream is of no use any
	// more: close it and open another.
	Write(ctx context.Context, f audio.Frame) error
	// Results delivers interim and final results in order. It is closed when
	// nothing will come any more: after Finish, Close, or the engine's death.
	Results() <-chan Result
	// Finish says that no audio follows, and waits until the engine has
	// delivered its last final (Results is then closed) or ctx ends. nil means
	// that everything written was recognized.
	Finish(ctx context.Context) error
	// Close frees everything, killing the engine if need be, and waits for it.
	// It returns why the stream ended when that was not by Finish or Close. It
	// may be called more than once and while another call of the stream blocks,
	// which it ends.
	Close() error
}

// Flusher is a Stream that can be told that a pause is a pause: Flush asks for
// the final of everything written so far, which comes through Results as ever,
// and returns without waiting for it. Audio may follow. It is called by the
// goroutine that writes.
type Flusher interface {
	Flush(ctx context.Context) error
}

// RetryError is an error of Open, Write, Finish or Close that knows when trying
// again makes sense: an engine is overloaded and says for how long, or it
// refuses for a reason that only a person can do something about.
type RetryError struct {
	After time.Duration // from now
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// Result is an interim or final hypothesis. Positions are samples (16 kHz)
// since the first frame that was written to the stream.
type Result struct {
	// Final results follow each other in time and are never revised. An
	// interim replaces the interim before it, and the next final replaces it.
	Final bool
	// Start and End enclose the utterance. For a final, End is the point up to
	// which the audio is spoken for.
	Start, End int64
	Text       string
	// Words is empty where the engine gives none.
	Words []Word
	// Skipped, in a final without text, says that the engine has refused this
	// stretch for good, and why: it is accounted for as not transcribed. It is
	// not for what another try might still recognize.
	Skipped string
}

// Word is one word of a Result, in samples (16 kHz) like it.
type Word struct {
	Text       string
	Start, End int64
	Confidence *float64 // 0 to 1, nil where the engine gives none
}
