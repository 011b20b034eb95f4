package codec

import (
	"math"
	"slices"
	"testing"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// voice is a vowel of a pitch: harmonics that fall off.
func voice(hz float64, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		var v float64
		for k := 1.0; k*hz < 4000; k++ {
			v += math.Cos(2*math.Pi*k*hz*float64(i)/audio.FrameRate) / k
		}
		pcm[i] = int16(3000 * v)
	}
	return pcm
}

func TestFadeGoesOnInPitch(t *testing.T) {
	for _, hz := range []float64{80, 100, 160, 230, 320} {
		all := voice(hz, 2000)
		var f fade
		f.heard(all[:1000])
		got := make([]int16, fadeTime+100)
		f.conceal(got)
		// For 20 ms as it would have gone on, only fainter.
		want := all[1000:][:320]
		var gw, gg, ww float64
		for i, w := range want {
			g := float64(got[i])
			gw, gg, ww = gw+g*float64(w), gg+g*g, ww+float64(w)*float64(w)
		}
		if c := gw / math.Sqrt(gg*ww); c < 0.8 {
			t.Errorf("%.0f Hz: correlation %.2f with what would have come", hz, c)
		}
		if a, b := level(got[:fadeTime/4]), level(got[fadeTime*3/4:fadeTime]); b > a/3 || a < level(want)/2 {
			t.Errorf("%.0f Hz: from level %.0f it fades from %.0f to %.0f", hz, level(want), a, b)
		}
		if slices.ContainsFunc(got[fadeTime:], func(v int16) bool { return v != 0 }) {
			t.Errorf("%.0f Hz: after the fade it is not silent", hz)
		}
	}
}

// A loss sounds the same in one piece or many, and a decoded packet begins a
// new fade.
func TestFadeInPieces(t *testing.T) {
	var a, b fade
	said := speech.PCM("sas-0870")[20000:][:1000]
	a.heard(said)
	for p := range slices.Chunk(said, 7) {
		b.heard(p)
	}
	for range 2 {
		whole, pieces := make([]int16, 2*fadeTime), make([]int16, 2*fadeTime)
		a.conceal(whole)
		for p := range slices.Chunk(pieces, 11) {
			b.conceal(p)
		}
		if !slices.Equal(whole, pieces) || level(whole) < 100 {
			t.Fatalf("in pieces it is another sound, or none (level %.0f)", level(whole))
		}
		a.heard(said[:500])
		b.heard(said[:500])
	}
}

// What follows silence is silence: in every build, and for every format.
func TestNothingIsDrawnOutOverSilence(t *testing.T) {
	for _, f := range formats {
		d := NewDecoder()
		var pcm [320]int16
		for _, p := range coded(f)[:40] {
			d.Decode(f, p, pcm[:])
		}
		if d.Conceal(pcm[:], audio.FormatNone, nil); level(pcm[:]) < 1 {
			t.Errorf("format %d: a loss after speech is silent", f)
		}
		d.Silence()
		if d.Conceal(pcm[:], audio.FormatNone, nil); pcm != [320]int16{} {
			t.Errorf("format %d: a loss after silence is not silent", f)
		}
	}
}

// A long loss ends in zeros that cost nothing, wherever it is cut.
func TestLongLossesAreZeros(t *testing.T) {
	for _, f := range formats {
		d := NewDecoder()
		var pcm [1600]int16
		for _, p := range coded(f)[:40] {
			d.Decode(f, p, pcm[:320])
		}
		for range 3 {
			d.Conceal(pcm[:], audio.FormatNone, nil)
		}
		if pcm != [1600]int16{} {
			t.Errorf("format %d: it is not silent 200 ms after the last packet", f)
		}
	}
}
