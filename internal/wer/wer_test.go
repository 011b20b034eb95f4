package wer

import (
	"strings"
	"testing"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		name, ref, hyp string
		want           int
	}{
		{"both empty", "", "", 0},
		{"the same", "he was not an ill man", "he was not an ill man", 0},
		{"nothing heard", "he was not", "", 3},
		{"nothing said", "", "he was", 2},
		{"one replaced", "he was not", "he is not", 1},
		{"one left out", "he was not", "he not", 1},
		{"one put in", "he was not", "he was was not", 1},
		{"at the beginning", "unless to be rather", "hello study be rather", 2},
		{"all else", "a b c", "d e f g", 4},
		{"shifted", "a b c d", "b c d e", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref, hyp := strings.Fields(c.ref), strings.Fields(c.hyp)
			if got := Rate(ref, hyp); got != c.want {
				t.Errorf("Rate = %d, want %d", got, c.want)
			}
			if got := Rate(hyp, ref); got != c.want {
				t.Errorf("Rate the other way = %d, want %d", got, c.want)
			}
		})
	}
}

func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		name, ref, hyp string
		missing, added int
	}{
		{"both empty", "", "", 0, 0},
		{"the same", "he was not", "he was not", 0, 0},
		{"nothing heard", "he was not", "", 3, 0},
		{"nothing said", "", "he was", 0, 2},
		{"one replaced", "he was not", "he is not", 1, 1},
		{"one left out", "he was not", "he not", 1, 0},
		{"one put in", "he was not", "he was was not", 0, 1},
		{"moved", "a b c d", "b c d a", 1, 1},
		{"repeated", "a b a b a", "a b a", 2, 0},
	} {
		missing, added := Differ(strings.Fields(c.ref), strings.Fields(c.hyp))
		if missing != c.missing || added != c.added {
			t.Errorf("%s: %d missing and %d added, want %d and %d", c.name, missing, added, c.missing, c.added)
		}
	}
}
