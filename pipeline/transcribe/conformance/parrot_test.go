package conformance

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// The parrot is the least engine that passes: lengths and PCM there, a line of
// JSON per Said back. Its server greets with a status.
func TestParrot(t *testing.T) {
	t.Parallel()
	Run(t, startParrot, Options{Interims: true, Ordered: true})
}

func TestParrotInRealTime(t *testing.T) {
	t.Parallel()
	Run(t, startParrot, Options{RealTime: true})
}

func startParrot(t *testing.T, s *Script) transcribe.Engine {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := s.Listener().Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serveParrot(c, s)
			}()
		}
	}()
	t.Cleanup(func() { s.Listener().Close(); <-ended })
	return transcribe.Engine{Recognizer: &parrot{s.Host(nil)}, Name: "parrot"}
}

type greeting struct {
	Status int
	Wait   time.Duration
}

func serveParrot(c net.Conn, s *Script) {
	turn, ok := s.Turn()
	if !ok {
		return
	}
	_ = json.NewEncoder(c).Encode(greeting{turn.Status, turn.RetryAfter})
	if turn.Status != 0 {
		return
	}
	var n uint32
	for binary.Read(c, binary.LittleEndian, &n) == nil {
		pcm := make([]int16, n)
		if binary.Read(c, binary.LittleEndian, pcm) != nil {
			return
		}
		hear := turn.Finish
		if n > 0 {
			hear = func() ([]Said, bool) { return turn.Hear(pcm) }
		}
		said, alive := hear()
		if !alive {
			return
		}
		for _, one := range said {
			switch {
			case one.Garbage:
				fmt.Fprintln(c, "}{")
			case !one.Withheld:
				_ = json.NewEncoder(c).Encode(one)
			}
		}
		if n == 0 {
			fmt.Fprintln(c, "null")
			return
		}
	}
}

type parrot struct{ host transcribe.Host }

func (p *parrot) Open(ctx context.Context, _ transcribe.Options) (transcribe.Stream, error) {
	c, err := p.host.Dial(ctx, "tcp", "parrot:1")
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	lines := bufio.NewReader(c)
	line, err := lines.ReadBytes('\n')
	var g greeting
	if err == nil {
		err = json.Unmarshal(line, &g)
	}
	if err == nil && g.Status != 0 {
		err = &transcribe.RetryError{After: g.Wait, Err: errors.New(http.StatusText(g.Status))}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	s := &parrotStream{c: c, results: make(chan transcribe.Result), over: make(chan struct{})}
	go s.read(lines)
	return s, nil
}

type parrotStream struct {
	c       net.Conn
	results chan transcribe.Result
	over    chan struct{} // read has ended
	done    bool          // everything was said
	err     error
}

func (s *parrotStream) read(lines *bufio.Reader) {
	defer close(s.over)
	defer close(s.results)
	var at int64
	early := map[int64]Said{}
	for {
		line, err := lines.ReadBytes('\n')
		var said *Said
		if err == nil {
			err = json.Unmarshal(line, &said)
		}
		switch {
		case err != nil:
			s.err = err
			s.c.Close()
			return
		case said == nil:
			s.done = len(early) == 0
			return
		case !said.Final:
			s.results <- result(*said)
		case said.From >= at:
			early[said.From] = *said
		}
		for f, ok := early[at]; ok; f, ok = early[at] {
			s.results <- result(f)
			delete(early, at)
			at = f.To
		}
		if len(early) > 1 {
			s.err = errors.New("a final never came")
			s.c.Close()
			return
		}
	}
}

func result(s Said) transcribe.Result {
	r := transcribe.Result{Final: s.Final, Start: s.From, End: s.To, Text: s.Text()}
	for k, w := range s.Words {
		if k == 0 {
			r.Start = w.Start
		}
		r.Words = append(r.Words, transcribe.Word{Text: w.Text, Start: w.Start, End: w.End})
	}
	return r
}

func (s *parrotStream) send(ctx context.Context, pcm []int16) error {
	defer context.AfterFunc(ctx, func() { s.c.Close() })()
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(pcm)))
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	_, err := s.c.Write(b)
	return err
}

func (s *parrotStream) Write(ctx context.Context, f audio.Frame) error { return s.send(ctx, f.PCM) }

func (s *parrotStream) Results() <-chan transcribe.Result { return s.results }

func (s *parrotStream) Finish(ctx context.Context) error {
	if err := s.send(ctx, nil); err != nil {
		return err
	}
	select {
	case <-s.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !s.done {
		return errors.Join(io.ErrUnexpectedEOF, s.err)
	}
	return nil
}

func (s *parrotStream) Close() error {
	s.c.Close()
	go func() {
		for range s.results {
		}
	}()
	<-s.over
	if s.done {
		return nil
	}
	return s.err
}
