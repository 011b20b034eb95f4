package tracklog

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"verbatim/media/audio"
)

// syncers is how many fsyncs run at once. File systems commit those that wait
// together, so that many logs take little longer than one.
const syncers = 8

// Run is the flusher: it writes and syncs the logs until ctx ends, then all that
// is left once more. It must not run twice at a time. The error says that this
// last time something could not be written.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.o.WriteEvery)
	defer tick.Stop()
	synced := time.Now()
	wake := s.wake
	for {
		select {
		case <-ctx.Done():
			if n := s.flush(true); n > 0 {
				return fmt.Errorf("%d track logs are not on disk", n)
			}
			return nil
		case <-tick.C:
		case <-wake:
		}
		now := time.Now()
		due := now.Sub(synced) >= s.o.SyncEvery
		if due {
			synced = now
		}
		// A disk that fails is asked again with the next tick and not sooner,
		// however many packets press.
		if wake = s.wake; s.flush(due) > 0 {
			wake = nil
		}
	}
}

// wakeFlusher makes Run flush now.
func (s *Store) wakeFlusher() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush writes all logs, and syncs them if due; those that have ended it syncs
// in any case. It returns the number of logs for which something failed.
func (s *Store) flush(due bool) (failed int) {
	s.mu.Lock()
	logs := make([]*Log, 0, len(s.logs))
	for _, l := range s.logs {
		logs = append(logs, l)
	}
	s.mu.Unlock()

	// All writes go first: they cost microseconds, a sync milliseconds.
	var sync []*Log
	for _, l := range logs {
		toWrite, toSync := l.outstanding(due)
		if toWrite && !l.attempt("write", l.write) {
			failed++
		} else if toSync {
			sync = append(sync, l)
		}
	}
	return failed + syncAll(sync)
}

func syncAll(logs []*Log) (failed int) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed and logs
	for range min(syncers, len(logs)) {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for len(logs) > 0 {
				l := logs[0]
				logs = logs[1:]
				mu.Unlock()
				ok := l.attempt("sync", l.sync)
				mu.Lock()
				if !ok {
					failed++
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// outstanding says what there is to do for l, without waiting for those who do
// something to its file.
func (l *Log) outstanding(due bool) (write, sync bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.chunks)
	write = n > 0 && l.chunks[n-1].written < len(l.chunks[n-1].buf)
	sync = (due || l.ended) && (write || l.synced < l.size) && l.store.o.SyncEvery >= 0
	return write && !l.closed, sync && !l.closed
}

// attempt runs write or sync. It logs the first failure of an outage, and its
// end, which is when what failed first succeeds.
func (l *Log) attempt(what string, do func() error) bool {
	l.io.Lock()
	defer l.io.Unlock()
	if l.file == nil {
		return true // closed or removed meanwhile
	}
	err := do()
	switch {
	case err == nil:
	case what == "write":
		l.store.writeFailures.Add(1)
	default:
		l.store.syncFailures.Add(1)
	}
	log := l.store.log.With("meeting", l.key.meeting, "track", l.key.track)
	switch {
	case err != nil && l.failing == "":
		log.Error("track log cannot be written, trying again", "step", what, "error", err)
		l.failing = what
	case err == nil && l.failing == what:
		log.Info("track log is written again", "step", what)
		l.failing = ""
		l.mu.Lock()
		l.warned = false
		l.mu.Unlock()
	}
	return err == nil
}

// write writes all that is new. After a failure the next one begins where this
// one did. Log.io is held.
func (l *Log) write() error {
	for {
		l.mu.Lock()
		var c *chunk
		next := l.seq // of the packet that follows c
		for i := range l.chunks {
			if c = l.chunks[i]; c.written < len(c.buf) {
				if i+1 < len(l.chunks) {
					next = l.chunks[i+1].seq
				}
				break
			}
		}
		if c == nil || c.written == len(c.buf) {
			l.mu.Unlock()
			return nil
		}
		b, off := c.buf[c.written:], l.size
		l.writing = c
		l.mu.Unlock()

		err := l.writeAt(b, off)

		l.mu.Lock()
		l.writing = nil
		if err == nil {
			off = max(off, headerLen)
			f, _ := parse(b)
			l.index.add(mark{f.p.Seq, f.p.Start, off})
			c.written += len(b)
			l.size = off + int64(len(b))
			l.written = next
			if l.store.o.SyncEvery < 0 {
				l.durable = next
			}
			l.drop(max(1, int64(l.store.o.Tail*audio.TickRate/time.Second)))
		}
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// writeAt writes frames at off, in front of the first of them the header.
func (l *Log) writeAt(b []byte, off int64) error {
	if off == 0 {
		if _, err := l.file.WriteAt(header[:], 0); err != nil {
			return err
		}
		off = headerLen
	}
	_, err := l.file.WriteAt(b, off)
	return err
}

// sync makes what is written durable, and with the first of it the file's name.
// Log.io is held.
func (l *Log) sync() error {
	l.mu.Lock()
	size, written, dirty := l.size, l.written, l.synced < l.size
	l.mu.Unlock()
	if !dirty || l.store.o.SyncEvery < 0 {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		l.doubtful = true
		return err
	}
	if !l.named {
		if err := syncDir(filepath.Dir(l.path)); err != nil {
			return err
		}
		if err := syncDir(l.store.o.Dir); err != nil {
			return err
		}
		l.named = true
	}
	l.mu.Lock()
	l.synced = size
	if !l.doubtful {
		l.durable = written
	}
	l.mu.Unlock()
	return nil
}
