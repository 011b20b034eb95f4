package command

import (
	"slices"
	"testing"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       []string // nil: an error
	}{
		{"one word", `./my-recognizer`, []string{"./my-recognizer"}},
		{"words", "  a \t b\n c  ", []string{"a", "b", "c"}},
		{"double quotes", `rec --name "large v3"`, []string{"rec", "--name", "large v3"}},
		{"single quotes", `rec 'a "b" \c'`, []string{"rec", `a "b" \c`}},
		{"quotes in a word", `rec --name="large v3"'!'`, []string{"rec", "--name=large v3!"}},
		{"empty words", `rec "" ''`, []string{"rec", "", ""}},
		{"escaped space", `/opt/my\ engine/rec`, []string{"/opt/my engine/rec"}},
		{"escapes in double quotes", `rec "a\"b\\c\d"`, []string{"rec", `a"b\c\d`}},
		{"escaped quote", `rec it\'s`, []string{"rec", "it's"}},
		{"nothing is expanded", `rec $HOME *.bin ~ a|b`, []string{"rec", "$HOME", "*.bin", "~", "a|b"}},
		{"not ASCII", `rec "häuser 漢字"`, []string{"rec", "häuser 漢字"}},
		{"open double quote", `rec "a`, nil},
		{"open single quote", `rec 'a\'`, []string{"rec", `a\`}},
		{"open after a backslash", `rec 'a`, nil},
		{"backslash at the end", `rec a\`, nil},
		{"empty", ``, nil},
		{"blank", `  `, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.line)
			if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
				t.Errorf("Parse(%s) = %q, %v, want %q", c.line, got, err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a "b c" 'd' \e`)
	f.Fuzz(func(t *testing.T, line string) {
		argv, err := Parse(line)
		if err == nil && len(argv) == 0 {
			t.Error("no program and no error")
		}
	})
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		text    string
		argv    []string // nil: an error
		streams int
	}{
		{"command:go run ./rec --lang=de?x", []string{"go", "run", "./rec", "--lang=de?x"}, 0},
		{"command:?streams=3 go 'a b'", []string{"go", "a b"}, 3},
		{"command:?streams=3", nil, 0},
		{"command:?streams=-1 go", nil, 0},
		{"command:?workers=1 go", nil, 0},
		{"command:go 'a", nil, 0},
	} {
		s, err := spec.Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(s, transcribe.Host{})
		if c.argv == nil {
			if err == nil {
				t.Errorf("%s: no error", c.text)
			}
			continue
		}
		if err != nil || e.Name != "go" || e.Streams != c.streams || !slices.Equal(e.Recognizer.(*Recognizer).argv, c.argv) {
			t.Errorf("%s: %+v, %v", c.text, e, err)
		}
	}
}
