// Package vosk recognizes with a Vosk server (alphacep/vosk-server, websocket/):
// vosk+ws://HOST:PORT or vosk+wss://HOST:PORT.
//
// The protocol: a message with the configuration, then audio in binary
// messages, each of which is answered by one message of JSON, a partial or a
// final result, and at last {"eof" : 1}, which is answered by the rest.
//
//	Write → pending → one message at a time → server
//	                       ▲                    │
//	                       └── its reply ◀──────┘ → Result
//
// The next message waits for the reply to the one before. So it is known up to
// where the server has heard, a reply that never comes is noticed before the
// next final, and a slow server makes Write block. While a reply is awaited the
// next message grows, so that neither distance nor catching up needs more than
// a few messages a second.
package vosk

import (
	"context"
	"fmt"
	"strings"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
	"verbatim/pipeline/transcribe/spec"
)

// Recognizer opens streams to one server. It is safe for concurrent use.
type Recognizer struct {
	server *socket.Server
}

// New makes the engine of a spec.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	u := s.Endpoint(strings.TrimPrefix(s.Scheme, "vosk+"))
	streams := s.Int("streams", 0, 0)
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	return transcribe.Engine{
		Recognizer: &Recognizer{socket.NewServer(u.String(), h)},
		Name:       "vosk",
		Limits:     transcribe.Limits{Streams: streams},
	}, nil
}

// config is the first message.
var config = fmt.Appendf(nil, `{"config":{"sample_rate":%d,"words":true}}`, audio.FrameRate)

// Open connects and configures.
func (r *Recognizer) Open(ctx context.Context, _ transcribe.Options) (transcribe.Stream, error) {
	s := &Stream{replied: make(chan struct{}, 1)}
	var err error
	if s.Stream, err = r.server.Open(ctx, nil, "", socket.Protocol{Hear: s.hear}); err != nil {
		return nil, fmt.Errorf("vosk: %w", err)
	}
	if err := s.Text(ctx, config); err != nil {
		_ = s.Close() // it is err that tells
		return nil, fmt.Errorf("vosk: %w", err)
	}
	return s, nil
}
