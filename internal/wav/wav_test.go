package wav

import (
	"slices"
	"testing"
)

func TestWAV(t *testing.T) {
	pcm := []int16{0, 1, -1, 32767, -32768}
	got, err := Decode(Encode(pcm))
	if err != nil || !slices.Equal(got, pcm) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Decode(nil); err == nil {
		t.Error("nothing is a file")
	}
}
