package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

// background runs Retain until stop.
func (s *server) background(keep time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Retain(ctx, keep) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// bubble runs a test in a synctest bubble. The folder is made outside of it.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { test(t, newWorldIn(t, dir)) })
}

// heard are the samples of a track's audio that are not silent.
func (s *server) heard(t testing.TB, meetingID, trackID string) (n int, err error) {
	t.Helper()
	_, frames, err := s.Audio(t.Context(), meetingID, trackID)
	if err != nil {
		return 0, err
	}
	for f, err := range frames {
		if err != nil {
			return n, err
		}
		for _, v := range f.PCM {
			if v != 0 {
				n++
			}
		}
	}
	return n, nil
}

func TestRetention(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.server(supervisor(spell{}), nobody, quiet)
		stop := s.background(time.Hour)
		meetingID, trackID := s.speak(t, toneCode(100))
		// Another track never gets a transcript: its engine hangs.
		awake := make(chan struct{})
		hangs := spell{func(ctx context.Context) error {
			select {
			case <-awake:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		other := w.server(supervisor(hangs), nobody, quiet)
		_, pendingID := other.speak(t, toneCode(100))

		synctest.Wait()
		before := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if n, err := s.heard(t, meetingID, trackID); n == 0 || err != nil {
			t.Errorf("after 59 minutes %d samples are left, %v", n, err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var expired *meeting.ExpiredError
		if _, err := s.heard(t, meetingID, trackID); !errors.As(err, &expired) || time.Since(expired.At) > 2*time.Minute {
			t.Fatalf("after an hour: %v", err)
		}
		for _, row := range must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)).Tracks {
			want, was := meeting.AudioKept, (*time.Time)(nil)
			if row.ID == trackID {
				want, was = meeting.AudioExpired, row.AudioExpiredAt
				if was == nil || !was.Equal(expired.At) {
					t.Errorf("it expired at %v, the error says %v", was, expired.At)
				}
				if row.Coverage != before.Tracks[0].Coverage || row.Coverage.ReceivedMS != 10_000 {
					t.Errorf("coverage %+v, was %+v", row.Coverage, before.Tracks[0].Coverage)
				}
			}
			if row.Audio != want || row.AudioExpiredAt != was {
				t.Errorf("audio of %s: %s, %v", row.ID, row.Audio, row.AudioExpiredAt)
			}
		}
		if size := must[os.FileInfo](t)(os.Stat(w.path(meetingID, trackID))).Size(); size > 500 {
			t.Errorf("%d bytes are left", size)
		}

		// What waits for its transcript stays, however long it takes.
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if n, err := other.heard(t, meetingID, pendingID); n == 0 || err != nil {
			t.Errorf("of what is pending %d samples are left, %v", n, err)
		}
		close(awake)
		other.finish(t)
		s.finish(t)
		stop()
	})
}

func TestRetentionAtOnceAndNever(t *testing.T) {
	for name, c := range map[string]struct {
		keep, after time.Duration
		kept        bool
	}{
		"at once": {0, 0, false},
		"never":   {-1, 100 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := w.server(supervisor(spell{}), nobody, quiet)
				stop := s.background(c.keep)
				meetingID, trackID := s.speak(t, toneCode(40))
				synctest.Wait()
				time.Sleep(c.after)
				synctest.Wait()
				if n, err := s.heard(t, meetingID, trackID); (n > 0) != c.kept || (err == nil) != c.kept {
					t.Errorf("%d samples are left, %v", n, err)
				}
				s.finish(t)
				stop()
			})
		})
	}
}

// What cannot be removed now is tried again, and told of once. Logs that are
// gone, or no logs, hold nobody up.
func TestRetentionTriesAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var lines bytes.Buffer
		s := w.server(supervisor(spell{}), nobody, slog.New(slog.NewTextHandler(&lines, nil)))
		var ids []string
		var meetingID, id string
		for range 4 {
			meetingID, id = s.speak(t, toneCode(40))
			ids = append(ids, id)
		}
		s.flush(t)
		synctest.Wait()
		blocked, gone, corrupt := w.path(meetingID, ids[0]), w.path(meetingID, ids[1]), w.path(meetingID, ids[2])
		check(t, os.MkdirAll(blocked+".tmp/x", 0o700)) // in the way of the file that takes its place
		check(t, os.Remove(gone))
		check(t, os.WriteFile(corrupt, []byte("no log at all"), 0o600))
		stop := s.background(time.Minute)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		for i, row := range must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)).Tracks {
			if want := i != 0; (row.AudioExpiredAt != nil) != want {
				t.Errorf("track %d expired: %v", i, row.AudioExpiredAt)
			}
		}
		if _, err := os.Stat(corrupt); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is no log is still there: %v", err)
		}
		if n := strings.Count(lines.String(), "could not be removed"); n != 1 {
			t.Errorf("told of %d times:\n%s", n, &lines)
		}
		check(t, os.RemoveAll(blocked+".tmp"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if row := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)).Tracks[0]; row.Audio != meeting.AudioExpired {
			t.Errorf("audio %s", row.Audio)
		}
		s.finish(t)
		stop()
	})
}

// A meeting that is erased while its audio expires is gone.
func TestRetentionAndErase(t *testing.T) {
	w := newWorld(t)
	s := w.server(supervisor(spell{}), nobody, quiet)
	for range 5 {
		meetingID, _ := s.speak(t, toneCode(10))
		for range 3 {
			s.speak(t, toneCode(10))
		}
		must[meeting.Meeting](t)(s.End(t.Context(), meetingID))
		for must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)).State != meeting.StateComplete {
			time.Sleep(time.Millisecond)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if failed := s.expireTracks(t.Context(), time.Now(), nil); len(failed) > 0 {
				t.Errorf("failed: %v", failed)
			}
		})
		check(t, s.Erase(t.Context(), meetingID))
		wg.Wait()
		if _, err := os.Stat(filepath.Join(w.dir, "tracks", meetingID)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("something is left: %v", err)
		}
		if _, err := s.Meeting(t.Context(), meetingID); !errors.Is(err, meeting.ErrNotFound) {
			t.Fatal(err)
		}
	}
	s.finish(t)
}

// Logs that belong to no track: empty ones go, those with audio stay and are
// told of, once.
func TestStrays(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var lines bytes.Buffer
		s := w.server(supervisor(spell{}), nobody, slog.New(slog.NewTextHandler(&lines, nil)))
		meetingID, trackID := s.speak(t, toneCode(10))
		synctest.Wait()
		for _, m := range []string{meetingID, "nomeeting"} {
			log, err := s.logs.Create(m, "empty")
			check(t, err)
			check(t, log.Close())
			log, err = s.logs.Create(m, "audio")
			check(t, err)
			check(t, log.Append(t.Context(), audio.Packet{Samples: 960, Kind: audio.Coded, Payload: []byte("x")}))
			check(t, log.Close())
		}
		stop := s.background(-1)
		synctest.Wait()
		for path, want := range map[string]bool{
			w.path(meetingID, trackID): true, w.path(meetingID, "empty"): false, w.path(meetingID, "audio"): true,
			w.path("nomeeting", "empty"): false, w.path("nomeeting", "audio"): true,
		} {
			if _, err := os.Stat(path); (err == nil) != want {
				t.Errorf("%s: %v", path, err)
			}
		}
		if n := strings.Count(lines.String(), "belongs to no track"); n != 2 {
			t.Errorf("told of %d:\n%s", n, &lines)
		}
		s.finish(t)
		stop()
	})
}

// The clock of a server that starts is not behind what was stored, nor behind
// what is in the logs that the store has not heard of.
func TestLatest(t *testing.T) {
	w := newWorld(t)
	s := w.server(nil, nobody, quiet)
	row := w.leave(s, 100, false)
	seat := must[[]meeting.Seat](t)(w.db.Seats(t.Context(), nil, row.StartedAt))[0]
	check(t, w.db.Leave(t.Context(), row.Meeting, ada.ID, seat.Session, row.StartedAt.Add(time.Second)))
	at, release, err := Latest(t.Context(), w.db, s.logs, quiet)
	check(t, err)
	if got := at.Sub(row.StartedAt.Truncate(time.Microsecond)).Round(time.Microsecond); got != 10*time.Second {
		t.Errorf("latest is %v behind the track's beginning, want 10 s", got)
	}
	next := w.server(supervisor(spell{}), nobody, quiet)
	check(t, next.Recover(t.Context()))
	release()
	next.finish(t)
}
