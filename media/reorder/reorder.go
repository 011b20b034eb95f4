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
//
// What is missing is asked for (RFC 4585, 6.2.1, generic NACK): Ask lists it at
// once when a hole is noticed, and again every Repeat until it is filled or
// given up. A packet that came in another way, as redundancy (RFC 2198) does, is
// put into its hole by Fill.
package reorder

import (
	"math/bits"
	"time"
)

// Window is how far apart, in packets, the oldest missing and the newest held
// packet may be. It is 1.5 s of 2.5 ms packets with room to spare, and the size
// of the SRTP replay window, behind which nothing arrives anyway.
const Window = 1024

const (
	// Repeat is how long after one Ask the next one lists again what is still
	// missing. libwebrtc sends a packet again at most once in its round trip and
	// ignores what is asked between; asking often hits that moment.
	Repeat = 25 * time.Millisecond
	// minAsk is the least time between two lists, however holes appear.
	minAsk = 5 * time.Millisecond
	// MaxAsk is the most numbers that one Ask lists, the oldest first. Each may
	// need a pair of its own in the NACK, which holds 253.
	MaxAsk = 250
)

// Config of a Buffer.
type Config struct {
	// Start is how long the first packets of a stream are held.
	Start time.Duration
	// Wait is how long a hole may stay open, until SetWait says otherwise.
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
	Full              // beyond the window, not far from the newest one: Flush one, then push it again
)

// Packet is what comes out of a Buffer, in order.
type Packet[T any] struct {
	// Ext is the extended sequence number: it never wraps, and is larger by one
	// than that of the packet that the sender sent before.
	Ext int64
	// Arrived is the time at which the packet was pushed.
	Arrived time.Time
	// Missed is how long before that its place had been known to be missing, 0
	// for a packet that nothing had overtaken.
	Missed time.Duration
	// Value is the caller's.
	Value T
}

type slot[T any] struct {
	held    bool
	arrived time.Time // of the packet when held, else when its absence was noticed
	missed  time.Duration
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

	missing int       // places of the span that are
	asked   time.Time // by the last Ask
	askAt   time.Time // when something is to be asked for, if missing > 0

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

// SetWait changes how long holes may stay open, those that there are included.
func (b *Buffer[T]) SetWait(d time.Duration) { b.cfg.Wait = d }

// Push takes a packet as it arrived.
func (b *Buffer[T]) Push(now time.Time, seq uint16, v T) Verdict {
	if !b.started {
		b.started = true
		b.startBy = now.Add(b.cfg.Start)
		// High enough for what was sent before it to have a number as well.
		b.next = 1<<16 | int64(seq)
	}
	ext, newest := b.extended(seq)
	starting := !b.startBy.IsZero()
	switch {
	case starting && newest-ext >= Window, !starting && ext < b.next-Window, ext > newest+Window:
		if b.hasStray && seq == b.stray+1 {
			return Jumped
		}
		b.hasStray, b.stray = true, seq
		return Stray
	case ext >= b.next+Window:
		b.hasStray = false
		return Full
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
	b.fill(now, i, v)
	return Accepted
}

// Lacks reports whether Fill would keep a packet with that sequence number.
func (b *Buffer[T]) Lacks(seq uint16) bool {
	if !b.started {
		return false
	}
	ext, newest := b.extended(seq)
	if i := int(ext - b.next); i >= 0 {
		return i < b.span && !b.at(i).held
	}
	return !b.startBy.IsZero() && newest-ext < Window
}

// Fill puts a packet that came inside of another one into its place, if it Lacks
// it; call it after the Push of the one that it came in. It reports whether the
// value was kept.
func (b *Buffer[T]) Fill(now time.Time, seq uint16, v T) bool {
	if !b.Lacks(seq) {
		return false
	}
	ext, _ := b.extended(seq)
	if ext < b.next {
		b.prepend(now, int(b.next-ext))
	}
	b.fill(now, int(ext-b.next), v)
	return true
}

// Ask appends to dst the sequence numbers that are to be asked for now, the
// oldest first; none when it is not yet time.
func (b *Buffer[T]) Ask(now time.Time, dst []uint16) []uint16 {
	if b.missing == 0 || now.Before(b.askAt) {
		return dst
	}
	b.asked, b.askAt = now, now.Add(Repeat)
	for i, n := 0, 0; i < b.span && n < min(b.missing, MaxAsk); i++ {
		if !b.at(i).held {
			dst = append(dst, uint16(b.next+int64(i)))
			n++
		}
	}
	return dst
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
			p := Packet[T]{Ext: b.next, Arrived: s.arrived, Missed: s.missed, Value: s.value}
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
		p := Packet[T]{Ext: b.next, Arrived: s.arrived, Missed: s.missed, Value: s.value}
		held := s.held
		b.advance(held)
		if held {
			return p, true
		}
	}
	return Packet[T]{}, false
}

// Deadline is when Ask or Pop will have something at the latest; false if the
// buffer waits for nothing but the next packet.
func (b *Buffer[T]) Deadline() (time.Time, bool) {
	if b.span == 0 {
		return time.Time{}, false
	}
	d := b.startBy
	if d.IsZero() {
		d = b.at(0).arrived.Add(b.cfg.Wait)
	}
	if b.missing > 0 && b.askAt.Before(d) {
		d = b.askAt
	}
	return d, true
}

// Restart forgets the numbering, as when the sender began a new one (Jumped, a
// new SSRC). Take out what is held by Flush before. The next packet that is
// pushed is taken for the first of a stream.
func (b *Buffer[T]) Restart() {
	*b = Buffer[T]{cfg: b.cfg, slots: b.slots}
	clear(b.slots)
}

// extended is the number nearest to the newest one that seq may stand for.
func (b *Buffer[T]) extended(seq uint16) (ext, newest int64) {
	newest = b.next + int64(b.span) - 1
	return newest + int64(int16(seq-uint16(newest))), newest
}

func (b *Buffer[T]) at(i int) *slot[T] { return &b.slots[(b.head+i)&(len(b.slots)-1)] }

// fill puts a value into the i-th place, which is missing.
func (b *Buffer[T]) fill(now time.Time, i int, v T) {
	s := b.at(i)
	*s = slot[T]{held: true, arrived: now, missed: now.Sub(s.arrived), value: v}
	b.missing--
}

// advance takes away the first place.
func (b *Buffer[T]) advance(filled bool) {
	if !filled {
		b.missing--
	}
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

// extend makes the span n places long if it is shorter, the new ones missing;
// the last of them is about to be filled.
func (b *Buffer[T]) extend(now time.Time, n int) {
	b.grow(n)
	if n > b.span+1 {
		b.askSoon(now)
	}
	for b.span < n {
		b.span++
		b.missing++
		*b.at(b.span - 1) = slot[T]{arrived: now}
	}
}

// prepend puts n missing places before the first, which is about to be filled.
func (b *Buffer[T]) prepend(now time.Time, n int) {
	b.grow(b.span + n)
	if n > 1 {
		b.askSoon(now)
	}
	b.head = (b.head - n) & (len(b.slots) - 1)
	b.next -= int64(n)
	b.span += n
	b.missing += n
	for i := range n {
		*b.at(i) = slot[T]{arrived: now}
	}
}

// askSoon is for a hole that was just noticed.
func (b *Buffer[T]) askSoon(now time.Time) {
	at := b.asked.Add(minAsk)
	if at.Before(now) {
		at = now
	}
	if b.missing == 0 || at.Before(b.askAt) {
		b.askAt = at
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
