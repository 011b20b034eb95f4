package deepgram

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline/transcribe"
)

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// tenths is a message about so many tenths of a second.
func tenths(from, to int, final bool, text string) string {
	words := ""
	if text != "" {
		words = fmt.Sprintf(`{"word":%q,"start":%v,"end":%v,"confidence":1}`, text, float64(from)/10, float64(from+1)/10)
	}
	return fmt.Sprintf(`{"type":"Results","channel_index":[0,1],"start":%v,"duration":%v,"is_final":%v,"channel":{"alternatives":[{"transcript":%q,"words":[%s]}]}}`,
		float64(from)/10, float64(to-from)/10, final, text, words)
}

func TestFinalsAreOrdered(t *testing.T) {
	const f = true
	for _, c := range []struct {
		name     string
		messages []string
		want     string // texts in order; an interim in brackets
		written  int64  // tenths
		missing  bool
	}{
		{"in order", []string{tenths(0, 10, f, "a"), tenths(10, 20, f, "b")}, "a b", 20, false},
		{"silence between", []string{tenths(0, 10, f, "a"), tenths(10, 20, f, ""), tenths(20, 25, f, "b")}, "a  b", 25, false},
		{"rounded", []string{tenths(0, 10, f, "a"), strings.Replace(tenths(10, 20, f, "b"), `"start":1,`, `"start":1.0000002,`, 1)}, "a b", 20, false},
		{"twice", []string{tenths(0, 10, f, "a"), tenths(0, 10, f, "a"), tenths(10, 20, f, "b")}, "a b", 20, false},
		{"swapped", []string{tenths(10, 20, f, "b"), tenths(0, 10, f, "a"), tenths(20, 30, f, "c")}, "a b c", 30, false},
		{"the last comes first, twice", []string{tenths(20, 30, f, "c"), tenths(20, 30, f, "c"), tenths(10, 20, f, "b"), tenths(0, 10, f, "a")}, "a b c", 30, false},
		{"one never comes", []string{tenths(0, 10, f, "a"), tenths(20, 30, f, "c")}, "a", 30, true},
		{"the last never comes", []string{tenths(0, 10, f, "a")}, "a", 30, true},
		{"the end is silence", []string{tenths(0, 10, f, "a")}, "a", 19, false},
		{"the end was shown", []string{tenths(0, 10, f, "a"), tenths(12, 15, !f, "b")}, "a [b]", 15, true},
		{"an interim of what has its final", []string{tenths(0, 10, f, "a"), tenths(5, 10, !f, "b")}, "a", 10, false},
		{"nothing was finalized", []string{tenths(0, 0, f, ""), tenths(0, 10, f, "a")}, "a", 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := order{late: stopped()}
			var got []string
			for _, text := range c.messages {
				m, err := parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range o.take(m) {
					if !r.Final {
						r.Text = "[" + r.Text + "]"
					}
					got = append(got, r.Text)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%q, want %q", text, c.want)
			}
			if err := o.covers(c.written * 1600); errors.Is(err, errNeverCame) != c.missing {
				t.Error(err)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	one := 1.0
	for _, c := range []struct {
		name, text string
		want       transcribe.Result
		err        string
	}{
		{
			"of the documentation",
			`{"type":"Results","channel_index":[0,1],"duration":1.98,"start":0.5,"is_final":true,"speech_final":true,"channel":{"alternatives":[{"transcript":"Hello.","confidence":0.99,
				"words":[{"word":"hello","start":0.6,"end":0.9,"confidence":1.5,"punctuated_word":"Hello."}]}]},"metadata":{"request_id":"x"},"from_finalize":false}`,
			transcribe.Result{Final: true, Start: 8000, End: 39680, Text: "Hello.", Words: []transcribe.Word{{Text: "Hello.", Start: 9600, End: 14400, Confidence: &one}}},
			"",
		},
		{"no alternatives", `{"type":"Results","start":0,"duration":1,"is_final":true,"channel":{"alternatives":[]}}`, transcribe.Result{Final: true, End: 16000}, ""},
		{"an utterance's end", `{"type":"UtteranceEnd","channel":[0,1],"last_word_end":2.395}`, transcribe.Result{}, ""},
		{"metadata", `{"type":"Metadata","duration":25.1,"channels":1}`, transcribe.Result{}, ""},
		{"an error", `{"type":"Error","description":"no such model","message":"x","variant":"y"}`, transcribe.Result{}, "no such model"},
		{"an error of the handshake", `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials."}`, transcribe.Result{}, "Invalid credentials."},
		{"a list as channel", `{"type":"Results","channel":[0,1]}`, transcribe.Result{}, "cannot be read"},
		{"negative times", `{"type":"Results","start":-1,"duration":1,"channel":{}}`, transcribe.Result{}, "from -1 s"},
		{"words that run backwards", `{"type":"Results","start":0,"duration":1,"channel":{"alternatives":[{"words":[{"start":2,"end":1}]}]}}`, transcribe.Result{}, "from 2 to 1 s"},
		{"garbage", `}{`, transcribe.Result{}, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := parse([]byte(c.text))
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q", err, c.err)
			case c.err == "" && (err != nil || !reflect.DeepEqual(m.result, c.want)):
				t.Errorf("%+v, %v, want %+v", m.result, err, c.want)
			}
		})
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(tenths(0, 10, true, "a"), tenths(20, 30, true, "b"), tenths(10, 20, true, "c"))
	f.Add(tenths(0, 10, false, "a"), `{"type":"Metadata"}`, `}{`)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		o := order{late: stopped()}
		defer o.late.Stop()
		var end int64
		for _, text := range []string{a, b, c} {
			m, err := parse([]byte(text))
			if err != nil || m.Type != "Results" {
				continue
			}
			for _, r := range o.take(m) {
				if r.Final && r.End <= end {
					t.Fatalf("a final that ends at %d after one that ended at %d", r.End, end)
				}
				if r.Final {
					end = r.End
				}
			}
		}
	})
}
