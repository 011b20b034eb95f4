package vad

import (
	"math"

	"verbatim/media/audio"
)

// bandPass is a second-order band-pass with a gain of 0 dB at its centre:
// Robert Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter
// coefficients" (W3C Note, 2021), "BPF (constant 0 dB peak gain)", divided by
// a0. There b1 is 0 and b2 is -b0. It runs in transposed direct form II.
type bandPass struct {
	b0, a1, a2 float64
	z1, z2     float64
}

func newBandPass(hz, q float64) bandPass {
	w0 := 2 * math.Pi * hz / audio.FrameRate
	alpha := math.Sin(w0) / (2 * q)
	a0 := 1 + alpha
	return bandPass{b0: alpha / a0, a1: -2 * math.Cos(w0) / a0, a2: (1 - alpha) / a0}
}

// energy filters one hop and returns the sum of squares of what came out.
func (f *bandPass) energy(pcm *[hop]int16) float64 {
	z1, z2 := f.z1, f.z2
	if z1 == 0 && z2 == 0 && *pcm == ([hop]int16{}) {
		return 0 // exact zeros, as most of a meeting with DTX is
	}
	var sum float64
	for _, s := range pcm {
		x := f.b0 * float64(s)
		y := x + z1
		z1 = z2 - f.a1*y
		z2 = -x - f.a2*y
		sum += y * y
	}
	// Under exact zeros the state would fade into denormal numbers, which
	// processors compute a hundred times slower.
	if math.Abs(z1)+math.Abs(z2) < 1e-20 {
		z1, z2 = 0, 0
	}
	f.z1, f.z2 = z1, z2
	return sum
}
