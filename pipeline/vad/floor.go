package vad

import "math"

// fullScale is the energy of one hop of a sine at full scale.
const fullScale = hop * 32768.0 * 32768.0 / 2

var (
	quiet = fullScale * math.Pow(10, quietDB/10.)
	first = fullScale * math.Pow(10, firstDB/10.)
	loud  = fullScale * math.Pow(10, loudDB/10.)
)

// level is how far the bands stand above their floors, in dB, on average.
func (d *Detector) level(energy *[numBands]float64) float64 {
	ratio := 1.0
	for i, e := range energy {
		floor := min(max(d.floor[i].value(), quiet), loud)
		if d.heard < firstHops {
			floor = min(floor, first)
		}
		ratio *= max(e, quiet) / floor
	}
	return 10 / float64(numBands) * math.Log10(ratio)
}

// learn moves the floors. Of this hop and the one before the louder counts,
// and only if both told about the room: a hop in which a mute begins or ends
// would else put the floor anywhere.
func (d *Detector) learn(energy *[numBands]float64) {
	if audible(energy) && audible(&d.last) {
		for i, e := range energy {
			d.floor[i].add(max(e, d.last[i]))
		}
		d.heard = min(d.heard+1, firstHops)
	}
	d.last = *energy
}

func audible(energy *[numBands]float64) bool {
	for _, e := range energy {
		if e > quiet {
			return true
		}
	}
	return false
}

// median of the last levels.
func (d *Detector) median() float64 {
	l := d.levels
	for i := 1; i < len(l); i++ { // insertion sort: five values, no allocation
		for j := i; j > 0 && l[j] < l[j-1]; j-- {
			l[j], l[j-1] = l[j-1], l[j]
		}
	}
	return l[medianLag]
}

// minimum is the least of the values added in the last floorTurns blocks of
// blockHops values.
type minimum struct {
	blocks [floorTurns]float64
	turn   int
	added  int     // to the block that is being filled
	filled float64 // the least in it
	least  float64 // of all blocks
}

func newMinimum() minimum {
	m := minimum{filled: math.Inf(1), least: math.Inf(1)}
	for i := range m.blocks {
		m.blocks[i] = math.Inf(1)
	}
	return m
}

// value is +Inf before the first value.
func (m *minimum) value() float64 { return min(m.least, m.filled) }

func (m *minimum) add(v float64) {
	m.filled = min(m.filled, v)
	if m.added++; m.added < blockHops {
		return
	}
	m.blocks[m.turn] = m.filled
	m.turn = (m.turn + 1) % floorTurns
	m.added, m.filled = 0, math.Inf(1)
	m.least = math.Inf(1)
	for _, b := range m.blocks {
		m.least = min(m.least, b)
	}
}
