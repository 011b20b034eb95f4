// Package openai recognizes speech by the transcription request of OpenAI's
// API, which many servers speak: whisper.cpp, speaches, LocalAI, vLLM, Groq.
//
//	utterance → WAV in a multipart form → POST {base}/audio/transcriptions → text
//
// Streams and their goroutines are those of package utterance. A Recognizer
// has none of its own; at most so many requests are under way at once over all
// streams, the others wait in the order in which they came.
package openai

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcribe/utterance"
)

// The response formats.
const (
	verbose = "verbose_json" // with segments and words
	plain   = "json"         // the text alone
)

// Recognizer asks one server.
type Recognizer struct {
	*utterance.Recognizer
	log      *slog.Logger
	name     string
	client   *http.Client
	url      string
	key      spec.Key
	model    string
	language string
	prompt   string // stands before what was said
	context  int    // how many bytes of what was said are sent
	timeout  time.Duration
	requests *semaphore.Weighted
	plain    atomic.Bool // the server knows no verbose_json, or was not to be asked
}

// New makes the engine of a URL such as openai+http://127.0.0.1:8081/v1?model=….
// It starts nothing and asks nothing.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	base := s.Endpoint(strings.TrimPrefix(s.Scheme, "openai+"))
	r := &Recognizer{
		log:      h.Logger,
		url:      base.JoinPath("audio", "transcriptions").String(),
		key:      s.Key("OPENAI_API_KEY", h.Getenv),
		model:    s.Option("model", "whisper-1"),
		language: s.Option("language", ""),
		prompt:   s.Option("prompt", ""),
		context:  s.Int("context", 200, 0),
		timeout:  s.Duration("timeout", time.Minute, time.Second),
	}
	requests := s.Int("requests", 4, 1)
	streams := s.Int("streams", 0, 0)
	longest := s.Duration("longest", utterance.Longest, time.Second)
	format := s.Option("response_format", verbose)
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	switch {
	case format != verbose && format != plain:
		return transcribe.Engine{}, errors.New("openai: option response_format is " + verbose + " or " + plain + ", not " + format)
	case longest > utterance.MaxLongest:
		return transcribe.Engine{}, errors.New("openai: option longest is at most " + utterance.MaxLongest.String())
	}
	r.name = "openai:" + r.model
	r.key.Warn(h.Logger, r.name, false)
	r.plain.Store(format == plain)
	r.requests = semaphore.NewWeighted(int64(requests))
	r.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return h.Dial(ctx, network, addr)
			},
			TLSHandshakeTimeout:   10 * time.Second,
			MaxIdleConnsPerHost:   requests,
			MaxConnsPerHost:       requests,
			IdleConnTimeout:       time.Minute,
			DisableCompression:    true, // an answer is small, and its size is bounded
			ExpectContinueTimeout: time.Second,
		},
		// A key is not to follow wherever a server says, nor would the audio.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r.Recognizer = utterance.New(r.recognize, longest)
	return transcribe.Engine{
		Recognizer: r,
		Name:       r.name,
		Limits:     transcribe.Limits{Streams: streams, Answer: r.timeout},
	}, nil
}
