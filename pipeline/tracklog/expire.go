package tracklog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"verbatim/media/audio"
)

// tmpSuffix is that of the file that is to take the place of a log's.
const tmpSuffix = ".tmp"

// Expire gives up the audio of a log that has ended and erases it from the
// disk: every coded packet becomes a shed one of the same Seq, Start and
// Samples, and the account and the End's totals move with them. Whoever is
// reading then ends with ErrExpired, so that nobody takes a half for the whole.
// A log without audio stays as it is.
//
// The file is replaced by a new one at once: after a crash either the old or the
// new one is there. When Expire fails the log is as good as before.
func (l *Log) Expire() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	acct, ended, removed := l.acct, l.ended, l.removed
	l.mu.Unlock()
	switch {
	case removed:
		return ErrRemoved
	case l.file == nil:
		return ErrClosed
	case !ended:
		return errors.New("expire track log: it has not ended")
	case acct.Received+acct.Recovered == 0:
		return nil
	}
	if err := l.write(); err != nil {
		return fmt.Errorf("expire track log: %w", err)
	}
	src, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("expire track log: %w", err)
	}
	defer src.Close()
	l.mu.Lock()
	sc := newScanner(src, mark{off: headerLen}, l.size, 256<<10)
	l.mu.Unlock()
	r, err := l.rewrite()
	if err != nil {
		return fmt.Errorf("expire track log: %w", err)
	}
	for !r.ended && err == nil {
		var f frame
		if f, err = sc.next(); err == nil {
			f.shed()
			err = r.add(f)
		}
	}
	if err = r.finish(err); err != nil {
		return fmt.Errorf("expire track log: %w", err)
	}
	return nil
}

// rewriting makes a file that takes the place of a log's. Log.io is held from
// its begin to its finish.
type rewriting struct {
	content
	l    *Log
	file file
	runs runs
}

func (l *Log) rewrite() (*rewriting, error) {
	f, err := l.store.open(l.path+tmpSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	r := &rewriting{l: l, file: f, content: content{size: headerLen}}
	if _, err = f.WriteAt(header[:], 0); err != nil {
		return nil, r.finish(err)
	}
	return r, nil
}

// add appends a frame. An End gets the totals of what is before it.
func (r *rewriting) add(f frame) error {
	if f.p.Kind == audio.End {
		f.p = withTotals(f.p, r.acct)
		r.ended = true
	}
	r.take(&f)
	if r.runs.add(f); len(r.runs.out) < markEvery {
		return nil
	}
	return r.drain()
}

func (r *rewriting) drain() error {
	if len(r.runs.out) == 0 {
		return nil
	}
	f, _ := parse(r.runs.out)
	r.index.add(mark{f.p.Seq, f.p.Start, r.size})
	_, err := r.file.WriteAt(r.runs.out, r.size)
	r.size += int64(len(r.runs.out))
	r.runs.out = r.runs.out[:0]
	return err
}

// finish puts the file in its place, unless err says that something went wrong
// before: then it removes it.
func (r *rewriting) finish(err error) error {
	l, tmp := r.l, r.l.path+tmpSuffix
	if err == nil {
		r.runs.end()
		err = r.drain()
	}
	if err == nil && l.store.o.SyncEvery >= 0 {
		err = r.file.Sync()
	}
	if err == nil {
		// Before the new file can be seen: no reader takes it for the old one.
		l.mu.Lock()
		l.version++
		l.mu.Unlock()
		err = os.Rename(tmp, l.path)
	}
	if err != nil {
		_ = r.file.Close() // what went wrong before it says more
		_ = os.Remove(tmp)
		return err
	}
	old := l.file
	l.file = r.file
	l.mu.Lock()
	l.dropAll()
	l.content = r.content
	l.written, l.synced, l.durable = r.seq, r.size, r.seq
	l.wakeReaders()
	l.mu.Unlock()
	if l.store.o.SyncEvery >= 0 {
		err = syncDir(filepath.Dir(l.path))
	}
	// The old file has no name any more. Its bytes go now, even while a reader
	// has it open.
	_ = old.Truncate(0)
	_ = old.Close()
	return err
}

// runs encodes frames, and makes one of shed ones that follow each other.
type runs struct {
	out []byte
	run frame // not yet in out; n is 0 when there is none
}

func (r *runs) add(f frame) {
	if r.run.n > 0 && r.run.join(&f) {
		return
	}
	r.end()
	if f.p.Kind == audio.Shed {
		r.run = f
		return
	}
	r.out = appendFrame(r.out, &f)
}

func (r *runs) end() {
	if r.run.n > 0 {
		r.out = appendFrame(r.out, &r.run)
	}
	r.run.n = 0
}

// shed makes a coded packet one whose audio was given up.
func (f *frame) shed() {
	if f.p.Kind == audio.Coded {
		f.p.Kind, f.p.Origin, f.p.Format, f.p.Payload = audio.Shed, audio.Wire, audio.FormatNone, nil
	}
}
