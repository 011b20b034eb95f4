package tracklog

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"verbatim/media/audio"
)

// Log is the log of one track. Store.Create and Store.Open return it; everyone
// who got it from there calls Close once. Append is for one goroutine at a time,
// everything else for any number.
type Log struct {
	store     *Store
	key       key
	path      string
	setup     func() error  // opens the file, once; whoever comes later waits for it
	refs      int           // Creates and Opens without their Close; guarded by Store.mu
	forgotten chan struct{} // closed when the store no longer knows this Log

	// io is held while the file is used. It guards file, named, doubtful and
	// failing, and only its holder changes size, index, written, synced, durable,
	// writing, removed, version and the chunks' written.
	io       sync.Mutex
	file     file   // nil before setup and once closed or removed
	named    bool   // the file's name is durable
	doubtful bool   // a sync failed: see doc.go
	failing  string // "write" or "sync": what began to fail and was logged

	mu sync.Mutex // guards everything below
	content
	chunks  []*chunk        // what is in memory, without holes up to seq
	writing *chunk          // being written right now
	memory  int64           // of chunks
	written uint64          // Seq of the first packet that is not in the file
	synced  int64           // the file is durable up to here
	durable uint64          // Seq of the first packet that may not be durable
	version int             // counts the files that took the place of an older one
	readers []chan struct{} // capacity 1 each: there may be more to read
	closed  bool
	removed bool          // changes under io as well
	warned  bool          // that audio was shed, in this outage
	moved   audio.Account // what acct had as Received and Recovered and was shed
}

// content is what is known of a log, on disk and in memory.
type content struct {
	seq   uint64 // of the next packet, as is start
	start int64
	at    time.Time // the newest packet's At, and its duration
	acct  audio.Account
	ended bool
	size  int64 // the file is good up to here
	index index // of the file
}

// take moves c behind f.
func (c *content) take(f *frame) {
	whole := f.p
	whole.Samples *= int64(f.n)
	c.acct.Add(whole)
	c.seq, c.start = f.nextSeq(), f.nextStart()
	c.at = f.packet(f.n - 1).At.Add(audio.Duration(f.p.Samples))
}

func (s *Store) newLog(k key, setup func(*Log) error) *Log {
	l := &Log{
		store:     s,
		key:       k,
		path:      filepath.Join(s.o.Dir, k.meeting, k.track+".log"),
		forgotten: make(chan struct{}),
	}
	l.setup = sync.OnceValue(func() error { return setup(l) })
	return l
}

// Append adds packets to the log, which must continue it without a hole; if one
// does not, none is taken. Payloads are copied. An End packet seals the log; its
// totals are replaced by the log's account, from which they may differ only in
// what was shed here.
//
// Append never waits for readers or the disk, so ctx does not matter: the last
// packets of a session whose context is gone have to get in.
func (l *Log) Append(_ context.Context, packets ...audio.Packet) error {
	l.mu.Lock()
	end, err := l.checkAppend(packets)
	if err != nil || len(packets) == 0 {
		l.mu.Unlock()
		return err
	}
	grown := false
	for i := range packets {
		f := frame{p: packets[i], n: 1}
		if f.p.Kind == audio.End {
			f.p = withTotals(f.p, l.acct)
		}
		c, g := l.room(f.size())
		grown = grown || g
		c.buf = appendFrame(c.buf, &f)
		l.take(&f)
	}
	l.ended = end
	l.wakeReaders()
	l.mu.Unlock()
	if end {
		l.store.wakeFlusher()
	}
	if grown && l.store.crowded() {
		l.store.relieve()
	}
	return nil
}

// checkAppend says why packets cannot follow, and whether they end the log.
func (l *Log) checkAppend(packets []audio.Packet) (end bool, err error) {
	switch {
	case l.removed:
		return false, ErrRemoved
	case l.closed:
		return false, ErrClosed
	case l.ended:
		return false, ErrEnded
	}
	c := l.content
	for i := range packets {
		f := frame{p: packets[i], n: 1}
		switch {
		case end:
			return false, ErrEnded
		case f.p.Seq != c.seq || f.p.Start != c.start:
			return false, fmt.Errorf("append to track log: packet %d at %d where %d at %d has to be", f.p.Seq, f.p.Start, c.seq, c.start)
		}
		if err := f.check(); err != nil {
			return false, fmt.Errorf("append to track log: packet %d: %w", c.seq, err)
		}
		c.take(&f)
		if end = f.p.Kind == audio.End; end {
			if info, _ := f.p.EndInfo(); !sameButShed(info.Totals, c.acct) {
				return false, fmt.Errorf("append to track log: totals %+v where the account is %+v", info.Totals, c.acct)
			}
		}
	}
	return end, nil
}

// sameButShed compares accounts, no matter how much of the audio was shed.
func sameButShed(a, b audio.Account) bool {
	a.Shed, a.Received, a.Recovered = a.Shed+a.Received+a.Recovered, 0, 0
	b.Shed, b.Received, b.Recovered = b.Shed+b.Received+b.Recovered, 0, 0
	return a == b
}

// State returns the Seq and Start of the packet that would come next, the
// account of all packets so far, and whether the last of them is an End.
func (l *Log) State() (next uint64, start int64, acct audio.Account, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq, l.start, l.acct, l.ended
}

// EndsAt is the wall time at which the newest packet ends, by its At. It is the
// zero time in an empty log.
func (l *Log) EndsAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

// Durable is the Seq up to which packets survive whatever happens to the process
// and, if the store syncs, to the machine: all before it, not the packet itself.
// What was shed counts with the rest, its audio is gone all the same. Once a sync
// has failed Durable does not move any more.
func (l *Log) Durable() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Close writes and syncs what is outstanding. The last of those who opened the
// log closes it with that: then readers at the tail of a log that has not ended
// get ErrClosed. Readers of what is there read on. After an error the file may
// lack the newest packets; the log is closed all the same.
func (l *Log) Close() error {
	s := l.store
	s.mu.Lock()
	if l.refs == 0 {
		s.mu.Unlock()
		return ErrClosed
	}
	l.refs--
	last := l.refs == 0
	s.mu.Unlock()

	err := l.finish(last)
	if last {
		s.forget(l)
	}
	if err != nil {
		return fmt.Errorf("close track log: %w", err)
	}
	return nil
}

// finish is Close without the counting.
func (l *Log) finish(last bool) error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.file == nil {
		return nil // removed
	}
	if last {
		l.mu.Lock()
		l.closed = true // before writing, so that nothing comes after it
		l.mu.Unlock()
	}
	err := l.write()
	if e := l.sync(); err == nil {
		err = e
	}
	if !last {
		return err
	}
	l.mu.Lock()
	if err == nil {
		l.dropAll()
	} else {
		l.use(-int(l.memory)) // readers may still want it; it is theirs now
	}
	l.wakeReaders()
	l.mu.Unlock()
	if e := l.file.Close(); err == nil {
		err = e
	}
	l.file = nil
	return err
}
