package audio

import (
	"slices"
	"sort"
	"time"
)

const (
	// bend is how far a packet's At may lie from where the clock expects it
	// before the clock bends there.
	bend = 5 * time.Millisecond
	// maxBends bounds a Clock; the oldest are forgotten. A sender whose clock is
	// off by 300 ppm bends it 216 times an hour.
	maxBends = 4096
)

// Clock maps the ticks of one track to wall time: when that tick reached the
// server, had the network been as fast as at its best. It follows the At of the
// track's packets, in which clocks that drift show, in steps of a few
// milliseconds; the ticks themselves are never touched. The map never runs
// back. A Clock is pure; its user guards it.
type Clock struct {
	bends []clockBend
}

type clockBend struct {
	tick int64
	at   time.Time
}

// Add takes the next packet of the track. Packets before those that were added
// are ignored: a reader that begins again may add what it reads. So is the End:
// its At is when somebody said so, after a crash that of another process, whose
// wall clock may be another one.
func (c *Clock) Add(p Packet) {
	if p.Kind == End {
		return
	}
	if n := len(c.bends); n > 0 {
		last := c.bends[n-1]
		if p.Start <= last.tick {
			return
		}
		if d := p.At.Sub(last.at) - duration(p.Start-last.tick); -bend <= d && d <= bend {
			return
		}
		if n == maxBends {
			c.bends = slices.Delete(c.bends, 0, maxBends/2)
		}
	}
	c.bends = append(c.bends, clockBend{p.Start, p.At})
}

// At is the wall time of a tick, and whether any packet was added to tell.
func (c *Clock) At(tick int64) (at time.Time, ok bool) {
	if len(c.bends) == 0 {
		return time.Time{}, false
	}
	next := sort.Search(len(c.bends), func(i int) bool { return c.bends[i].tick > tick })
	b := c.bends[max(next-1, 0)]
	at = b.at.Add(duration(tick - b.tick))
	if next > 0 && next < len(c.bends) && at.After(c.bends[next].at) {
		at = c.bends[next].at
	}
	return at, true
}
