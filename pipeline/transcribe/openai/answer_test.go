package openai

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// show writes a result as text, with times in milliseconds.
func show(r transcribe.Result) string {
	out := strings.Join(strings.Fields(r.Text), " ")
	for _, w := range r.Words {
		out += fmt.Sprintf(" | %s %d-%d", strings.TrimSpace(w.Text), w.Start/16, w.End/16)
		if w.Confidence != nil {
			out += fmt.Sprintf(" %.2g", *w.Confidence)
		}
	}
	return out
}

// Answers as servers give them.
func TestParse(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"json", `{"text":"Hello there."}`, "Hello there."},
		{"json with usage", `{"text":"Hello.","usage":{"type":"tokens","total_tokens":1}}`, "Hello."},
		{"silence", `{"text":""}`, ""},
		{"whisper.cpp's silence", `{"text":" [BLANK_AUDIO]\n","segments":[{"text":" [BLANK_AUDIO]","start":0,"end":1,"words":[` +
			`{"word":" [","start":0,"end":0.1},{"word":"BLANK","start":0,"end":0.1},{"word":"_AUDIO]","start":0,"end":0.1}]}]}`, ""},
		{
			"OpenAI: words beside the segments, without spaces",
			`{"task":"transcribe","language":"english","duration":1.5,"text":"Hello there.","words":[{"word":"Hello","start":0.1,"end":0.5},` +
				`{"word":"there","start":0.5,"end":1}],"segments":[{"id":0,"start":0,"end":1.5,"text":" Hello there.","no_speech_prob":0.01,"avg_logprob":-0.2}]}`,
			"Hello there. | Hello 100-500 | there 500-1000",
		},
		{
			"speaches: words with spaces and probability",
			`{"text":"Hello there.","words":[{"word":" Hello","start":0.1,"end":0.5,"probability":0.9},{"word":" there.","start":0.5,"end":1,"probability":1.2}]}`,
			"Hello there. | Hello 100-500 0.9 | there. 500-1000 1",
		},
		{
			"whisper.cpp: parts of words in segments",
			`{"text":" Disposed, I\n said.\n","segments":[{"text":" Disposed, I","start":0,"end":1,"avg_logprob":null,"no_speech_prob":0.0,"words":[` +
				`{"word":" Disp","start":0.1,"end":0.3,"t_dtw":-1,"probability":0.9},{"word":"osed","start":0.3,"end":0.6,"probability":0.5},` +
				`{"word":",","start":0.6,"end":0.6,"probability":0.7},{"word":" I","start":0.6,"end":0.8,"probability":0.8}]},` +
				`{"text":" said.","start":1,"end":1.5,"words":[{"word":" said","start":1,"end":1.4},{"word":".","start":1.4,"end":1.5}]}]}`,
			"Disposed, I said. | Disposed, 100-600 0.5 | I 600-800 0.8 | said. 1000-1500",
		},
		{
			"vLLM: numbers as strings",
			`{"duration":"1.5","text":"Hello","segments":[{"id":1,"start":"0.0","end":"1.5","avg_logprob":-1.0,"no_speech_prob":null,"text":"Hello"}],` +
				`"words":[{"text":"Hello","start":"0.25","end":"1.0"}]}`,
			"Hello | Hello 250-1000",
		},
		{
			"LocalAI: nanoseconds, and no text beside the segments",
			`{"segments":[{"start":0,"end":1000000000,"text":"Hello","words":[{"text":"Hello","start":500000000,"end":1000000000}]},{"start":1000000000,"end":1500000000,"text":"there"}]}`,
			"Hello there | Hello 500-1000",
		},
		{"words without times", `{"text":"Hello","words":[{"word":"Hello"}]}`, "Hello"},
		{"times beyond the utterance", `{"text":"a b","words":[{"word":"a","start":-1,"end":0.5},{"word":"b","start":1,"end":30}]}`, "a b | a 0-500 | b 1000-2000"},
		{
			"silence that became words",
			`{"text":" Hello. Thanks for watching!","words":[{"word":"Hello","start":0,"end":0.5},{"word":"Thanks","start":1,"end":1.5}],"segments":[` +
				`{"start":0,"end":0.8,"text":" Hello.","no_speech_prob":0.7,"avg_logprob":-0.3},{"start":0.8,"end":2,"text":" Thanks for watching!","no_speech_prob":0.61,"avg_logprob":-1.1}]}`,
			"Hello. | Hello 0-500",
		},
		{"silence alone that became words", `{"text":"You","segments":[{"text":"You","start":0,"end":1,"no_speech_prob":0.9,"avg_logprob":-2,"words":[{"word":"You","start":0,"end":1}]}]}`, ""},
		{"no error", `{"text":"a","error":null}`, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := parse([]byte(c.body), 2*audio.FrameRate)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"nothing", ``, "not as expected"},
		{"a page", `<html>Bad gateway</html>`, "not as expected"},
		{"cut off", `{"text":"Hel`, "not as expected"},
		{"another type", `{"text":["a"]}`, "not as expected"},
		{"an error", `{"error":"failed to process audio"}`, "is an error"},
		{"an error beside text", `{"error":{"message":"out of memory"},"text":""}`, "is an error"},
		{"no text", `{"status":"ok"}`, "no text"},
		{"null", `null`, "no text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := parse([]byte(c.body), 1000); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, error %v, want %s", r, err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"text":"a b","words":[{"word":" a","start":"1","end":1e300},{"text":"b","start":-1,"end":null}]}`))
	f.Add([]byte(`{"segments":[{"text":"a","start":5e9,"end":6e9,"no_speech_prob":0.9,"avg_logprob":-2,"words":[{}]}],"error":{"message":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		const samples = 16000
		r, err := parse(body, samples)
		message(body)
		if err != nil {
			return
		}
		for _, w := range r.Words {
			if w.Start < 0 || w.Start > samples || w.End < 0 || w.End > samples || strings.TrimSpace(w.Text) == "" {
				t.Errorf("word %+v", w)
			}
			if c := w.Confidence; c != nil && (*c < 0 || *c > 1) {
				t.Errorf("confidence %v", *c)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}
