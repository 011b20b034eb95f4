package recording

import "verbatim/media/audio"

const (
	// ceiling is what no sample of a mix goes beyond: −0.4 dBFS.
	ceiling = 31300
	// ahead is how far the limiter looks ahead, in samples: 5 ms, over which it
	// turns the volume down before a peak.
	ahead = 5 * audio.FrameRate / 1000
	// release is how far the volume comes back up with each sample: most of the
	// way in 100 ms.
	release = 1.0 / (100 * audio.FrameRate / 1000)
)

// limiter turns the sum of voices into samples, ahead samples later. What stays
// below the ceiling passes untouched, unless a peak is near; peaks are turned
// down, never cut.
//
// The volume that each sample would need is brought to the lowest of the next
// ahead samples, and the mean of that over as many samples is the volume. All
// that goes into the mean for a sample saw that sample: so the mean is no more
// than what the sample needs.
type limiter struct {
	n       int            // samples that came
	samples [ahead]int32   // the last ones
	need    float64        // after the last sample, on its way back up
	calm    int            // samples since need was below 1
	needs   [ahead]float64 // of the last samples
	lows    [ahead]float64 // the lowest of needs, after each of the last samples
	sum     float64        // of lows
}

func newLimiter() *limiter {
	l := &limiter{need: 1, calm: 2 * ahead, sum: ahead}
	for i := range ahead {
		l.needs[i], l.lows[i] = 1, 1
	}
	return l
}

// next takes a sample and gives the one from ahead samples before.
func (l *limiter) next(v int32) int16 {
	i := l.n % ahead
	l.n++
	out := int16(l.samples[i])
	if l.sum < ahead {
		out = int16(float64(l.samples[i]) * l.sum / ahead)
	}
	l.samples[i] = v
	l.needs[i] = l.needed(v)
	low := 1.0
	if l.calm < ahead {
		for _, need := range &l.needs {
			low = min(low, need)
		}
	}
	l.sum += low - l.lows[i]
	if l.calm >= 2*ahead {
		l.sum = ahead // all are 1: what sums have lost in precision is put right
	}
	l.lows[i] = low
	return out
}

// needed is the volume that a sample needs, with the volume that earlier ones
// needed on its way back up.
func (l *limiter) needed(v int32) float64 {
	if l.need += (1 - l.need) * release; l.need > 0.999 {
		l.need = 1
	}
	if peak := float64(max(v, -v)); peak*l.need > ceiling {
		l.need = ceiling / peak
	}
	l.calm++
	if l.need < 1 {
		l.calm = 0
	}
	return l.need
}
