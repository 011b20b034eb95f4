package tracklog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"

	"verbatim/media/audio"
)

// Encode writes the packets of a track as its file has them, for Decode.
func Encode(w io.Writer, packets iter.Seq2[audio.Packet, error]) error {
	out := bufio.NewWriterSize(w, readBuffer)
	if _, err := out.Write(header[:]); err != nil {
		return fmt.Errorf("write a track: %w", err)
	}
	var buf []byte
	put := func(f *frame) error {
		buf = appendFrame(buf[:0], f)
		if _, err := out.Write(buf); err != nil {
			return fmt.Errorf("write a track: %w", err)
		}
		return nil
	}
	var run frame // of shed packets that is still to be written, if its n is not 0
	for p, err := range packets {
		if err != nil {
			return err
		}
		f := frame{p: p, n: 1}
		if run.n > 0 {
			if run.join(&f) {
				continue
			}
			if err := put(&run); err != nil {
				return err
			}
			run.n = 0
		}
		if p.Kind == audio.Shed {
			run = f
			continue
		}
		if err := put(&f); err != nil {
			return err
		}
	}
	if run.n > 0 {
		if err := put(&run); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a track: %w", err)
	}
	return nil
}

// Decode reads what Encode wrote of a track of at most so many ticks, up to the End
// packet. Nothing that it reads is trusted: what cannot be the track ends with
// ErrCorrupt or io.ErrUnexpectedEOF, as the last thing that it returns. Payloads are
// valid until the iterator moves on.
func Decode(r io.Reader, most int64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		if err := decodeAll(bufio.NewReaderSize(r, maxFrame), most, yield); !errors.Is(err, errDone) {
			yield(audio.Packet{}, fmt.Errorf("read a track: %w", err))
		}
	}
}

func decodeAll(r *bufio.Reader, most int64, yield func(audio.Packet, error) bool) error {
	head, err := peek(r, headerLen)
	if err != nil {
		return err
	}
	if [headerLen]byte(head) != header {
		return fmt.Errorf("%w: it is none", ErrCorrupt)
	}
	done := headerLen
	var seq uint64
	var start int64
	for {
		if _, err := r.Discard(done); err != nil {
			return err
		}
		b, err := peek(r, prefixLen)
		if err != nil {
			return err
		}
		f, n, err := decode(b)
		if errors.Is(err, errShort) {
			if b, err = peek(r, n); err != nil {
				return err
			}
			f, n, err = decode(b)
		}
		switch {
		case err != nil:
			return err
		case f.p.Seq != seq || f.p.Start != start:
			return fmt.Errorf("%w: packet %d at %d where %d at %d has to be", ErrCorrupt, f.p.Seq, f.p.Start, seq, start)
		case f.nextStart() > most, f.n > 1 && f.p.Samples == 0:
			return fmt.Errorf("%w: %d packets up to %d, at most %d ticks", ErrCorrupt, f.n, f.nextStart(), most)
		}
		for i := range f.n {
			if !yield(f.packet(i), nil) {
				return errDone
			}
		}
		if f.p.Kind == audio.End {
			return errDone
		}
		seq, start, done = f.nextSeq(), f.nextStart(), n
	}
}

// peek is the next n bytes, all of them.
func peek(r *bufio.Reader, n int) ([]byte, error) {
	b, err := r.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
