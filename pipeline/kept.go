package pipeline

import (
	"context"
	"errors"
	"io"
	"sync"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
)

// errErased ends the reading of a recording.
var errErased = errors.New("the meeting was erased")

// kept puts the file into r, if it is kept. If it is not here and cannot be made, r
// leads to the node that has recorded the meeting.
func (p *Pipeline) kept(ctx context.Context, m meeting.Meeting, key string, r *meeting.Recording) error {
	if p.cfg.Store.RecordedElsewhere(m) {
		write := r.Write
		r.Write = func(w io.Writer) error {
			err := write(w)
			var expired *meeting.ExpiredError
			var elsewhere *meeting.ElsewhereError
			if errors.Is(err, meeting.ErrAudioLost) || errors.As(err, &expired) || errors.As(err, &elsewhere) {
				return &meeting.ElsewhereError{Node: m.Recorder}
			}
			return err
		}
	}
	if p.cfg.Recordings == nil || m.RecordedAt == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	k := &keptFile{records: &p.records, meeting: m.ID, cancel: cancel}
	k.mu.Lock() // whoever erases the meeting waits until it is open
	defer k.mu.Unlock()
	if !p.records.read(k) {
		cancel()
		return meeting.ErrNotFound
	}
	f, err := p.cfg.Recordings.Open(ctx, key)
	if err != nil {
		cancel()
		p.records.unread(k)
		if errors.Is(err, recording.ErrNotKept) {
			return nil
		}
		return err
	}
	k.file = f
	r.Kept, r.At = k, f.ModTime()
	return nil
}

// keptFile is a recording while somebody reads it. An erasure closes it under
// them: the bytes of a file that is open stay on the disk for as long as a slow
// client takes.
type keptFile struct {
	records *records
	meeting string
	cancel  context.CancelFunc // of what holds mu

	mu   sync.Mutex      // guards file
	file *recording.File // nil when it is closed
}

// Read implements io.Reader.
func (k *keptFile) Read(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return 0, errErased
	}
	return k.file.Read(b)
}

// Seek implements io.Seeker.
func (k *keptFile) Seek(offset int64, whence int) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return 0, errErased
	}
	return k.file.Seek(offset, whence)
}

// Close ends reading; it may be called more than once.
func (k *keptFile) Close() error {
	k.cancel()
	k.records.unread(k)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	f := k.file
	k.file = nil
	return f.Close()
}

var _ io.ReadSeekCloser = (*keptFile)(nil)

// read says that a file is being read until unread, unless its meeting is being
// erased.
func (r *records) read(k *keptFile) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.erasing[k.meeting] > 0 {
		return false
	}
	if r.readers == nil {
		r.readers = map[*keptFile]bool{}
	}
	r.readers[k] = true
	return true
}

func (r *records) unread(k *keptFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.readers, k)
}
