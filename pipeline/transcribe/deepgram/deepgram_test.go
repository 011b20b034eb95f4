package deepgram

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, start, conformance.Options{Interims: true, Ordered: true})
}

const key = "the-key"

// start makes the engine, and a server that speaks Deepgram's protocol.
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
		if got := r.Header.Get("Authorization"); got != "Token "+key {
			t.Errorf("Authorization %q", got)
		}
		const query = "channels=1&encoding=linear16&endpointing=300&interim_results=true&language=en&model=nova-3&punctuate=true&sample_rate=16000"
		if r.URL.Path != "/v1/listen" || r.URL.RawQuery != query {
			t.Errorf("asked for %v", r.URL)
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		serve(t, ws, turn)
	}))
	sp, err := spec.Parse("deepgram:?language=en&endpoint=ws://deepgram.test/v1/listen")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(sp, s.Host(map[string]string{"DEEPGRAM_API_KEY": key}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serve(t *testing.T, ws *websocket.Conn, turn *conformance.Turn) {
	for {
		// It closes what says nothing for 10 s.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		kind, message, err := ws.Read(ctx)
		cancel()
		if err != nil {
			return
		}
		said, alive, last := []conformance.Said(nil), true, false
		switch {
		case kind == websocket.MessageBinary && len(message) > 0:
			said, alive = turn.Hear(conformance.PCM(message))
		case string(message) == keepAlive:
		case string(message) == finalize:
			said, alive = turn.Flush()
		case string(message) == closeStream:
			said, alive = turn.Finish()
			last = true
		default:
			t.Errorf("%v of %d bytes: %.40s", kind, len(message), message)
		}
		if !alive {
			return
		}
		for _, one := range said {
			if one.Withheld {
				continue
			}
			if ws.Write(context.Background(), websocket.MessageText, results(one)) != nil {
				return
			}
		}
		if last {
			_ = ws.Write(context.Background(), websocket.MessageText, []byte(`{"type":"Metadata","channels":1,"duration":1.5}`))
			ws.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

// results is a message as in Deepgram's documentation.
func results(s conformance.Said) []byte {
	if s.Garbage {
		return []byte("}{")
	}
	type object = map[string]any
	words := []object{}
	for _, w := range s.Words {
		words = append(words, object{
			"word": w.Text, "punctuated_word": w.Text, "confidence": 0.99,
			"start": seconds(w.Start), "end": seconds(w.End),
		})
	}
	b, _ := json.Marshal(object{
		"type": "Results", "channel_index": []int{0, 1}, "start": seconds(s.From), "duration": seconds(s.To - s.From),
		"is_final": s.Final, "speech_final": s.Final,
		"channel":  object{"alternatives": []object{{"transcript": s.Text(), "confidence": 0.99, "words": words}}},
		"metadata": object{"request_id": "1"},
	})
	return b
}

func seconds(samples int64) float64 { return float64(samples) / 16000 }
