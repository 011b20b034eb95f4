package tracklog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of this package, to be told apart by errors.Is.
var (
	ErrNotFound = fmt.Errorf("no such track log: %w", fs.ErrNotExist)
	ErrEnded    = errors.New("track log has ended")
	ErrClosed   = errors.New("track log is closed")
	ErrRemoved  = errors.New("track log was removed")
	ErrExpired  = errors.New("the audio of the track log has just expired")
	ErrCorrupt  = errors.New("track log is corrupt")
)

// Options of a Store. The zero value of every field but Dir is its default.
type Options struct {
	Dir         string        // made if missing; a log is <Dir>/<meeting>/<track>.log
	MemoryBytes int64         // for the chunks of all logs together; 64 MiB
	Tail        time.Duration // written audio per log that stays in memory for readers; 2 s
	WriteEvery  time.Duration // 100 ms: what a server that is killed has not written
	SyncEvery   time.Duration // 1 s; below 0: never fsync
	Logger      *slog.Logger  // slog.Default
}

// file is what a log needs of the file that it writes.
type file interface {
	WriteAt(b []byte, off int64) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Store keeps the track logs below one folder. One process at a time may use
// the folder. Its methods may be called by any number of goroutines.
type Store struct {
	o      Options
	log    *slog.Logger
	open   func(path string, flag int) (file, error) // tests put faults in here
	wake   chan struct{}                             // of the flusher; capacity 1
	memory atomic.Int64                              // of the chunks of all logs
	shed   atomic.Int64                              // ticks

	writeFailures, syncFailures atomic.Uint64

	dirs sync.Mutex // held while a meeting's folder is made or removed

	mu   sync.Mutex
	logs map[key]*Log // guarded by mu, as are refs of its logs
}

type key struct{ meeting, track string }

// New makes o.Dir. It starts nothing: nothing is written before Run runs.
func New(o Options) (*Store, error) {
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = 64 << 20
	}
	if o.Tail <= 0 {
		o.Tail = 2 * time.Second
	}
	if o.WriteEvery <= 0 {
		o.WriteEvery = 100 * time.Millisecond
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of track logs: %w", err)
	}
	return &Store{
		o:    o,
		log:  o.Logger,
		open: func(path string, flag int) (file, error) { return os.OpenFile(path, flag, 0o600) },
		wake: make(chan struct{}, 1),
		logs: make(map[key]*Log),
	}, nil
}

// Shed is how much audio, in ticks (48 kHz), was given up because it could not
// be written and memory was full.
func (s *Store) Shed() int64 { return s.shed.Load() }

// Create makes the log of a new track. It fails with fs.ErrExist if the track
// has one.
func (s *Store) Create(meeting, track string) (*Log, error) {
	return s.get(meeting, track, (*Log).create, true)
}

// Open opens the log of a track, whether it has ended or not. A log that is
// open already is shared: all callers get the same Log, and every Create and
// Open has its own Close. Otherwise the file is read once from front to back
// and cut at the first bad frame; it then takes no more memory than its index.
func (s *Store) Open(meeting, track string) (*Log, error) {
	return s.get(meeting, track, (*Log).load, false)
}

// get finds the open log or makes one, which setup opens without holding any
// lock of the store: a long scan stops nobody but those who want this log.
func (s *Store) get(meeting, track string, setup func(*Log) error, fresh bool) (*Log, error) {
	if err := errors.Join(checkID(meeting), checkID(track)); err != nil {
		return nil, err
	}
	l, old := s.acquire(key{meeting, track}, setup)
	if old && fresh {
		s.release(l)
		return nil, fmt.Errorf("create track log: %w", fs.ErrExist)
	}
	if err := l.setup(); err != nil {
		s.release(l)
		return nil, err
	}
	return l, nil
}

// acquire returns the log of k with one more reference; old says that it was
// there before.
func (s *Store) acquire(k key, setup func(*Log) error) (l *Log, old bool) {
	for {
		s.mu.Lock()
		l, old = s.logs[k]
		if !old {
			l = s.newLog(k, setup)
			s.logs[k] = l
		}
		closing := old && l.refs == 0
		if !closing {
			l.refs++
		}
		s.mu.Unlock()
		if !closing {
			return l, old
		}
		// Its last owner is still writing: what the file holds is not settled.
		<-l.forgotten
	}
}

// release gives back a reference of acquire. It says whether that was the last.
func (s *Store) release(l *Log) {
	s.mu.Lock()
	l.refs--
	last := l.refs == 0
	s.mu.Unlock()
	if last {
		s.forget(l)
	}
}

// forget makes the next acquire of the log's key begin anew.
func (s *Store) forget(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[l.key] == l {
		delete(s.logs, l.key)
		close(l.forgotten)
	}
}

// Remove erases the log of a track, and the meeting's folder when that is empty
// then. Whoever has the log open finds it removed: readers end with ErrRemoved
// as soon as they want more, and Append fails.
func (s *Store) Remove(meeting, track string) error {
	if err := errors.Join(checkID(meeting), checkID(track)); err != nil {
		return err
	}
	l, _ := s.acquire(key{meeting, track}, (*Log).load)
	err := l.erase()
	s.forget(l)
	s.release(l)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("remove track log: %w", err)
	}
	return err
}

// RemoveMeeting erases all logs of a meeting. That there are none is no error.
func (s *Store) RemoveMeeting(meeting string) error {
	if err := checkID(meeting); err != nil {
		return err
	}
	dir := filepath.Join(s.o.Dir, meeting)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove meeting: %w", err)
	}
	var errs []error
	for _, e := range entries {
		track, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok {
			continue
		}
		if err := s.Remove(meeting, track); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, err)
		}
	}
	s.dirs.Lock()
	defer s.dirs.Unlock()
	if err := os.RemoveAll(dir); err != nil {
		errs = append(errs, fmt.Errorf("remove meeting: %w", err))
	}
	return errors.Join(errs...)
}

// erase marks l removed and makes its bytes leave the disk: at once, by cutting
// the file, even while a reader has it open.
func (l *Log) erase() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	l.removed = true
	l.dropAll()
	l.wakeReaders()
	l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // nothing in it is of any use now
		l.file = nil
	}

	// Even if it cannot be cut, it is gone once nobody has it open any more.
	_ = os.Truncate(l.path, 0)
	s := l.store
	dir := filepath.Dir(l.path)
	s.dirs.Lock()
	err := os.Remove(l.path)
	_ = os.Remove(dir) // fails while there are other tracks in it
	s.dirs.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case err != nil || s.o.SyncEvery < 0:
		return err
	}
	if err := syncDir(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(s.o.Dir)
}

// checkID keeps ids from reaching out of the store's folder.
func checkID(id string) error {
	if id == "" || strings.ContainsAny(id, "/\\\x00") || strings.Contains(id, "..") || !filepath.IsLocal(id) || id == "." {
		return fmt.Errorf("id %q is not fit for a file name", id)
	}
	return nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
