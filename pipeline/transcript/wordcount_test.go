package transcript

import "testing"

func TestWordCount(t *testing.T) {
	for name, c := range map[string]struct {
		segment Segment
		n       int
		ok      bool
	}{
		"nothing":                   {Segment{}, 0, true},
		"text":                      {Segment{Text: " It's half\u00a0past\n10 – isn't it? "}, 6, true},
		"the engine's":              {Segment{Text: "one two", Words: []Word{{Text: "one"}, {Text: "two"}, {Text: "."}, {Text: ""}}}, 2, true},
		"no spaces, but words":      {Segment{Text: "你好世界", Words: []Word{{Text: "你好"}, {Text: "世界"}}}, 2, true},
		"no spaces":                 {Segment{Text: "你好世界"}, 1, false},
		"no spaces in a part of it": {Segment{Text: "that is 世界 then"}, 4, false},
	} {
		if n, ok := c.segment.WordCount(); n != c.n || ok != c.ok {
			t.Errorf("%s: %d, %t; want %d, %t", name, n, ok, c.n, c.ok)
		}
	}
}
