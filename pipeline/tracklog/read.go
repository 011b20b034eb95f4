package tracklog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"verbatim/media/audio"
)

// readBuffer is what a reader takes while it reads the file.
const readBuffer = 32 << 10

// errDone ends a Read without an error: after the last packet, or because the
// caller wants no more.
var errDone = errors.New("done")

// Read returns the packets from the given Seq on, each once, in order and
// without holes. At the tail it waits for more; it ends after the End packet,
// and at once if from lies behind that. An error is the last thing it returns:
// ctx.Err(), ErrClosed, ErrRemoved, ErrExpired, or what is wrong with the file.
//
// A packet may turn into a shed one of the same Seq, Start and Samples as long
// as it was not read. Payloads are valid until the iterator moves on.
func (l *Log) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	l.mu.Lock()
	version := l.version
	l.mu.Unlock()
	return func(yield func(audio.Packet, error) bool) {
		r := reader{l: l, seq: from, version: version, wake: make(chan struct{}, 1), yield: yield}
		l.mu.Lock()
		l.readers = append(l.readers, r.wake)
		l.mu.Unlock()
		defer func() {
			r.closeFile()
			l.mu.Lock()
			l.readers = slices.DeleteFunc(l.readers, func(c chan struct{}) bool { return c == r.wake })
			l.mu.Unlock()
		}()
		if err := r.run(ctx); !errors.Is(err, errDone) {
			yield(audio.Packet{}, err)
		}
	}
}

// SeqAt is the Seq of the packet in which tick lies, at or behind the end that
// of the next packet. In a log that has ended this is the End packet, as if it
// lasted for ever: reading from SeqAt always ends with it. Where the file cannot
// be read, it is the Seq of a packet at most 64 KiB earlier.
func (l *Log) SeqAt(tick int64) uint64 {
	tick = max(tick, 0)
	l.mu.Lock()
	if tick >= l.start {
		defer l.mu.Unlock()
		if l.ended {
			return l.seq - 1
		}
		return l.seq
	}
	if i := l.chunkOf(func(c *chunk) bool { return c.start <= tick }); i >= 0 {
		defer l.mu.Unlock()
		b := l.chunks[i].buf
		f, n := parse(b)
		for f.nextStart() <= tick {
			b = b[n:]
			f, n = parse(b)
		}
		return f.seqAt(tick)
	}
	at, end := l.index.before(func(m mark) bool { return m.start <= tick }), l.size
	l.mu.Unlock()

	src, err := os.Open(l.path)
	if err != nil {
		return at.seq
	}
	defer src.Close()
	sc := newScanner(src, at, end, 32<<10)
	for {
		f, err := sc.next()
		if err != nil {
			return at.seq
		}
		if f.nextStart() > tick {
			return f.seqAt(tick)
		}
	}
}

// wakeReaders makes readers look again. Log.mu is held.
func (l *Log) wakeReaders() {
	for _, c := range l.readers {
		select {
		case c <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// reader is one Read that is under way.
type reader struct {
	l     *Log
	seq   uint64 // of the packet to yield next
	wake  chan struct{}
	yield func(audio.Packet, error) bool
	// version is the log's when Read was called.
	version int

	c    *chunk // where seq lies in memory, at pos, unless c is gone
	pos  int
	file *os.File // open while reading the file, with sc on it
	sc   *scanner
}

// place is where a reader goes on: bytes in memory, or the file up to end. If it
// is neither, there is nothing yet.
type place struct {
	memory []byte
	from   mark // of the file, at or before the wanted packet
	end    int64
}

func (r *reader) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, err := r.look()
		switch {
		case err != nil:
			return err
		case at.memory != nil:
			r.closeFile()
			err = r.fromMemory(ctx, at.memory)
		case at.end > 0:
			err = r.fromFile(ctx, at)
		default:
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
		}
		if err != nil {
			return err
		}
	}
}

// look finds the place of the next packet.
func (r *reader) look() (place, error) {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.removed:
		return place{}, ErrRemoved
	case l.version != r.version:
		return place{}, ErrExpired
	case r.seq >= l.seq && l.ended:
		return place{}, errDone
	case r.seq >= l.seq && l.closed:
		return place{}, ErrClosed
	case r.seq >= l.seq:
		return place{}, nil
	}
	if r.c == nil || r.c.gone || r.pos == len(r.c.buf) {
		i := l.chunkOf(func(c *chunk) bool { return c.seq <= r.seq })
		if i < 0 {
			r.c = nil
			return place{from: l.index.before(func(m mark) bool { return m.seq <= r.seq }), end: l.size}, nil
		}
		r.c, r.pos = l.chunks[i], 0
	}
	b := r.c.buf[r.pos:]
	r.pos = len(r.c.buf)
	return place{memory: b}, nil
}

func (r *reader) fromMemory(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		f, n := parse(b)
		b = b[n:]
		if err := r.deliver(ctx, &f); err != nil {
			return err
		}
	}
	return nil
}

// fromFile reads up to at.end, from where it left the file or from at.from.
func (r *reader) fromFile(ctx context.Context, at place) error {
	if r.file == nil {
		f, err := os.Open(r.l.path)
		if err != nil {
			return r.explain(err)
		}
		r.file = f
		if r.replaced() {
			return ErrExpired // and this is the new file
		}
		r.sc = newScanner(f, at.from, at.end, readBuffer)
	}
	r.sc.end = at.end
	for {
		f, err := r.sc.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return r.explain(err)
		}
		if err := r.deliver(ctx, &f); err != nil {
			return err
		}
	}
}

// explain says why the file cannot be read: because it was removed or replaced,
// if it was.
func (r *reader) explain(err error) error {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	switch {
	case r.l.removed:
		return ErrRemoved
	case r.l.version != r.version:
		return ErrExpired
	}
	return fmt.Errorf("read track log %s: %w", r.l.path, err)
}

// replaced says that the file is not that of when Read was called.
func (r *reader) replaced() bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return r.l.version != r.version
}

// deliver yields what of f is not yet behind the reader.
func (r *reader) deliver(ctx context.Context, f *frame) error {
	for r.seq < f.nextSeq() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !r.yield(f.packet(r.seq-f.p.Seq), nil) {
			return errDone
		}
		r.seq++
	}
	return nil
}

func (r *reader) closeFile() {
	if r.file != nil {
		r.file.Close()
		r.file, r.sc = nil, nil
	}
}
