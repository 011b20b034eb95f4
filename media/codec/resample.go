package codec

import (
	"fmt"
	"math"
)

// The rates that a Resampler takes, in Hz.
const (
	MinRate = 8000
	MaxRate = 48000
)

const (
	// halfWidth is half the length of the filter in samples of the lower rate.
	// It decides how steep the filter is, and what it costs and delays.
	halfWidth = 23
	// cutoff is where the filter has fallen to one half, as a part of half the
	// lower rate.
	cutoff = 0.96
	// kaiserBeta is for 80 dB (Kaiser and Schafer: 0.1102 · (80 − 8.7)).
	kaiserBeta = 7.857
	// maxPhases bounds the filter bank. Every pair of usual rates has fewer;
	// between the phases of others it interpolates (error below −110 dB).
	maxPhases = 640
	// resampleBlock is how many samples are filtered at a time.
	resampleBlock = 480
)

// Resampler takes mono PCM from one sample rate to another: a polyphase sinc in
// a Kaiser window, flat to 0.1 dB up to 0.8 of half the lower rate and 80 dB down
// from 1.08 of it: from 48 to 16 kHz, up to 6.5 kHz and from 8.64 kHz. It belongs
// to one goroutine. Make it with NewResampler.
type Resampler struct {
	up, down int64 // to/from in lowest terms
	phases   int64
	taps     int
	bank     []float32 // phases+1 filters of taps coefficients, oldest sample first
	phase    int64     // samples in · up − samples out · down
	buf      []float32 // the last taps−1 samples, then those of a block
}

// NewResampler makes a Resampler for a pair of rates of 8,000 to 48,000 Hz.
//
// The output lags the input by a constant: 22 samples of the lower rate and one
// of the input when it goes down, less than 24 samples of the input when it goes
// up. That is 1.4 ms from 48 to 16 kHz and 2.9 ms from 8 to 16 kHz.
func NewResampler(from, to int) (*Resampler, error) {
	if min(from, to) < MinRate || max(from, to) > MaxRate {
		return nil, fmt.Errorf("resample %d Hz to %d Hz: rates are %d to %d Hz", from, to, MinRate, MaxRate)
	}
	divisor, rest := from, to
	for rest != 0 {
		divisor, rest = rest, divisor%rest
	}
	r := &Resampler{up: int64(to / divisor), down: int64(from / divisor)}
	if r.up == r.down {
		return r, nil
	}
	// In samples of the input, from here on.
	lower := math.Min(1, float64(r.up)/float64(r.down))
	width := halfWidth / lower
	r.phases = min(r.up, maxPhases)
	r.taps = int(math.Ceil(2*width)) + 1
	r.bank = make([]float32, 0, int(r.phases+1)*r.taps)
	filter := make([]float64, r.taps)
	for p := range r.phases + 1 {
		var sum float64
		for i := range filter {
			x := width + float64(p)/float64(r.phases) - float64(r.taps-1-i)
			filter[i] = sinc(cutoff*lower*x) * kaiser(x/width)
			sum += filter[i]
		}
		for _, v := range filter {
			r.bank = append(r.bank, float32(v/sum))
		}
	}
	r.buf = make([]float32, r.taps-1, r.taps-1+resampleBlock)
	return r, nil
}

// Reset returns to the initial state.
func (r *Resampler) Reset() {
	r.phase = 0
	clear(r.buf)
}

// Resample appends to dst what comes out when src goes in. After n samples in
// all, floor(n·to/from) have come out in all, however they were cut.
func (r *Resampler) Resample(dst, src []int16) []int16 {
	if r.up == r.down {
		return append(dst, src...)
	}
	for len(src) > 0 {
		n := min(len(src), resampleBlock)
		buf := r.buf
		for _, v := range src[:n] {
			buf = append(buf, float32(v))
		}
		src = src[n:]
		for i := range n {
			r.phase += r.up
			for r.phase >= r.down {
				r.phase -= r.down
				dst = append(dst, r.filter(buf[i:i+r.taps]))
			}
		}
		copy(r.buf, buf[n:])
	}
	return dst
}

// filter is the output sample that lies r.phase/up of an input sample before
// the window's end, less the constant delay.
func (r *Resampler) filter(window []float32) int16 {
	at := r.phase * r.phases
	p, part := at/r.up, at%r.up
	v := dot(r.bank[p*int64(r.taps):], window)
	if part != 0 {
		next := dot(r.bank[(p+1)*int64(r.taps):], window)
		v += (next - v) * float32(part) / float32(r.up)
	}
	return int16(math.RoundToEven(float64(max(math.MinInt16, min(v, math.MaxInt16)))))
}

// dot is the scalar product of x and the beginning of h. Four sums at a time
// don't wait for each other.
func dot(h, x []float32) float32 {
	h = h[:len(x)]
	var a, b, c, d float32
	for len(x) >= 4 && len(h) >= 4 {
		a += x[0] * h[0]
		b += x[1] * h[1]
		c += x[2] * h[2]
		d += x[3] * h[3]
		x, h = x[4:], h[4:]
	}
	for i, v := range x {
		a += v * h[i]
	}
	return (a + b) + (c + d)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is the Kaiser window, 1 at 0, and 0 outside of −1 to 1.
func kaiser(x float64) float64 {
	if x <= -1 || x >= 1 {
		return 0
	}
	return bessel(kaiserBeta*math.Sqrt(1-x*x)) / besselBeta
}

var besselBeta = bessel(kaiserBeta)

// bessel is the modified Bessel function of the first kind of order 0.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}
