package vosk

import (
	"reflect"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
)

// told is a word of a result without its confidence, in ms.
type told struct {
	text       string
	start, end int64
}

func words(r transcribe.Result) (all []told) {
	for _, w := range r.Words {
		all = append(all, told{w.Text, w.Start / 16, w.End / 16})
	}
	return all
}

func TestReplies(t *testing.T) {
	const sec = 16000
	for _, c := range []struct {
		name    string
		replies []string // each to one more second of audio
		want    transcribe.Result
		words   []told
		kind    kind
		err     string
	}{
		{name: "a partial", replies: []string{`{"partial" : "one zero"}`}, want: transcribe.Result{End: sec, Text: "one zero"}},
		{name: "an empty partial", replies: []string{`{"partial" : ""}`}, want: transcribe.Result{End: sec}},
		{
			name:    "a final",
			replies: []string{`{"result":[{"conf":1.000001,"end":0.51,"start":0.12,"word":"one"}],"text":"one"}`},
			want:    transcribe.Result{Final: true, Start: 1920, End: sec, Text: "one"}, words: []told{{"one", 120, 510}},
		},
		{
			name:    "one that is cut in the middle of speech ends with its word",
			replies: []string{`{"result":[{"conf":1,"end":0.9,"start":0.12,"word":"one"}],"text":"one"}`},
			want:    transcribe.Result{Final: true, Start: 1920, End: 14400, Text: "one"}, words: []told{{"one", 120, 900}},
		},
		{
			name:    "a word behind what was heard",
			replies: []string{`{"result":[{"end":1.2,"start":0.12,"word":"one"}],"text":"one"}`},
			want:    transcribe.Result{Final: true, Start: 1920, End: 19200, Text: "one"}, words: []told{{"one", 120, 1200}},
		},
		{name: "silence", replies: []string{`{"text":""}`, `{"text":""}`}, want: transcribe.Result{Final: true, Start: sec, End: 2 * sec}},
		{name: "text only", replies: []string{`{"text":"one"}`, `{"partial":""}`, `{"text":" one "}`}, want: transcribe.Result{Final: true, Start: sec, End: 3 * sec, Text: "one"}},
		{name: "text only, twice", replies: []string{`{"text":"one"}`, `{"text":"one"}`}, want: transcribe.Result{Final: true, Start: sec, Text: "one"}, kind: doubled},
		{
			name: "alternatives", replies: []string{`{"alternatives":[{"confidence":201.1,"result":[{"end":0.5,"start":0.1,"word":"one"}],"text":" one"},{"text":"won"}]}`},
			want: transcribe.Result{Final: true, Start: 1600, End: sec, Text: "one"}, words: []told{{"one", 100, 500}},
		},
		{
			name: "out of order", kind: outOfOrder,
			replies: []string{
				`{"result":[{"end":0.9,"start":0.8,"word":"two"}],"text":"two"}`,
				`{"result":[{"end":0.5,"start":0.1,"word":"one"}],"text":"one"}`,
			},
			want: transcribe.Result{Final: true, Start: 1600, End: 8000, Text: "one"}, words: []told{{"one", 100, 500}},
		},
		{name: "garbage", replies: []string{`}{`}, err: "cannot be read"},
		{name: "an array", replies: []string{`[]`}, err: "cannot be read"},
		{name: "an error", replies: []string{`{"error":"no model"}`}, err: "no model"},
		{name: "impossible times", replies: []string{`{"text":"a","result":[{"start":3,"end":1}]}`}, err: "from 3 to 1 s"},
		{name: "times without end", replies: []string{`{"text":"a","result":[{"start":3,"end":1e300}]}`}, err: "1e+300"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p parser
			var got transcribe.Result
			var k kind
			var err error
			for i, reply := range c.replies {
				got, k, err = p.parse([]byte(reply), int64(i+1)*sec)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || k != c.kind || !reflect.DeepEqual(words(got), c.words) {
				t.Fatalf("%v, %v, %v", words(got), k, err)
			}
			for _, w := range got.Words {
				if w.Confidence != nil && *w.Confidence > 1 {
					t.Errorf("confidence %v", *w.Confidence)
				}
			}
			if got.Words = nil; c.kind != doubled && !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{`{"partial":"a"}`, `{"text":""}`, `{"result":[{"conf":1,"end":0.5,"start":0.1,"word":"a"}],"text":"a"}`, `{"alternatives":[{"text":"a"}]}`, `{"error":{}}`, `[`} {
		f.Add([]byte(s), []byte(s), int64(16000))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, heard int64) {
		heard = max(0, heard%(1<<40))
		var p parser
		var end int64
		for _, message := range [][]byte{a, b} {
			r, k, err := p.parse(message, heard)
			if err != nil || k != inOrder {
				continue
			}
			if r.End < end || r.Start < 0 || r.Final && r.End < r.Start && len(r.Words) == 0 {
				t.Fatalf("%+v after %d", r, end)
			}
			if r.Final {
				end = r.End
			}
		}
	})
}
