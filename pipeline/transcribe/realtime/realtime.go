// Package realtime recognizes with a transcription session of OpenAI's Realtime
// API: openai-realtime:?model=gpt-live-transcribe&language=en.
//
//	Write → utterance.Splitter ─ speech ─▶ 24 kHz, base64 ─▶ append … commit
//	                  └ silence ─┐                              │ an item each
//	Result ◀──────────────── items, in order ◀── completed ◀────┘
//
// The server is told where utterances end (turn_detection is null), so that it
// is known to the sample what an item covers, though it gives no times. Silence
// is never sent. An item's text is held back until those before it have theirs;
// one that fails, or never gets it, fails the stream, and another hears it again.
//
// The goroutine that writes splits, sends and adds items, the one that hears
// gives them their texts; both deliver what is due, under socket.Stream.Deliver.
// items.mu is a leaf.
package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcribe/utterance"
)

const (
	// rate is the only one that the API takes, in Hz.
	rate = 24000
	// session is the greatest age of one.
	session = 60 * time.Minute
)

// Recognizer opens streams. It is safe for concurrent use.
type Recognizer struct {
	server  *socket.Server
	key     spec.Key
	update  []byte // the first message
	longest int64  // samples
}

// New makes the engine of a spec.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	s.Bare()
	u := s.URL("endpoint", "wss://api.openai.com/v1/realtime", "wss", "ws")
	q := u.Query()
	q.Set("intent", "transcription")
	u.RawQuery = q.Encode()
	model := s.Option("model", "gpt-live-transcribe")
	transcription := map[string]string{"model": model}
	for _, name := range []string{"language", "prompt"} {
		if value := s.Option(name, ""); value != "" {
			transcription[name] = value
		}
	}
	longest := s.Duration("longest", utterance.Longest, 5*time.Second)
	r := &Recognizer{
		server:  socket.NewServer(u.String(), h),
		key:     s.Key("OPENAI_API_KEY", h.Getenv),
		longest: int64(min(longest, utterance.MaxLongest) * audio.FrameRate / time.Second),
	}
	limits := transcribe.Limits{Streams: s.Int("streams", 0, 0), Session: session}
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	var err error
	if r.update, err = update(transcription); err != nil {
		return transcribe.Engine{}, fmt.Errorf("openai-realtime: %w", err)
	}
	r.key.Warn(h.Logger, "openai-realtime:"+model, true)
	return transcribe.Engine{Recognizer: r, Name: "openai-realtime:" + model, Limits: limits}, nil
}

// update is the message that configures a session.
func update(transcription map[string]string) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{
		"type": "session.update",
		"session": object{
			"type": "transcription",
			"audio": object{"input": object{
				"format":         object{"type": "audio/pcm", "rate": rate},
				"transcription":  transcription,
				"turn_detection": nil,
			}},
		},
	})
}

// Open connects and configures.
func (r *Recognizer) Open(ctx context.Context, o transcribe.Options) (transcribe.Stream, error) {
	key, err := r.key.Require()
	if err != nil {
		return nil, &transcribe.RetryError{After: socket.Person, Err: fmt.Errorf("openai-realtime: %w", err)}
	}
	s := &Stream{splitter: utterance.NewSplitter(o.Spoken, r.longest), slots: make(chan struct{}, inHand)}
	s.late = time.AfterFunc(time.Hour, func() { s.Fail(errNeverCame) })
	s.late.Stop()
	if s.up, err = codec.NewResampler(audio.FrameRate, rate); err != nil {
		return nil, err
	}
	s.Stream, err = r.server.Open(ctx, http.Header{"Authorization": {"Bearer " + key}}, key, socket.Protocol{Hear: s.hear})
	if err != nil {
		return nil, fmt.Errorf("openai-realtime: %w", err)
	}
	if err := s.Text(ctx, r.update); err != nil {
		_ = s.Close() // it is err that tells
		return nil, fmt.Errorf("openai-realtime: %w", err)
	}
	return s, nil
}
