package command

import (
	"reflect"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
)

func TestParser(t *testing.T) {
	const written = 10 * 16000
	half := 0.5
	one := 1.0
	type result = transcribe.Result
	for _, c := range []struct {
		name  string
		lines []string
		want  []result
		err   string // in the error of the last line
	}{
		{"interim and final", []string{
			`{"type":"interim","start":1.20,"end":2.00,"text":"and mister"}`,
			`{"type":"final","start":1.20,"end":3.75,"text":" and mister ","words":[{"text":"and","start":1.2,"end":1.4,"confidence":0.5},{"text":"mister","start":1.4,"end":2}]}`,
		}, []result{
			{Start: 19200, End: 32000, Text: "and mister"},
			{Final: true, Start: 19200, End: 60000, Text: "and mister", Words: []transcribe.Word{
				{Text: "and", Start: 19200, End: 22400, Confidence: &half}, {Text: "mister", Start: 22400, End: 32000}}},
		}, ""},
		{"unknown types and fields", []string{`{"type":"hello","start":"now"}`, `{}`, `{"type":"final","start":0,"end":1,"text":"a","speaker":4}`},
			[]result{{Final: true, End: 16000, Text: "a"}}, ""},
		{"interim without times", []string{`{"type":"final","start":0,"end":1,"text":""}`, `{"type":"interim","text":"a"}`},
			[]result{{Final: true, End: 16000}, {Start: 16000, End: written, Text: "a"}}, ""},
		{"beyond what was written", []string{`{"type":"final","start":9,"end":1e300,"text":"a"}`},
			[]result{{Final: true, Start: 9 * 16000, End: written, Text: "a"}}, ""},
		{"before the beginning", []string{`{"type":"final","start":-1e300,"end":-1,"text":"a"}`},
			[]result{{Final: true, Text: "a"}}, ""},
		{"final that comes late", []string{`{"type":"final","start":2,"end":3,"text":"a"}`, `{"type":"final","start":1,"end":2,"text":"b"}`},
			[]result{{Final: true, Start: 32000, End: 48000, Text: "a"}, {Final: true, Start: 16000, End: 32000, Text: "b"}}, ""},
		{"final that comes twice", []string{`{"type":"final","start":2,"end":3,"text":"a"}`, `{"type":"final","start":2,"end":3,"text":"a"}`},
			[]result{{Final: true, Start: 32000, End: 48000, Text: "a"}}, ""},
		{"finals in one place", []string{`{"type":"final","start":2,"end":3,"text":"a"}`, `{"type":"final","start":1,"end":2.5,"text":"b"}`, `{"type":"final","start":2.5,"end":4,"text":"c"}`},
			[]result{{Final: true, Start: 32000, End: 48000, Text: "a"}, {Final: true, Start: 48000, End: 48000, Text: "b"}, {Final: true, Start: 48000, End: 64000, Text: "c"}}, ""},
		{"finals without time", []string{`{"type":"final","start":1,"end":2,"text":"a"}`, `{"type":"final","start":0,"end":0,"text":"b"}`},
			[]result{{Final: true, Start: 16000, End: 32000, Text: "a"}, {Final: true, Start: 32000, End: 32000, Text: "b"}}, ""},
		{"interim that goes back", []string{`{"type":"final","start":2,"end":3,"text":"a"}`, `{"type":"interim","start":1,"end":2,"text":"b"}`},
			[]result{{Final: true, Start: 32000, End: 48000, Text: "a"}, {Start: 16000, End: 32000, Text: "b"}}, ""},
		{"end before start", []string{`{"type":"final","start":3,"end":2,"text":"a"}`},
			[]result{{Final: true, Start: 48000, End: 48000, Text: "a"}}, ""},
		{"words out of place", []string{`{"type":"final","start":1,"end":2,"text":"a b","words":[{"text":"a","start":1.5,"end":3,"confidence":1.5},{"text":" ","start":0,"end":0},{"text":"b","start":0.5,"end":0.6}]}`},
			[]result{{Final: true, Start: 16000, End: 32000, Text: "a b", Words: []transcribe.Word{
				{Text: "a", Start: 24000, End: 32000, Confidence: &one}, {Text: "b", Start: 24000, End: 24000}}}}, ""},
		{"final without an end", []string{`{"type":"final","start":1,"text":"a"}`}, nil, "without start and end"},
		{"not JSON", []string{`Loading model...`}, nil, `not a JSON object`},
		{"not an object", []string{`[1]`}, nil, `not a JSON object`},
		{"wrong kind of field", []string{`{"type":"final","start":"1","end":2}`}, nil, "not as agreed"},
		{"cut off", []string{`{"type":"final","start":1,"end":2,"text":"a secre`}, nil, "not a JSON object"},
		{"words of a wrong kind", []string{`{"type":"final","start":1,"end":2,"text":"a secret","words":["secret"]}`}, nil, "not as agreed"},
		{"a secret without an end", []string{`{"type":"final","start":1,"text":"a secret"}`}, nil, "not shown"},
		{"long garbage", []string{strings.Repeat("x", 1000)}, nil, `xxx"…`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p parser
			var got []result
			var last error
			for _, line := range c.lines {
				r, ok, err := p.parse([]byte(line), written)
				if ok {
					got = append(got, r)
				}
				last = err
			}
			if last != nil && strings.Contains(last.Error(), "secre") {
				t.Errorf("what was said is in the error: %v", last)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if (last != nil) != (c.err != "") || last != nil && !strings.Contains(last.Error(), c.err) {
				t.Errorf("error %v, want %q", last, c.err)
			}
		})
	}
}

func FuzzParser(f *testing.F) {
	f.Add([]byte(`{"type":"final","start":1,"end":2,"text":"a","words":[{"text":"a","start":1,"end":2}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		p := parser{spoken: 16000, finals: []final{{0, 16000, "b"}}}
		r, ok, err := p.parse(line, 32000)
		if !ok || err != nil {
			return
		}
		if r.Start < 0 || r.End < r.Start || r.End > 32000 {
			t.Errorf("result %+v is not inside of 0 to 32000", r)
		}
		from := r.Start
		for _, w := range r.Words {
			if w.Start < from || w.End < w.Start || w.End > r.End {
				t.Errorf("word %+v is out of place in %+v", w, r)
			}
			from = w.Start
		}
	})
}
