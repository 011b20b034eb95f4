package openai

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

// What a protocol of one answer per request cannot express.
var nearest = map[conformance.Fault]conformance.Fault{
	conformance.Twice:   conformance.None, // one answer, all at once
	conformance.Swapped: conformance.None,
	conformance.Never:   conformance.Silent,
}

func TestConformance(t *testing.T) {
	conformance.Run(t, start("?timeout=30s"), conformance.Options{As: nearest})
}

// A server that knows no verbose_json.
func TestConformanceWithoutWords(t *testing.T) {
	conformance.Run(t, start("?timeout=30s&model=plain"), conformance.Options{As: nearest, NoWords: true})
}

func start(options string) func(t *testing.T, s *conformance.Script) transcribe.Engine {
	return func(t *testing.T, s *conformance.Script) transcribe.Engine {
		text, err := spec.Parse("openai+http://recognizer:8081/v1" + options)
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(text, s.Host(nil))
		if err != nil {
			t.Fatal(err)
		}
		s.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerScripted(w, r, s) }))
		t.Cleanup(e.Recognizer.(*Recognizer).client.CloseIdleConnections)
		return e
	}
}

// answerScripted is a server as the script has it.
func answerScripted(w http.ResponseWriter, r *http.Request, s *conformance.Script) {
	format := r.FormValue("response_format")
	if format == verbose && r.FormValue("model") == "plain" {
		http.Error(w, `{"error":{"message":"response_format 'verbose_json' is not compatible"}}`, http.StatusBadRequest)
		return
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	wav, _ := io.ReadAll(file)
	pcm := make([]int16, (len(wav)-44)/2)
	_, _ = binary.Decode(wav[44:], binary.LittleEndian, pcm)

	turn, ok := s.Turn()
	if !ok {
		panic(http.ErrAbortHandler) // closes the connection
	}
	if turn.Status != 0 {
		if turn.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(turn.RetryAfter.Seconds())))
		}
		http.Error(w, `{"error":{"message":"scripted"}}`, turn.Status)
		return
	}
	said, ok := conformance.Utterance(turn, pcm)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	type word struct {
		Word  string  `json:"word"`
		Start float64 `json:"start"`
		End   float64 `json:"end"`
	}
	answer := struct {
		Text  string `json:"text"`
		Words []word `json:"words,omitempty"`
	}{}
	for _, one := range said {
		if one.Garbage {
			_, _ = io.WriteString(w, "}{")
			return
		}
		answer.Text += " " + one.Text()
		for _, heard := range one.Words {
			answer.Words = append(answer.Words, word{heard.Text, float64(heard.Start) / 16000, float64(heard.End) / 16000})
		}
	}
	if format == plain {
		answer.Words = nil
	}
	_ = json.NewEncoder(w).Encode(answer)
}
