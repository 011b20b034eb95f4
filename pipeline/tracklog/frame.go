package tracklog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"time"

	"verbatim/media/audio"
)

const (
	headerLen  = 8
	prefixLen  = 4 + 4   // length, crc
	fixedLen   = 4*8 + 3 // seq, start, samples, at; kind, origin, format
	runLen     = 4 + 4   // count and span of a run of shed packets
	maxPayload = 64 << 10
	maxFrame   = prefixLen + fixedLen + maxPayload
)

var header = [headerLen]byte{'v', 'e', 'r', 'b', 'l', 'o', 'g', 1}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errShort is decode's answer to a frame that does not end within the bytes
// it was given.
var errShort = errors.New("frame is incomplete")

// frame is what one frame of the file holds: a packet, or a run of n shed
// packets that differ in Seq, Start and At only.
type frame struct {
	p    audio.Packet
	n    uint64 // packets, 1 but for runs
	span int64  // microseconds from the first packet's At to the last one's
}

// packet is the i-th packet of f. A run's times lie evenly between the first
// and the last, so that At never runs back.
func (f *frame) packet(i uint64) audio.Packet {
	if i == 0 {
		return f.p
	}
	p := f.p
	p.Seq += i
	p.Start += int64(i) * p.Samples
	p.At = p.At.Add(time.Duration(f.span*int64(i)/int64(f.n-1)) * time.Microsecond)
	return p
}

// nextSeq and nextStart are what the frame after f begins with.
func (f *frame) nextSeq() uint64  { return f.p.Seq + f.n }
func (f *frame) nextStart() int64 { return f.p.Start + int64(f.n)*f.p.Samples }

// seqAt is the packet of f that contains tick, which must lie before nextStart.
func (f *frame) seqAt(tick int64) uint64 {
	if tick <= f.p.Start {
		return f.p.Seq
	}
	return f.p.Seq + uint64((tick-f.p.Start)/f.p.Samples)
}

// join makes other, which follows f, part of the run f, where that is possible.
func (f *frame) join(other *frame) bool {
	span := other.p.At.Sub(f.p.At).Microseconds() + other.span
	if f.p.Kind != audio.Shed || other.p.Kind != audio.Shed || f.p.Samples != other.p.Samples ||
		span < f.span || span > math.MaxUint32 || f.n+other.n > math.MaxUint32 {
		return false
	}
	f.n += other.n
	f.span = span
	return true
}

func (f *frame) size() int {
	if f.p.Kind == audio.Shed {
		return prefixLen + fixedLen + runLen
	}
	return prefixLen + fixedLen + len(f.p.Payload)
}

// check says what makes f impossible, apart from its place in a track.
func (f *frame) check() error {
	p := &f.p
	switch {
	case !p.Kind.Valid():
		return fmt.Errorf("%v packet", p.Kind)
	case p.Samples < 0 || p.Start < 0 || p.Samples > (math.MaxInt64-p.Start)/int64(f.n):
		return fmt.Errorf("%d samples at %d", p.Samples, p.Start)
	case len(p.Payload) > maxPayload:
		return fmt.Errorf("payload of %d bytes, at most %d are possible", len(p.Payload), maxPayload)
	case p.Kind == audio.End:
		if _, err := p.EndInfo(); err != nil || p.Samples != 0 {
			return errors.New("end packet without its totals")
		}
	case p.Kind != audio.Coded && len(p.Payload) > 0:
		return fmt.Errorf("%v packet with a payload", p.Kind)
	}
	return nil
}

// appendFrame appends the bytes of f to b. It does not allocate while b has
// room for f.size() bytes.
func appendFrame(b []byte, f *frame) []byte {
	at, size := len(b), f.size()
	b = slices.Grow(b, size)[:at+size]
	h := b[at:]
	binary.BigEndian.PutUint32(h[0:], uint32(size-prefixLen))
	binary.BigEndian.PutUint64(h[8:], f.p.Seq)
	binary.BigEndian.PutUint64(h[16:], uint64(f.p.Start))
	binary.BigEndian.PutUint64(h[24:], uint64(f.p.Samples))
	binary.BigEndian.PutUint64(h[32:], uint64(f.p.At.UnixMicro()))
	h[40], h[41], h[42] = byte(f.p.Kind), byte(f.p.Origin), byte(f.p.Format)
	if f.p.Kind == audio.Shed {
		binary.BigEndian.PutUint32(h[43:], uint32(f.n))
		binary.BigEndian.PutUint32(h[47:], uint32(f.span))
	} else {
		copy(h[43:], f.p.Payload)
	}
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(h[prefixLen:], castagnoli))
	return b
}

// frameLen is the length of the frame that b begins with. It may be used on
// bytes that this process made.
func frameLen(b []byte) int { return prefixLen + int(binary.BigEndian.Uint32(b)) }

// parse reads the frame that b, made by this process, begins with. The
// packet's payload is part of b.
func parse(b []byte) (frame, int) {
	n := frameLen(b)
	f := frame{n: 1, p: audio.Packet{
		Seq:     binary.BigEndian.Uint64(b[8:]),
		Start:   int64(binary.BigEndian.Uint64(b[16:])),
		Samples: int64(binary.BigEndian.Uint64(b[24:])),
		At:      time.UnixMicro(int64(binary.BigEndian.Uint64(b[32:]))),
		Kind:    audio.Kind(b[40]),
		Origin:  audio.Origin(b[41]),
		Format:  audio.Format(b[42]),
	}}
	switch {
	case n == prefixLen+fixedLen:
	case f.p.Kind == audio.Shed:
		f.n = uint64(binary.BigEndian.Uint32(b[43:]))
		f.span = int64(binary.BigEndian.Uint32(b[47:]))
	default:
		f.p.Payload = b[prefixLen+fixedLen : n : n]
	}
	return f, n
}

// decode reads the frame that b begins with, trusting nothing. With errShort,
// n is how many bytes are needed to know more.
func decode(b []byte) (f frame, n int, err error) {
	if len(b) < prefixLen {
		return f, prefixLen, errShort
	}
	length := binary.BigEndian.Uint32(b)
	if length < fixedLen || length > maxFrame-prefixLen {
		return f, 0, fmt.Errorf("%w: frame of %d bytes", ErrCorrupt, length)
	}
	n = prefixLen + int(length)
	if len(b) < n {
		return f, n, errShort
	}
	if crc32.Checksum(b[prefixLen:n], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return f, 0, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	if audio.Kind(b[40]) == audio.Shed && length != fixedLen+runLen {
		return f, 0, fmt.Errorf("%w: shed packet of %d bytes", ErrCorrupt, length)
	}
	f, n = parse(b)
	if f.n == 0 {
		return f, 0, fmt.Errorf("%w: empty run", ErrCorrupt)
	}
	if err := f.check(); err != nil {
		return f, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return f, n, nil
}

// scanner reads the frames of a part of a file one after the other and holds
// them to the invariants of a track. Frames are valid until the next call.
type scanner struct {
	src      io.ReaderAt
	off, end int64 // the part of the file that is not yet in buf
	buf      []byte
	pos      int // buf[pos:] is still to be decoded
	seq      uint64
	start    int64 // with seq: what the next frame has to begin with
}

func newScanner(src io.ReaderAt, from mark, end int64, buffer int) *scanner {
	return &scanner{src: src, off: from.off, end: end, seq: from.seq, start: from.start, buf: make([]byte, 0, buffer)}
}

// offset is where in the file the next frame begins.
func (s *scanner) offset() int64 { return s.off - int64(len(s.buf)-s.pos) }

// next returns io.EOF at the end of the part, ErrCorrupt where a frame cannot
// be one, and the error of the file where that could not be read.
func (s *scanner) next() (frame, error) {
	for {
		f, n, err := decode(s.buf[s.pos:])
		switch {
		case err == nil && (f.p.Seq != s.seq || f.p.Start != s.start):
			return f, fmt.Errorf("%w: packet %d at %d where %d at %d has to be", ErrCorrupt, f.p.Seq, f.p.Start, s.seq, s.start)
		case err == nil:
			s.pos += n
			s.seq, s.start = f.nextSeq(), f.nextStart()
			return f, nil
		case !errors.Is(err, errShort):
			return f, err
		case s.off == s.end && s.pos == len(s.buf):
			return f, io.EOF
		case s.off == s.end:
			return f, fmt.Errorf("%w: torn frame", ErrCorrupt)
		}
		if err := s.fill(n); err != nil {
			return f, err
		}
	}
}

// fill makes room for at least need bytes in buf and reads as much as fits.
func (s *scanner) fill(need int) error {
	rest := copy(s.buf[:cap(s.buf)], s.buf[s.pos:])
	s.buf, s.pos = s.buf[:rest], 0
	if need > cap(s.buf) {
		s.buf = append(make([]byte, 0, need), s.buf...)
	}
	room := int(min(int64(cap(s.buf)-rest), s.end-s.off))
	n, err := s.src.ReadAt(s.buf[rest:rest+room], s.off)
	s.buf = s.buf[:rest+n]
	s.off += int64(n)
	switch {
	case n == room:
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: file ends early", ErrCorrupt)
	}
	return fmt.Errorf("read: %w", err)
}
