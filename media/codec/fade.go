package codec

import "verbatim/media/audio"

// Lengths in samples (16 kHz).
const (
	minPeriod = audio.FrameRate * 25 / 10000 // 2.5 ms: 400 Hz
	maxPeriod = audio.FrameRate * 16 / 1000  // 16 ms: 62.5 Hz
	fadeTime  = audio.FrameRate * 120 / 1000 // measured: docs/CONCEALMENT.md
)

// fade draws out what was heard last: it repeats the last pitch period, fading
// into zeros.
type fade struct {
	past   [2 * maxPeriod]int16
	period int
	done   int // samples since what was heard, up to fadeTime
}

// heard keeps the end of pcm, which was decoded.
func (f *fade) heard(pcm []int16) {
	if n := len(f.past) - len(pcm); n > 0 {
		copy(f.past[:], f.past[len(pcm):])
		copy(f.past[n:], pcm)
	} else {
		copy(f.past[:], pcm[-n:])
	}
	f.done = 0
}

// conceal fills pcm with what follows; behind the fade that is zeros and costs
// nothing.
func (f *fade) conceal(pcm []int16) {
	if f.done == 0 {
		f.period = period(&f.past)
	}
	cycle := f.past[len(f.past)-f.period:]
	n := min(len(pcm), fadeTime-f.done)
	for i := range pcm[:n] {
		pcm[i] = int16(int(cycle[f.done%f.period]) * (fadeTime - f.done) / fadeTime)
		f.done++
	}
	clear(pcm[n:])
}

// period is the lag, up to half of x, at which the second half of x is most like
// what came before it (normalized autocorrelation), and half of x if nothing is.
// Pairs of samples are exact enough.
func period(x *[2 * maxPeriod]int16) int {
	const n = maxPeriod / 2
	var pairs [2 * n]float32
	for i := range pairs {
		pairs[i] = float32(x[2*i]) + float32(x[2*i+1])
	}
	best, at := float32(0), n
	for lag := minPeriod / 2; lag <= n; lag++ {
		before := pairs[n-lag : 2*n-lag]
		c, energy := dot(pairs[n:], before), dot(before, before)
		if c > 0 && c*c > best*energy {
			best, at = c*c/energy, lag
		}
	}
	return 2 * at
}
