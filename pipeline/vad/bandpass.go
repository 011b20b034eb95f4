package vad

import (
	"math"

	"verbatim/media/audio"
)

// bandPass is a second-order band-pass with a gain of 0 dB at its centre:
// Robert Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter
// coefficients" (W3C Note, 2021), "BPF (constant 0 dB peak gain)", divided by
// a0. There b1 is 0 and b2 is -b0, so that in direct form I all bands have the
// same input, x[n] - x[n-2], if b0 is left to the energy.
type bandPass struct {
	a1, a2 float64
	gain   float64 // of the energy: b0 squared
	y1, y2 float64 // the samples that came out last
}

func newBandPass(hz, q float64) bandPass {
	w0 := 2 * math.Pi * hz / audio.FrameRate
	alpha := math.Sin(w0) / (2 * q)
	a0 := 1 + alpha
	b0 := alpha / a0
	return bandPass{a1: -2 * math.Cos(w0) / a0, a2: (1 - alpha) / a0, gain: b0 * b0}
}

// settle ends a hop. Under exact zeros the state would fade into denormal
// numbers, which processors compute a hundred times slower.
func (f *bandPass) settle(y1, y2 float64) {
	if math.Abs(y1)+math.Abs(y2) < 1e-20 {
		y1, y2 = 0, 0
	}
	f.y1, f.y2 = y1, y2
}

// filters are the band-passes.
type filters struct {
	bands  [numBands]bandPass
	x1, x2 float64 // the samples that came in last
}

// energies filters one hop and returns for each band the sum of squares of what
// came out. Within a band each sample waits for the one before it; in one loop
// four bands take hardly longer than one.
func (f *filters) energies(pcm *[hop]int16) [numBands]float64 {
	if f.still() && *pcm == ([hop]int16{}) {
		return [numBands]float64{} // exact zeros, as most of a meeting with DTX is
	}
	a, b, c, d := &f.bands[0], &f.bands[1], &f.bands[2], &f.bands[3]
	a1, a2, ay1, ay2 := a.a1, a.a2, a.y1, a.y2
	b1, b2, by1, by2 := b.a1, b.a2, b.y1, b.y2
	c1, c2, cy1, cy2 := c.a1, c.a2, c.y1, c.y2
	d1, d2, dy1, dy2 := d.a1, d.a2, d.y1, d.y2
	var sa, sb, sc, sd float64
	x1, x2 := f.x1, f.x2
	for _, s := range pcm {
		x := float64(s)
		u := x - x2
		x1, x2 = x, x1
		ay1, ay2 = u-a2*ay2-a1*ay1, ay1
		by1, by2 = u-b2*by2-b1*by1, by1
		cy1, cy2 = u-c2*cy2-c1*cy1, cy1
		dy1, dy2 = u-d2*dy2-d1*dy1, dy1
		sa += ay1 * ay1
		sb += by1 * by1
		sc += cy1 * cy1
		sd += dy1 * dy1
	}
	f.x1, f.x2 = x1, x2
	a.settle(ay1, ay2)
	b.settle(by1, by2)
	c.settle(cy1, cy2)
	d.settle(dy1, dy2)
	return [numBands]float64{sa * a.gain, sb * b.gain, sc * c.gain, sd * d.gain}
}

// still reports whether nothing rings any more.
func (f *filters) still() bool {
	for i := range f.bands {
		if f.bands[i].y1 != 0 || f.bands[i].y2 != 0 {
			return false
		}
	}
	return f.x1 == 0 && f.x2 == 0
}
