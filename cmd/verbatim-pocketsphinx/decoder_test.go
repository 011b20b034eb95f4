//go:build pocketsphinx && cgo

package main

import "testing"

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"and": "and", "and(2)": "and", "to(3)": "to", "it's": "it's", "m.": "m.",
		"<s>": "", "</s>": "", "<sil>": "", "[NOISE]": "", "[SPEECH]": "", "++BREATH++": "",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}
