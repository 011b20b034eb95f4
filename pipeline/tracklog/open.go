package tracklog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"verbatim/media/audio"
)

// create makes the file. Its first bytes come with the first flush.
func (l *Log) create() error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.removed {
		return ErrRemoved
	}
	l.store.dirs.Lock()
	defer l.store.dirs.Unlock()
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("create track log: %w", err)
	}
	f, err := l.store.open(l.path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("create track log: %w", err)
	}
	l.file = f
	return nil
}

// load opens an existing file. It cuts off what is bad at its end, and makes shed
// packets of what is bad before that.
func (l *Log) load() error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.removed {
		return ErrNotFound // the path may be that of a new log by now
	}
	src, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("open track log: %w", err)
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("open track log: %w", err)
	}
	found, damaged, err := scan(src, info.Size())
	if err != nil {
		return fmt.Errorf("open track log %s: %w", l.path, err)
	}
	f, err := l.store.open(l.path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("open track log: %w", err)
	}
	if damaged {
		l.file = f
		if err := l.repair(src, info.Size()); err != nil {
			l.file = nil
			return errors.Join(err, f.Close())
		}
		return nil
	}
	if found.size < info.Size() {
		if err := f.Truncate(found.size); err != nil {
			_ = f.Close()
			return fmt.Errorf("cut track log: %w", err)
		}
		l.store.log.Warn("track log was cut at the first bad frame", "meeting", l.key.meeting,
			"track", l.key.track, "cut_bytes", info.Size()-found.size, "packets", found.seq)
	}
	l.file = f
	l.mu.Lock()
	defer l.mu.Unlock()
	l.content, l.written = found, found.seq
	return nil
}

// scan reads a whole file and returns what it holds up to the first bad frame,
// and whether there are good ones behind it. A file that cannot be read, or that is none of ours, is an error instead, so
// that it is left alone.
func scan(src io.ReaderAt, size int64) (c content, damaged bool, err error) {
	var head [headerLen]byte
	n, err := src.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return c, false, err
	}
	if n < headerLen || head == [headerLen]byte{} {
		return c, false, nil // nothing was written, or nothing of it survived
	}
	if head != header {
		return c, false, fmt.Errorf("%w: header %q", ErrCorrupt, head)
	}
	c.size = headerLen
	sc := newScanner(src, mark{off: headerLen}, size, 256<<10)
	for !c.ended {
		f, err := sc.next()
		if errors.Is(err, ErrCorrupt) {
			_, err = sc.resync(c.at)
			damaged = err == nil
		}
		if damaged || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, false, err
		}
		if f.p.Kind == audio.End {
			if info, _ := f.p.EndInfo(); info.Totals != c.acct {
				break
			}
			c.ended = true
		}
		c.index.add(mark{c.seq, c.start, c.size})
		c.take(&f)
		c.size = sc.offset()
	}
	return c, damaged, nil
}
