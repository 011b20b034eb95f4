// Package reorder puts the RTP packets of one stream in order by extended
// sequence number (RFC 3550, A.1). It is pure: no goroutine, no lock and no
// clock. The caller says what time it is, and asks when to come back.
//
// A packet that is next in order passes straight through. Behind a hole packets
// are held until the hole is filled or its deadline has passed; the deadline
// runs from the moment at which the hole was noticed. Nothing waits when
// nothing is missing, except for the very first packets of a stream: they are
// held for Config.Start, since a first packet that was overtaken on the way
// cannot be told from one that never was.
package reorder

import (
	"math/bits"
	"time"
)

// Window is how far apart, in packets, the oldest missing and the newest held
// packet may be. It is 1.5 s of 2.5 ms packets with room to spare, and the size
// of the SRTP replay window, behind which nothing arrives anyway.
const Window = 1024

// Config of a Buffer.
type Config struct {
	// Start is how long the first packets of a stream are held.
	Start time.Duration
	// Wait is how long a hole may stay open.
	Wait time.Duration
}

// Verdict is what became of a packet that was pushed.
type Verdict uint8

// The verdicts. The buffer keeps the value of Accepted packets only.
const (
	Accepted  Verdict = iota
	Duplicate         // arrived before
	Late              // arrived after its place had been given up
	Stray             // far from all others: ignored unless the next one confirms it
	Jumped            // a second one in a row, far from all others: see Buffer.Restart
)

// Packet is what comes out of a Buffer, in order.
type Packet[T any] struct {
	// Ext is the extended sequence number: it never wraps, and is larger by one
	// than that of the packet that the sender sent before.
	Ext int64
	// Arrived is the time at which the packet was pushed.
	Arrived time.Time
	// Value is the caller's.
	Value T
}

type slot[T any] struct {
	held    bool
	arrived time.Time // of the packet when held, else when its absence was noticed
	value   T
}

// Buffer is the reorder buffer of one stream; make it with New. After every
// Push, and again at Deadline, call Pop until it has nothing more.
type Buffer[T any] struct {
	cfg Config

	started bool
	startBy time.Time // until then everything is held; zero once that is over

	// slots is a ring of the places next … next+span-1, the first at head; its
	// size is a power of two. The last place is always held, the others are
	// held or missing.
	slots []slot[T]
	head  int
	span  int
	next  int64 // extended sequence number that goes out next

	// seen remembers which of the last Window places before next were filled:
	// it tells a duplicate from a packet that came too late.
	seen [Window / 64]uint64

	stray    uint16
	hasStray bool
}

// New makes an empty buffer.
func New[T any](cfg Config) *Buffer[T] { return &Buffer[T]{cfg: cfg} }

// Passes reports whether a packet with that sequence number would come out with
// the next Pop: its value need not live longer.
func (b *Buffer[T]) Passes(seq uint16) bool {
	return b.started && b.startBy.IsZero() && b.span == 0 && seq == uint16(b.next)
}

// Push takes a packet as it arrived.
func (b *Buffer[T]) Push(now time.Time, seq uint16, v T) Verdict {
	if !b.started {
		b.started = true
		b.startBy = now.Add(b.cfg.Start)
		// High enough for what was sent before it to have a number as well.
		b.next = 1<<16 | int64(seq)
	}
	newest := b.next + int64(b.span) - 1
	ext := newest + int64(int16(seq-uint16(newest)))
	starting := !b.startBy.IsZero()
	switch {
	case starting && newest-ext >= Window, !starting && ext < b.next-Window, ext >= b.next+Window:
		if b.hasStray && seq == b.stray+1 {
			return Jumped
		}
		b.hasStray, b.stray = true, seq
		return Stray
	case starting && ext < b.next:
		b.hasStray = false
		b.prepend(now, int(b.next-ext))
	case ext < b.next:
		b.hasStray = false
		if b.wasSeen(ext) {
			return Duplicate
		}
		return Late
	}
	b.hasStray = false
	i := int(ext - b.next)
	if i < b.span && b.at(i).held {
		return Duplicate
	}
	b.extend(now, i+1)
	*b.at(i) = slot[T]{held: true, arrived: now, value: v}
	return Accepted
}

// Pop gives the next packet in order. Holes whose deadline has passed are
// skipped: their places are missing from the Ext of what comes out.
func (b *Buffer[T]) Pop(now time.Time) (Packet[T], bool) {
	if !b.startBy.IsZero() {
		if now.Before(b.startBy) {
			return Packet[T]{}, false
		}
		b.startBy = time.Time{}
	}
	for b.span > 0 {
		s := b.at(0)
		if s.held {
			p := Packet[T]{Ext: b.next, Arrived: s.arrived, Value: s.value}
			b.advance(true)
			return p, true
		}
		if now.Before(s.arrived.Add(b.cfg.Wait)) {
			return Packet[T]{}, false
		}
		b.advance(false)
	}
	return Packet[T]{}, false
}

// Flush gives the next packet in order whatever is missing before it.
func (b *Buffer[T]) Flush() (Packet[T], bool) {
	b.startBy = time.Time{}
	for b.span > 0 {
		s := b.at(0)
		p := Packet[T]{Ext: b.next, Arrived: s.arrived, Value: s.value}
		held := s.held
		b.advance(held)
		if held {
			return p, true
		}
	}
	return Packet[T]{}, false
}

// Deadline is when Pop will have something at the latest; false if it waits for
// nothing but the next packet.
func (b *Buffer[T]) Deadline() (time.Time, bool) {
	if b.span == 0 {
		return time.Time{}, false
	}
	if !b.startBy.IsZero() {
		return b.startBy, true
	}
	return b.at(0).arrived.Add(b.cfg.Wait), true
}

// Restart forgets the numbering, as when the sender began a new one (Jumped, a
// new SSRC). Take out what is held by Flush before. The next packet that is
// pushed is taken for the first of a stream.
func (b *Buffer[T]) Restart() {
	*b = Buffer[T]{cfg: b.cfg, slots: b.slots}
	clear(b.slots)
}

func (b *Buffer[T]) at(i int) *slot[T] { return &b.slots[(b.head+i)&(len(b.slots)-1)] }

// advance takes away the first place.
func (b *Buffer[T]) advance(filled bool) {
	*b.at(0) = slot[T]{} // let go of the value
	bit := uint64(1) << (b.next & 63)
	if w := &b.seen[(b.next%Window)/64]; filled {
		*w |= bit
	} else {
		*w &^= bit
	}
	b.head = (b.head + 1) & (len(b.slots) - 1)
	b.span--
	b.next++
}

// wasSeen is for places in next-Window … next-1. Those from before the stream's
// first packet were never seen.
func (b *Buffer[T]) wasSeen(ext int64) bool {
	return b.seen[(ext%Window)/64]>>(ext&63)&1 == 1
}

// extend makes the span n places long if it is shorter, the new ones missing.
func (b *Buffer[T]) extend(now time.Time, n int) {
	b.grow(n)
	for b.span < n {
		b.span++
		*b.at(b.span - 1) = slot[T]{arrived: now}
	}
}

// prepend puts n missing places before the first.
func (b *Buffer[T]) prepend(now time.Time, n int) {
	b.grow(b.span + n)
	b.head = (b.head - n) & (len(b.slots) - 1)
	b.next -= int64(n)
	b.span += n
	for i := range n {
		*b.at(i) = slot[T]{arrived: now}
	}
}

func (b *Buffer[T]) grow(n int) {
	if n <= len(b.slots) {
		return
	}
	size := max(8, 1<<bits.Len(uint(n-1)))
	slots := make([]slot[T], size)
	for i := range b.span {
		slots[i] = *b.at(i)
	}
	b.slots, b.head = slots, 0
}
