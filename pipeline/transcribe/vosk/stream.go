package vosk

import (
	"context"
	"encoding/binary"
	"sync"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
)

const (
	// least is what a message has at least, but for the last, and most what it
	// has at most, in bytes of PCM. Two finals lie more than most apart: Kaldi
	// wants half a second of silence for one.
	least = 2 * audio.FrameRate / 10
	most  = 4 * least
)

// eof ends the audio. The server compares it as text: the spaces count.
const eof = `{"eof" : 1}`

// Stream is one connection. Recognizer.Open makes it; see transcribe.Stream for
// who may call what.
type Stream struct {
	*socket.Stream
	replied chan struct{} // holds one when the reply awaited has come

	// Of the goroutine that writes.
	pending []byte
	waiting bool // for a reply

	mu     sync.Mutex // guards what follows
	sent   int64      // samples, the message under way included
	last   int64      // of them in that message
	due    bool       // the reply to it is
	ended  bool       // it was eof
	parser parser
}

var _ transcribe.Stream = (*Stream)(nil)

// Write sends the frame, with others in one message. It blocks while the reply
// to the message before is awaited and the next one is full.
func (s *Stream) Write(ctx context.Context, f audio.Frame) error {
	for _, v := range f.PCM {
		s.pending = binary.LittleEndian.AppendUint16(s.pending, uint16(v))
	}
	for len(s.pending) >= least {
		if !s.ready() && len(s.pending) < most {
			return s.Err()
		}
		if err := s.await(ctx); err != nil {
			return err
		}
		if err := s.push(ctx); err != nil {
			return err
		}
	}
	return s.Err()
}

// Finish sends what is left and waits for the last final.
func (s *Stream) Finish(ctx context.Context) error {
	for {
		if err := s.await(ctx); err != nil {
			return err
		}
		if len(s.pending) == 0 {
			break
		}
		if err := s.push(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.due, s.ended, s.last = true, true, 0
	s.mu.Unlock()
	if err := s.Text(ctx, []byte(eof)); err != nil {
		return err
	}
	return s.Wait(ctx)
}

// push sends a message of what is pending.
func (s *Stream) push(ctx context.Context) error {
	n := min(len(s.pending), most)
	s.mu.Lock()
	s.last = int64(n / 2)
	s.sent += s.last
	s.due = true
	s.mu.Unlock()
	s.waiting = true
	err := s.Binary(ctx, s.pending[:n])
	s.pending = s.pending[:copy(s.pending, s.pending[n:])]
	return err
}

// ready reports whether no reply is awaited.
func (s *Stream) ready() bool {
	select {
	case <-s.replied:
		s.waiting = false
	default:
	}
	return !s.waiting
}

// await waits for the reply that is awaited.
func (s *Stream) await(ctx context.Context) error {
	if !s.waiting {
		return s.Err()
	}
	select {
	case <-s.replied:
		s.waiting = false
		return s.Err()
	case <-s.Over():
		return s.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hear takes a reply.
func (s *Stream) hear(message []byte) (results []transcribe.Result, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := s.sent
	if !s.ended {
		// A word that begins in the newest audio may not be in a final yet.
		heard -= s.last
	}
	r, kind, err := s.parser.parse(message, heard)
	if err != nil {
		return nil, false, err
	}
	if kind == doubled {
		return nil, false, nil
	}
	// A final from before another is not the answer to the newest audio.
	if s.due && kind != outOfOrder {
		s.due = false
		if done = s.ended; !done {
			s.replied <- struct{}{}
		}
	}
	return []transcribe.Result{r}, done, nil
}
