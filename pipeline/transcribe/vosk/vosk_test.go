package vosk

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, start, conformance.Options{Interims: true})
}

// start makes the engine, and a server that speaks the protocol of
// alphacep/vosk-server.
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
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		turn.Replies = true
		serve(context.Background(), t, ws, turn)
	}))
	sp, err := spec.Parse("vosk+ws://vosk.test:2700")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(sp, s.Host(nil))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serve(ctx context.Context, t *testing.T, ws *websocket.Conn, turn *conformance.Turn) {
	kind, message, err := ws.Read(ctx)
	if err != nil {
		return
	}
	if kind != websocket.MessageText || string(message) != `{"config":{"sample_rate":16000,"words":true}}` {
		t.Errorf("first %v %s", kind, message)
	}
	for {
		kind, message, err := ws.Read(ctx)
		if err != nil {
			return
		}
		end := kind == websocket.MessageText && string(message) == eof
		if kind == websocket.MessageText && !end || kind == websocket.MessageBinary && (len(message) == 0 || len(message)%2 != 0) {
			t.Errorf("%v of %d bytes: %.40s", kind, len(message), message)
		}
		hear := turn.Finish
		if !end {
			hear = func() ([]conformance.Said, bool) { return turn.Hear(conformance.PCM(message)) }
		}
		said, alive := hear()
		if !alive {
			return
		}
		for _, reply := range replies(said, end) {
			if ws.Write(ctx, websocket.MessageText, reply) != nil {
				return
			}
		}
		if end {
			ws.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

// replies are what is said to one message: one reply, if nothing is wrong.
func replies(said []conformance.Said, end bool) (all [][]byte) {
	partial := conformance.Said{}
	for _, s := range said {
		switch {
		case s.Withheld:
			return nil
		case s.Garbage:
			return [][]byte{[]byte("}{")}
		case s.Final:
			all = append(all, final(s))
		default:
			partial = s
		}
	}
	if len(all) == 0 && end {
		all = append(all, final(conformance.Said{}))
	}
	if len(all) == 0 {
		b, _ := json.Marshal(map[string]string{"partial": partial.Text()})
		all = append(all, b)
	}
	return all
}

func final(s conformance.Said) []byte {
	type word struct {
		Conf  float64 `json:"conf"`
		End   float64 `json:"end"`
		Start float64 `json:"start"`
		Word  string  `json:"word"`
	}
	m := struct {
		Result []word `json:"result,omitempty"`
		Text   string `json:"text"`
	}{Text: s.Text()}
	for _, w := range s.Words {
		m.Result = append(m.Result, word{1, float64(w.End) / 16000, float64(w.Start) / 16000, w.Text})
	}
	b, _ := json.Marshal(m)
	return b
}
