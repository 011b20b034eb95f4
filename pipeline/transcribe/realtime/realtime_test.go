package realtime

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, start, conformance.Options{Interims: true, Ordered: true, NoWords: true})
}

const key = "the-key"

// start makes the engine, and a server that speaks the protocol of OpenAI's
// transcription sessions.
func start(t *testing.T, s *conformance.Script) transcribe.Engine {
	s.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		turn, ok := s.Turn()
		switch {
		case !ok:
			panic(http.ErrAbortHandler)
		case turn.Status != 0:
			turn.Refuse(w)
			return
		}
		if got := r.Header.Get("Authorization"); got != "Bearer "+key {
			t.Errorf("Authorization %q", got)
		}
		if r.URL.Path != "/v1/realtime" || r.URL.RawQuery != "intent=transcription" {
			t.Errorf("asked for %v", r.URL)
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(1 << 20)
		turn.Ear.Whole = true
		newServer(t, ws, turn).serve()
	}))
	sp, err := spec.Parse("openai-realtime:?language=en&endpoint=ws://openai.test/v1/realtime")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(sp, s.Host(map[string]string{"OPENAI_API_KEY": key}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

type object = map[string]any

// server is one session.
type server struct {
	t        *testing.T
	ws       *websocket.Conn
	turn     *conformance.Turn
	down     *codec.Resampler
	buffered int              // samples (24 kHz) since the last commit
	items    map[int64]string // ids by the From of their final
	from     int64            // what was committed, in samples (16 kHz)
	heard    int64
	last     any // id, nil before there is one
}

func newServer(t *testing.T, ws *websocket.Conn, turn *conformance.Turn) *server {
	down, err := codec.NewResampler(rate, audio.FrameRate)
	if err != nil {
		t.Fatal(err)
	}
	return &server{t: t, ws: ws, turn: turn, down: down, items: map[int64]string{}}
}

func (s *server) serve() {
	messages := make(chan []byte)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		defer close(messages)
		for {
			_, message, err := s.ws.Read(context.Background())
			if err != nil {
				return
			}
			select {
			case messages <- message:
			case <-ended:
				return
			}
		}
	}()
	defer s.ws.CloseNow()
	s.write(object{"type": "session.created"})
	for {
		select {
		case message, ok := <-messages:
			if !ok || !s.hear(message) {
				return
			}
		case <-time.After(100 * time.Millisecond):
			s.say(s.turn.Idle())
		}
	}
}

// hear takes an event of the client; false ends the session.
func (s *server) hear(message []byte) bool {
	var e struct {
		Type    string `json:"type"`
		Audio   string `json:"audio"`
		Session any    `json:"session"`
	}
	if err := json.Unmarshal(message, &e); err != nil {
		s.t.Errorf("%.60s: %v", message, err)
		return false
	}
	switch e.Type {
	case "session.update":
		const want = `{"audio":{"input":{"format":{"rate":24000,"type":"audio/pcm"},"transcription":{"language":"en","model":"gpt-live-transcribe"},"turn_detection":null}},"type":"transcription"}`
		if got, _ := json.Marshal(e.Session); string(got) != want {
			s.t.Errorf("session %s", got)
		}
		s.write(object{"type": "session.updated"})
	case "input_audio_buffer.append":
		raw, err := base64.StdEncoding.DecodeString(e.Audio)
		if err != nil || len(raw) == 0 || len(raw)%2 != 0 {
			s.t.Errorf("audio of %d bytes: %v", len(raw), err)
		}
		s.buffered += len(raw) / 2
		pcm := s.down.Resample(nil, conformance.PCM(raw))
		s.heard += int64(len(pcm))
		said, alive := s.turn.Hear(pcm)
		if !alive {
			return false
		}
		s.say(said)
	case "input_audio_buffer.commit":
		if s.buffered < rate/10 {
			s.t.Errorf("a commit of %d samples", s.buffered)
		}
		s.buffered = 0
		id := fmt.Sprintf("item_%d", len(s.items))
		s.items[s.from] = id
		s.from = s.heard
		s.write(object{"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": s.last})
		s.write(object{"type": "conversation.item.added", "previous_item_id": s.last, "item": object{"id": id}})
		s.last = id
		said, alive := s.turn.Flush()
		if !alive {
			return false
		}
		s.say(said)
	default:
		s.t.Errorf("%s", message)
	}
	return true
}

func (s *server) say(said []conformance.Said) {
	for _, one := range said {
		switch id, known := s.items[one.From]; {
		case one.Withheld:
		case one.Garbage:
			_ = s.ws.Write(context.Background(), websocket.MessageText, []byte("}{"))
		case !one.Final:
			if !known {
				id = fmt.Sprintf("item_%d", len(s.items))
			}
			s.write(object{"type": transcriptionPrefix + "delta", "item_id": id, "delta": one.Words[len(one.Words)-1].Text + " "})
		default:
			s.write(object{"type": transcriptionPrefix + "completed", "item_id": id, "content_index": 0, "transcript": one.Text()})
		}
	}
}

func (s *server) write(o object) {
	b, _ := json.Marshal(o)
	_ = s.ws.Write(context.Background(), websocket.MessageText, b)
}
