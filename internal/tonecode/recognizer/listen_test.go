package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"verbatim/internal/tonecode"
)

func listen(t *testing.T, pcm []int16) (lines []line) {
	t.Helper()
	var in, out bytes.Buffer
	if err := binary.Write(&in, binary.LittleEndian, pcm); err != nil {
		t.Fatal(err)
	}
	if err := run(nil, &in, &out); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(&out); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

// Every number is in one final, at its time; finals end in the pauses and
// follow each other up to the end of the audio.
func TestFinals(t *testing.T) {
	const to = 120
	var words []string
	spoken, interims := 0.0, 0
	for _, l := range listen(t, tonecode.Signal(0, to)) {
		if l.Type == "interim" {
			interims++
			continue
		}
		if l.Start < spoken || l.End < l.Start {
			t.Errorf("final from %v to %v after %v", l.Start, l.End, spoken)
		}
		spoken = l.End
		words = append(words, strings.Fields(l.Text)...)
		for _, w := range l.Words {
			i, ok := tonecode.Index(w.Text)
			if d := w.Start - float64(i)/10; !ok || math.Abs(d) > 0.015 || w.End <= w.Start || w.End > l.End {
				t.Errorf("%s from %v to %v in a final from %v to %v", w.Text, w.Start, w.End, l.Start, l.End)
			}
		}
	}
	var want []string
	for i := range to {
		if tonecode.Spoken(i) {
			want = append(want, tonecode.Word(i))
		}
	}
	if !slices.Equal(words, want) {
		t.Errorf("heard %v", words)
	}
	if spoken != to/10 || interims < 20 {
		t.Errorf("spoken for up to %v s, %d interims", spoken, interims)
	}
}

// Long silence is spoken for on the way.
func TestSilence(t *testing.T) {
	lines := listen(t, make([]int16, 12*tonecode.Rate))
	if len(lines) < 3 || lines[0].Text != "" || lines[0].End > 6 || lines[len(lines)-1].End != 12 {
		t.Errorf("said %+v", lines)
	}
}

// Speech without a pause is cut between two numbers.
func TestLongest(t *testing.T) {
	pcm := tonecode.Signal(0, 30) // without its pause
	for i := 40; i < 240; i += 40 {
		pcm = append(pcm, tonecode.Signal(i, i+30)...)
	}
	total, finals := 0, 0
	for _, l := range listen(t, pcm) {
		if l.Type == "final" && l.Text != "" {
			total, finals = total+len(l.Words), finals+1
			if d := l.End - l.Start; d > 6.2 {
				t.Errorf("a final of %v s", d)
			}
		}
	}
	if total != 180 || finals != 3 {
		t.Errorf("%d numbers in %d finals", total, finals)
	}
}

func TestSignal(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"signal", "3", "5"}, nil, &out); err != nil || out.Len() != 44+2*2*tonecode.Symbol {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	for _, args := range [][]string{{"signal"}, {"signal", "1", "x"}, {"signal", "2", "1"}, {"signal", "0", "99999"}, {"-no"}, {"no"}} {
		if err := run(args, nil, &out); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
