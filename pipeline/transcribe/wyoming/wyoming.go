// Package wyoming recognizes speech by the Wyoming protocol, in which Home
// Assistant's recognizers speak (wyoming-faster-whisper and others).
//
//	utterance → transcribe, audio-start, audio-chunk…, audio-stop → transcript
//
// Every utterance has a connection of its own, as in Home Assistant. Streams and
// their goroutines are those of package utterance; a Recognizer has none.
package wyoming

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"golang.org/x/sync/semaphore"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcribe/utterance"
)

const (
	defaultPort = "10300"
	chunk       = audio.FrameRate / 4 // samples of an audio-chunk
	maxEvents   = 1000                // before the transcript
)

// Recognizer asks one server.
type Recognizer struct {
	*utterance.Recognizer
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	addr     string
	model    string
	language string
	timeout  time.Duration
	requests *semaphore.Weighted
}

// New makes the engine of a URL such as wyoming+tcp://127.0.0.1:10300?language=en.
// It starts nothing and asks nothing.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	u := s.Endpoint("tcp")
	r := &Recognizer{
		dial:     h.Dial,
		addr:     address(u),
		model:    s.Option("model", ""),
		language: s.Option("language", ""),
		timeout:  s.Duration("timeout", time.Minute, time.Second),
		requests: semaphore.NewWeighted(int64(s.Int("requests", 2, 1))),
	}
	streams := s.Int("streams", 0, 0)
	longest := s.Duration("longest", utterance.Longest, time.Second)
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	switch {
	case u.Path != "" && u.Path != "/":
		return transcribe.Engine{}, fmt.Errorf("wyoming: there is no use for %s behind the port", u.Path)
	case longest > utterance.MaxLongest:
		return transcribe.Engine{}, errors.New("wyoming: option longest is at most " + utterance.MaxLongest.String())
	}
	r.Recognizer = utterance.New(r.recognize, longest)
	name := "wyoming"
	if r.model != "" {
		name += ":" + r.model
	}
	return transcribe.Engine{Recognizer: r, Name: name, Limits: transcribe.Limits{Streams: streams, Answer: r.timeout}}, nil
}

func address(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), defaultPort)
	}
	return u.Host
}

// recognize is an utterance.Func.
func (r *Recognizer) recognize(ctx context.Context, u utterance.Utterance, _ string) (res transcribe.Result, err error) {
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return res, err
	}
	defer r.requests.Release(1)
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("there was no transcript within %v (option timeout)", r.timeout))
	defer cancel()
	conn, err := r.dial(ctx, "tcp", r.addr)
	if err != nil {
		return res, timely(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // fails only when closed
	// A server that has an error to tell may do so, and close, before it has read
	// everything. What comes of sending shows in what it answers.
	sent := make(chan struct{})
	go func() { defer close(sent); _ = r.send(conn, u.PCM) }()
	res.Text, err = transcript(bufio.NewReader(conn))
	_ = conn.SetWriteDeadline(time.Unix(1, 0)) // nothing more is of use
	<-sent
	var refused *utterance.RefusedError
	switch {
	case err == nil, errors.As(err, &refused):
		return res, err
	case errors.Is(err, io.EOF):
		err = errors.New("it closes the connection before the transcript")
	}
	return res, fmt.Errorf("the recognizer at %s: %w", r.addr, timely(ctx, err))
}

// timely is err, or that time ran out, which a connection says differently.
func timely(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// audioFormat is the data of events about audio.
type audioFormat struct {
	Rate     int `json:"rate"`
	Width    int `json:"width"` // bytes
	Channels int `json:"channels"`
}

// send sends an utterance.
func (r *Recognizer) send(conn io.Writer, pcm []int16) error {
	w := bufio.NewWriterSize(conn, 16<<10)
	format := audioFormat{audio.FrameRate, 2, 1}
	request := struct {
		Name     string `json:"name,omitempty"`
		Language string `json:"language,omitempty"`
	}{r.model, r.language}
	write(w, "transcribe", request, nil)
	write(w, "audio-start", format, nil)
	payload := make([]byte, 0, 2*chunk)
	for len(pcm) > 0 {
		n := min(chunk, len(pcm))
		payload = payload[:0]
		for _, v := range pcm[:n] {
			payload = binary.LittleEndian.AppendUint16(payload, uint16(v))
		}
		write(w, "audio-chunk", format, payload)
		pcm = pcm[n:]
	}
	write(w, "audio-stop", struct{}{}, nil)
	return w.Flush()
}

// write writes an event; w keeps its first error.
func write(w *bufio.Writer, kind string, data any, payload []byte) {
	line, err := json.Marshal(struct {
		Type    string `json:"type"`
		Data    any    `json:"data"`
		Payload int    `json:"payload_length,omitempty"`
	}{kind, data, len(payload)})
	if err != nil {
		panic(err) // of plain structs
	}
	w.Write(line)
	w.WriteByte('\n')
	w.Write(payload)
}

// transcript reads events up to the transcript.
func transcript(r *bufio.Reader) (string, error) {
	for range maxEvents {
		e, err := readEvent(r)
		if err != nil {
			return "", err
		}
		switch e.kind {
		case "transcript":
			if e.data.Text == nil {
				return "", errors.New("it sends a transcript without text")
			}
			return *e.data.Text, nil
		case "error":
			return "", &utterance.RefusedError{Reason: "the server says: " + e.data.message()}
		}
	}
	return "", fmt.Errorf("it sends %d events and no transcript", maxEvents)
}
