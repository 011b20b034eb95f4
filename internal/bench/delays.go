//go:build linux

package bench

import (
	"math"
	"time"
)

const (
	// bin is how exact a quantile is; beyond maxBins of them there is the maximum.
	bin     = 100 * time.Microsecond
	maxBins = 100_000
)

// delays counts how long things took. It belongs to who has its lock.
type delays struct {
	bins  []uint32
	n     int
	above int
	max   time.Duration
}

func (d *delays) add(v time.Duration) {
	v = max(v, 0)
	d.n++
	d.max = max(d.max, v)
	i := int(v / bin)
	if i >= maxBins {
		d.above++
		return
	}
	if i >= len(d.bins) {
		d.bins = append(d.bins, make([]uint32, i+1-len(d.bins))...)
	}
	d.bins[i]++
}

// quantile is what the share q of them took at most.
func (d *delays) quantile(q float64) time.Duration {
	want := max(1, int(math.Ceil(q*float64(d.n))))
	for i, n := range d.bins {
		if want -= int(n); want <= 0 && d.n > 0 {
			return min(time.Duration(i+1)*bin, d.max)
		}
	}
	return d.max
}
