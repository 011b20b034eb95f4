package utterance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	// underWay is the text of interims: these engines say nothing before the end.
	underWay = "…"
	// again is how often that is said while an answer is awaited, so that whoever
	// watches the stream knows that it is not dead. The request has a deadline of
	// its own.
	again = 10 * time.Second
	// inHand is how many utterances a stream holds besides the one that is being
	// spoken: one under way, one that waits.
	inHand = 2
	// maxPrevious is how many bytes of what was said are kept for the next request.
	maxPrevious = 1000
)

var (
	errClosed = errors.New("the stream is closed")
	errEnded  = errors.New("the stream is finished: no audio can follow")
)

// Stream is one stream of a Recognizer; see transcribe.Stream for who may call
// what.
type Stream struct {
	r       *Recognizer
	results chan transcribe.Result
	pieces  chan Piece    // to the worker, in order; Finish closes it
	slots   chan struct{} // holds one for every utterance in hand
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // the worker is gone

	// What follows belongs to the goroutine that writes.
	splitter *Splitter
	cut      []Piece // scratch
	begun    bool    // an utterance was announced and nothing came of it yet
	finished bool

	// What follows is the worker's until done is closed.
	complete bool
	cause    error // why it ended before its time
}

var (
	_ transcribe.Stream  = (*Stream)(nil)
	_ transcribe.Flusher = (*Stream)(nil)
)

func newStream(r *Recognizer, o transcribe.Options) *Stream {
	s := &Stream{
		r:        r,
		results:  make(chan transcribe.Result),
		pieces:   make(chan Piece, 4),
		slots:    make(chan struct{}, inHand),
		done:     make(chan struct{}),
		splitter: NewSplitter(o.Spoken, r.longest),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.work()
	return s
}

// Write takes the next frame. It blocks while two utterances wait for their
// answers.
func (s *Stream) Write(ctx context.Context, f audio.Frame) error {
	if err := s.over(); err != nil {
		return err
	}
	s.splitter.Write(f.PCM, s.collect)
	return s.put(ctx, false)
}

// Flush makes a pause of what was written so far.
func (s *Stream) Flush(ctx context.Context) error {
	if err := s.over(); err != nil {
		return err
	}
	s.splitter.Flush(s.collect)
	return s.put(ctx, true)
}

// Finish waits for the answers to all that was written.
func (s *Stream) Finish(ctx context.Context) error {
	if err := s.over(); err != nil {
		return err
	}
	s.finished = true
	s.splitter.Finish(s.collect)
	if err := s.put(ctx, true); err != nil {
		return err
	}
	close(s.pieces)
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cancel()
		<-s.done
		if !s.complete {
			return fmt.Errorf("not finished in time: %w", ctx.Err())
		}
	}
	if s.complete {
		return nil
	}
	return s.why()
}

// Close ends the request that is under way and waits for the worker.
func (s *Stream) Close() error {
	s.cancel()
	<-s.done
	return s.cause
}

// Results delivers a final for every utterance, and now and then one without
// text for a silence.
func (s *Stream) Results() <-chan transcribe.Result { return s.results }

// over is why nothing can be written any more.
func (s *Stream) over() error {
	select {
	case <-s.done:
		if s.cause != nil || !s.finished {
			return s.why()
		}
	default:
	}
	if s.finished {
		return errEnded
	}
	return nil
}

// why is the error of a stream whose worker is gone before its time.
func (s *Stream) why() error {
	if s.cause != nil {
		return s.cause
	}
	return errClosed
}

func (s *Stream) collect(p Piece) { s.cut = append(s.cut, p) }

// put hands the pieces to the worker. Silence between utterances is spoken for
// by the next one, unless it is long, or all is asked for.
func (s *Stream) put(ctx context.Context, all bool) error {
	defer func() { s.cut = s.cut[:0] }()
	for i, p := range s.cut {
		s.cut[i] = Piece{} // the audio is the worker's
		if p.Kind == Silence && !all && !s.begun && p.End-p.Start < report {
			continue
		}
		if s.begun = p.Kind == Begun; p.Kind == Speech {
			select {
			case s.slots <- struct{}{}:
			case <-s.done:
				return s.why()
			case <-ctx.Done():
				s.cancel() // the piece is lost, and so the stream
				return ctx.Err()
			}
		}
		select {
		case s.pieces <- p:
		case <-s.done:
			return s.why()
		case <-ctx.Done():
			s.cancel()
			return ctx.Err()
		}
	}
	return nil
}

// work answers pieces, one at a time and in order.
func (s *Stream) work() {
	defer close(s.done)
	defer close(s.results)
	defer s.cancel()
	previous := ""
	for {
		select {
		case <-s.ctx.Done():
			return
		case p, ok := <-s.pieces:
			if !ok {
				s.complete = true
				return
			}
			switch p.Kind {
			case Begun:
				s.send(transcribe.Result{Start: p.Start, End: p.End + preroll, Text: underWay})
			case Silence:
				s.send(transcribe.Result{Final: true, Start: p.Start, End: p.End})
			case Speech:
				res, err := s.ask(p, previous)
				if s.ctx.Err() != nil {
					return
				}
				if s.r.down.Store(err != nil); err != nil {
					s.cause = err
					return
				}
				res = place(res, p)
				s.send(res)
				<-s.slots
				previous = Tail(strings.TrimSpace(previous+" "+res.Text), maxPrevious)
			}
		}
	}
}

// ask waits for the answer to an utterance, and says now and then that it does.
func (s *Stream) ask(p Piece, previous string) (res transcribe.Result, err error) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		res, err = s.r.persist(s.ctx, Utterance{Start: p.Start, PCM: p.PCM}, previous)
	}()
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	for {
		s.send(transcribe.Result{Start: p.Start, End: p.End, Text: underWay})
		select {
		case <-answered:
			return res, err
		case <-ticker.C:
		}
	}
}

func (s *Stream) send(r transcribe.Result) {
	select {
	case s.results <- r:
	case <-s.ctx.Done():
	}
}

// place moves an answer to where its utterance lies in the stream, and its
// words into it. It begins with its first word, or where somebody was heard.
func place(r transcribe.Result, p Piece) transcribe.Result {
	r.Final, r.Start, r.End = true, p.Voice, p.End
	r.Text = strings.Join(strings.Fields(r.Text), " ")
	words := r.Words
	r.Words = nil
	if r.Text == "" {
		return r
	}
	from := p.Start
	for _, w := range words {
		if w.Text = strings.TrimSpace(w.Text); w.Text == "" {
			continue
		}
		w.Start = min(max(p.Start+w.Start, from), p.End)
		w.End = min(max(p.Start+w.End, w.Start), p.End)
		from = w.Start
		r.Words = append(r.Words, w)
	}
	if len(r.Words) > 0 {
		r.Start = r.Words[0].Start
	}
	return r
}

// Tail is the end of a text, of at most n bytes, from the beginning of a word on
// where there is one.
func Tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[len(text)-n:]
	if _, rest, ok := strings.Cut(text, " "); ok {
		return rest
	}
	for text != "" && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}
