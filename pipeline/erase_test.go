package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
)

// An erasure that a server has begun and not finished is finished by the next, at
// whatever point that died: before it had removed anything, or after some.
func TestRecoverErases(t *testing.T) {
	for name, done := range map[string]func(*world, string) error{
		"nothing yet": func(*world, string) error { return nil },
		"the audio":   func(w *world, id string) error { return os.RemoveAll(filepath.Dir(w.path(id, ""))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.server(nil, func(meeting.Event) {}, quiet)
			id, track := s.speak(t, opus(50))
			if err := s.Erase(t.Context(), id); !errors.Is(err, meeting.ErrLive) {
				t.Errorf("of a live meeting: %v", err)
			}
			must[meeting.Meeting](t)(s.End(t.Context(), id))
			s.finish(t)
			s.flush(t)
			must[string](t)(w.db.BeginErase(t.Context(), id))
			check(t, done(w, id))

			var told []meeting.Event
			next := w.server(nil, func(e meeting.Event) { told = append(told, e) }, quiet)
			check(t, next.Recover(t.Context()))
			if _, err := next.Meeting(t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
				t.Errorf("the meeting: %v", err)
			}
			if _, err := os.Stat(w.path(id, track)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("its audio: %v", err)
			}
			if len(told) != 1 || told[0].Type != meeting.EventErased || told[0].Data != (meeting.Erased{Meeting: id}) {
				t.Errorf("told: %+v", told)
			}
			next.finish(t)
		})
	}
}

// stuck is a bucket that answers nothing while away is set, and is empty else. It
// stands in for an object store that cannot be reached, which takes hours of real
// time.
type stuck struct {
	driver.Bucket
	away atomic.Bool
}

func (b *stuck) OpenBucketURL(context.Context, *url.URL) (*blob.Bucket, error) {
	return blob.NewBucket(b), nil
}

func (b *stuck) ListPaged(ctx context.Context, _ *driver.ListOptions) (*driver.ListPage, error) {
	if b.away.Load() {
		<-ctx.Done()
	}
	return &driver.ListPage{}, ctx.Err()
}

func (b *stuck) ErrorCode(error) gcerrors.ErrorCode { return gcerrors.Unknown }
func (b *stuck) Close() error                       { return nil }

var away stuck

func init() { blob.DefaultURLMux().RegisterBucket("stuck", &away) }

// A bucket that is away holds up nobody: neither who asks to erase a meeting, nor
// the start of the next server. The meeting is hidden at once, and gone when the
// bucket is back.
func TestEraseBucketAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var told []meeting.Event
		var lines bytes.Buffer
		begin := func() *server {
			s := w.server(nil, func(e meeting.Event) {
				if e.Type == meeting.EventErased {
					told = append(told, e)
				}
			}, slog.New(slog.NewTextHandler(&lines, nil)))
			s.cfg.Recordings = must[*recording.Bucket](t)(recording.OpenBucket(t.Context(), "stuck://bucket", w.dir))
			return s
		}
		within := func(limit time.Duration, f func()) {
			t.Helper()
			start := time.Now()
			f()
			if took := time.Since(start); took > limit {
				t.Errorf("it took %v", took)
			}
		}
		away.away.Store(true)
		s := begin()
		var ids []string
		for range 3 {
			id, _ := s.speak(t, opus(5))
			must[meeting.Meeting](t)(s.End(t.Context(), id))
			ids = append(ids, id)
		}
		for _, id := range append(ids, ids[0]) { // who asks again is told the same
			within(21*time.Second, func() {
				if err := s.Erase(t.Context(), id); !errors.Is(err, meeting.ErrErasing) {
					t.Errorf("erase: %v", err)
				}
			})
			if _, err := s.Meeting(t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
				t.Errorf("the meeting: %v", err)
			}
			if _, err := s.Mix(t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
				t.Errorf("its recording: %v", err)
			}
			if _, err := s.MeetingStats(t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
				t.Errorf("its numbers: %v", err)
			}
			if _, err := os.Stat(filepath.Dir(w.path(id, ""))); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("its audio: %v", err)
			}
		}
		s.finish(t)
		check(t, s.cfg.Recordings.Close())

		lines.Reset()
		next := begin()
		within(11*time.Second, func() { check(t, next.Recover(t.Context())) })
		if n := strings.Count(lines.String(), "cannot be finished"); n != len(ids) {
			t.Errorf("told of %d times:\n%s", n, &lines)
		}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		lines.Reset()
		wg.Go(func() { next.EraseRest(ctx) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(lines.String(), "cannot be finished"); n > len(ids) || len(told) > 0 {
			t.Errorf("told of %d times, erased %v", n, told)
		}
		away.away.Store(false)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if left := must[[]string](t)(w.db.Erasures(t.Context())); len(left) > 0 || len(told) != len(ids) {
			t.Errorf("left %v, erased %v", left, told)
		}
		if err := next.Erase(t.Context(), ids[0]); !errors.Is(err, meeting.ErrNotFound) {
			t.Errorf("of what is gone: %v", err)
		}
		stop()
		wg.Wait()
		next.finish(t)
		check(t, next.cfg.Recordings.Close())
	})
}
