// Package deepgram recognizes with Deepgram's live streaming API:
// deepgram:?model=nova-3&language=en.
//
//	Write ──▶ binary messages of PCM ──▶ server
//	Result ◀── order ◀── Results, final and interim
//
// Finals tile the audio: each begins where the one before it ended. So they are
// put in order, doubles are dropped, and one that never comes is noticed: then
// the stream fails, and another hears that stretch again.
package deepgram

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
	"verbatim/pipeline/transcribe/spec"
)

const (
	// A project that pays as it goes may have 150 streams (API rate limits); the
	// rest is for whatever else it does.
	streams = 100
	// speed is how fast a backlog may be sent: Deepgram asks for no more.
	speed = 1.25
	// keepAfter is below the 10 s after which an idle connection is closed
	// (NET-0001); they recommend 3 to 5 s.
	keepAfter = 4 * time.Second
)

// The messages of a client. KeepAlive counts only as text.
const (
	keepAlive   = `{"type":"KeepAlive"}`
	finalize    = `{"type":"Finalize"}`
	closeStream = `{"type":"CloseStream"}`
)

// Recognizer opens streams. It is safe for concurrent use.
type Recognizer struct {
	server *socket.Server
	key    spec.Key
}

// New makes the engine of a spec.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	s.Bare()
	u := s.URL("endpoint", "wss://api.deepgram.com/v1/listen", "wss", "ws")
	q := u.Query()
	q.Set("encoding", "linear16")
	q.Set("sample_rate", strconv.Itoa(audio.FrameRate))
	q.Set("channels", "1")
	q.Set("interim_results", "true")
	model := s.Option("model", "nova-3")
	q.Set("model", model)
	q.Set("punctuate", strconv.FormatBool(s.Bool("punctuate", true)))
	q.Set("endpointing", strconv.Itoa(s.Int("endpointing", 300, 10)))
	optional(q, "language", s.Option("language", ""))
	optional(q, "keyterm", s.Option("keyterm", ""))
	u.RawQuery = q.Encode()
	r := &Recognizer{server: socket.NewServer(u.String(), h), key: s.Key("DEEPGRAM_API_KEY", h.Getenv)}
	limits := transcribe.Limits{Streams: s.Int("streams", streams, 0), Speed: speed}
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	r.key.Warn(h.Logger, "deepgram:"+model, true)
	return transcribe.Engine{Recognizer: r, Name: "deepgram:" + model, Limits: limits}, nil
}

func optional(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Open connects.
func (r *Recognizer) Open(ctx context.Context, _ transcribe.Options) (transcribe.Stream, error) {
	key, err := r.key.Require()
	if err != nil {
		return nil, &transcribe.RetryError{After: socket.Person, Err: fmt.Errorf("deepgram: %w", err)}
	}
	s := &Stream{}
	s.order.late = time.AfterFunc(time.Hour, s.neverCame)
	s.order.late.Stop()
	s.Stream, err = r.server.Open(ctx, http.Header{"Authorization": {"Token " + key}}, key,
		socket.Protocol{Hear: s.hear, KeepAlive: keepAlive, KeepAfter: keepAfter})
	if err != nil {
		return nil, fmt.Errorf("deepgram: %w", err)
	}
	return s, nil
}

// Stream is one connection. Recognizer.Open makes it; see transcribe.Stream for
// who may call what.
type Stream struct {
	*socket.Stream
	order   order // of the goroutine that hears
	buf     []byte
	written atomic.Int64 // samples
	closing atomic.Bool  // CloseStream is sent
}

var (
	_ transcribe.Stream  = (*Stream)(nil)
	_ transcribe.Flusher = (*Stream)(nil)
)

// Write sends a frame. An empty one would end the stream: it is left out.
func (s *Stream) Write(ctx context.Context, f audio.Frame) error {
	if len(f.PCM) == 0 {
		return s.Err()
	}
	s.buf = s.buf[:0]
	for _, v := range f.PCM {
		s.buf = binary.LittleEndian.AppendUint16(s.buf, uint16(v))
	}
	s.written.Add(int64(len(f.PCM)))
	return s.Binary(ctx, s.buf)
}

// Flush asks for the final of what was written.
func (s *Stream) Flush(ctx context.Context) error { return s.Text(ctx, []byte(finalize)) }

// Finish says that no audio follows and waits for the rest of the finals.
func (s *Stream) Finish(ctx context.Context) error {
	s.closing.Store(true)
	if err := s.Text(ctx, []byte(closeStream)); err != nil {
		return err
	}
	return s.Wait(ctx)
}

// Close ends the connection.
func (s *Stream) Close() error {
	s.order.late.Stop()
	return s.Stream.Close()
}

// hear takes a message of the server.
func (s *Stream) hear(message []byte) (results []transcribe.Result, done bool, err error) {
	m, err := parse(message)
	if err != nil {
		return nil, false, err
	}
	switch m.Type {
	case "Results":
		return s.order.take(m), false, s.order.err
	case "Metadata":
		if s.closing.Load() { // it is the last message, and the answer to that
			return nil, true, s.order.covers(s.written.Load())
		}
	}
	return nil, false, nil // SpeechStarted, UtteranceEnd, and whatever is to come
}

func (s *Stream) neverCame() { s.Fail(errNeverCame) }
