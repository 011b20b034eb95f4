package tracklog

import (
	"slices"
	"sort"
)

const (
	// chunkSize is about a second of speech. A chunk is one allocation, so that
	// Append allocates once in some thirty packets.
	chunkSize = 4 << 10
	// chunkCost is what a chunk takes besides its buffer.
	chunkCost = 96
	// markEvery is the least distance of index entries in the file, and maxMarks how
	// many there are at most: seeking reads up to the distance in vain. The index of
	// 8 MB, 40 minutes of speech, is full; from then on each doubling of the file
	// doubles the distance.
	markEvery = 64 << 10
	maxMarks  = 128
)

// mark is an entry of the sparse index: the frame at off begins with seq, start.
type mark struct {
	seq   uint64
	start int64
	off   int64
}

// index is sparse, so that a seek finds its place in a long file. The zero value is
// that of an empty file.
type index struct {
	marks []mark
	every int64 // the distance, once it has grown
}

// add notes m if it is far enough from the last entry. An index that is full loses
// every second entry first.
func (x *index) add(m mark) {
	n := len(x.marks)
	if n > 0 && m.off-x.marks[n-1].off < max(x.every, markEvery) {
		return
	}
	if n == maxMarks {
		for i := range n / 2 {
			x.marks[i] = x.marks[2*i]
		}
		x.marks, x.every = x.marks[:n/2], 2*max(x.every, markEvery)
	}
	x.marks = append(x.marks, m)
}

// before is the last entry that is accepted; the first frame of all if none is.
func (x *index) before(accepts func(mark) bool) mark {
	i := sort.Search(len(x.marks), func(i int) bool { return !accepts(x.marks[i]) }) - 1
	if i < 0 {
		return mark{off: headerLen}
	}
	return x.marks[i]
}

// chunk holds frames one after the other. Readers look at buf without a lock
// up to the length they saw under Log.mu: bytes are only ever added behind it,
// and whoever wants to change some makes a new chunk instead. Garbage
// collection ends a chunk's life, so that packets may point into it.
type chunk struct {
	seq     uint64
	start   int64 // with seq: of the first frame
	buf     []byte
	written int  // bytes of buf that are in the file
	shed    bool // there is nothing left to shed in it
	gone    bool // no longer part of the log: dropped, or replaced
}

// room returns the chunk that the next size bytes go to. It says whether
// memory was taken for it. Log.mu is held.
func (l *Log) room(size int) (c *chunk, grown bool) {
	if n := len(l.chunks); n > 0 {
		if c = l.chunks[n-1]; cap(c.buf)-len(c.buf) >= size {
			return c, false
		}
	}
	c = &chunk{seq: l.seq, start: l.start, buf: make([]byte, 0, max(size, chunkSize))}
	l.chunks = append(l.chunks, c)
	l.use(cap(c.buf) + chunkCost)
	return c, true
}

// drop forgets chunks that are in the file, the oldest first, up to keep ticks
// (48 kHz) before the end of the log. Log.mu is held.
func (l *Log) drop(keep int64) {
	n := 0
	for i, c := range l.chunks {
		end := l.start
		if i+1 < len(l.chunks) {
			end = l.chunks[i+1].start
		}
		if l.start-end < keep || c.written < len(c.buf) {
			break
		}
		c.gone = true
		l.use(-cap(c.buf) - chunkCost)
		n++
	}
	l.chunks = slices.Delete(l.chunks, 0, n)
}

// dropAll forgets every chunk. Log.mu is held.
func (l *Log) dropAll() {
	for _, c := range l.chunks {
		c.gone = true
	}
	l.chunks = nil
	l.use(-int(l.memory))
}

// replace puts fresh, which holds buf from seq, start of the first on, in the
// place of the chunks from and up to but without to. Log.mu is held.
func (l *Log) replace(from, to int, buf []byte) *chunk {
	first := l.chunks[from]
	fresh := &chunk{seq: first.seq, start: first.start, buf: buf, written: first.written}
	l.use(cap(buf) + chunkCost)
	for _, c := range l.chunks[from:to] {
		c.gone = true
		l.use(-cap(c.buf) - chunkCost)
	}
	l.chunks = slices.Replace(l.chunks, from, to, fresh)
	return fresh
}

// chunkOf is the index of the last chunk that before accepts, or -1. Log.mu is
// held.
func (l *Log) chunkOf(before func(*chunk) bool) int {
	return sort.Search(len(l.chunks), func(i int) bool { return !before(l.chunks[i]) }) - 1
}
