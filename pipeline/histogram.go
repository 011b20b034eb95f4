package pipeline

import (
	"slices"
	"sort"
	"time"
)

// Histogram is how often times were how long.
type Histogram struct {
	Bounds []float64 // seconds, upper and inclusive
	Counts []uint64  // of times within the bound of the same index
	Count  uint64    // of all times
	Sum    float64   // of all times, in seconds
}

// histogram collects one. Whoever has it guards it.
type histogram struct {
	bounds []float64
	counts []uint64 // of times that are within the bound but not within the one before
	count  uint64
	sum    float64
}

func newHistogram(bounds ...float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds))}
}

// observe counts a time; one below 0, when clocks do not agree, as 0.
func (h *histogram) observe(d time.Duration) {
	s := max(0, d.Seconds())
	h.count++
	h.sum += s
	if i := sort.SearchFloat64s(h.bounds, s); i < len(h.bounds) {
		h.counts[i]++
	}
}

func (h *histogram) read() Histogram {
	r := Histogram{Bounds: h.bounds, Counts: slices.Clone(h.counts), Count: h.count, Sum: h.sum}
	for i := 1; i < len(r.Counts); i++ {
		r.Counts[i] += r.Counts[i-1]
	}
	return r
}
