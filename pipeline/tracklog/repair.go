package tracklog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"verbatim/media/audio"
)

// clockSlack is how far a frame behind a damage may be off the time that it
// should have by its place.
const clockSlack = time.Minute

// repair writes a log whose file is damaged in the middle anew: what cannot be
// read becomes shed packets of the same Seqs and the same length, so that a bit
// that fell over costs a packet and not the rest of the track. Log.io is held.
func (l *Log) repair(src io.ReaderAt, size int64) error {
	r, err := l.rewrite()
	if err != nil {
		return fmt.Errorf("repair track log: %w", err)
	}
	sc := newScanner(src, mark{off: headerLen}, size, 256<<10)
	var lost int64
	for err == nil && !r.ended {
		f, serr := sc.next()
		if errors.Is(serr, ErrCorrupt) {
			f, serr = sc.resync(r.at)
		}
		if errors.Is(serr, io.EOF) {
			break
		}
		if err = serr; err != nil {
			break
		}
		lost += f.p.Start - r.start
		for _, hole := range r.holes(&f) {
			if err == nil {
				err = r.add(hole)
			}
		}
		if f.p.Kind == audio.End && !endsAt(&f, r.start) {
			break
		}
		if err == nil {
			err = r.add(f)
		}
	}
	if err = r.finish(err); err != nil {
		return fmt.Errorf("repair track log: %w", err)
	}
	l.store.log.Warn("a damaged track log was repaired; what could not be read is shed", "meeting", l.key.meeting,
		"track", l.key.track, "lost", audio.Duration(lost), "packets", r.seq)
	return nil
}

// holes are the packets that are missing before next: one of all the time, and
// empty ones.
func (r *rewriting) holes(next *frame) (hs []frame) {
	n := next.p.Seq - r.seq
	if n == 0 {
		return nil
	}
	p := audio.Packet{Seq: r.seq, Start: r.start, Samples: next.p.Start - r.start, Kind: audio.Shed, At: r.at}
	if p.At.IsZero() {
		p.At = next.p.At
	}
	hs = append(hs, frame{p: p, n: 1})
	if n > 1 {
		p.Seq, p.Start, p.Samples = p.Seq+1, next.p.Start, 0
		hs = append(hs, frame{p: p, n: n - 1})
	}
	return hs
}

// endsAt reports whether an End is that of a track of this length.
func endsAt(f *frame, start int64) bool {
	info, err := f.p.EndInfo()
	return err == nil && info.Totals.Total() == start
}

// resync finds the next frame behind one that is damaged, where at is the time
// that should come next. It returns io.EOF if there is none.
func (s *scanner) resync(at time.Time) (frame, error) {
	for ; s.pos < len(s.buf) || s.off < s.end; s.pos++ {
		f, n, err := decode(s.buf[min(s.pos, len(s.buf)):])
		if errors.Is(err, errShort) && s.off < s.end {
			if err := s.fill(n); err != nil {
				return f, err
			}
			f, n, err = decode(s.buf[s.pos:])
		}
		if err == nil && s.plausible(&f, at) {
			s.pos += n
			s.seq, s.start = f.nextSeq(), f.nextStart()
			return f, nil
		}
	}
	return frame{}, io.EOF
}

// plausible reports whether f can be of this track and behind what was read:
// what is found behind a damage may be of another file, or part of a payload.
func (s *scanner) plausible(f *frame, at time.Time) bool {
	if f.p.Seq < s.seq || f.p.Seq-s.seq > math.MaxInt32 || f.p.Start < s.start || f.p.Seq == s.seq && f.p.Start != s.start {
		return false
	}
	off := f.p.At.Sub(at.Add(audio.Duration(f.p.Start - s.start)))
	return at.IsZero() || -clockSlack <= off && off <= clockSlack
}
