package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
)

// recorder is a server that keeps recordings below the test's folder.
func (w *world) recorder(log *slog.Logger) (s *server, root string) {
	root = filepath.Join(w.dir, "recordings")
	s = w.server(supervisor(spell{}), nobody, log)
	s.cfg.Recordings = must[*recording.Bucket](w.t)(recording.OpenFolder(root, w.dir))
	w.t.Cleanup(func() { check(w.t, s.cfg.Recordings.Close()) })
	return s, root
}

// opus are n packets of speech.
func opus(n int) (ps []audio.Packet) {
	for _, p := range speech.Packets("sas-0880")[:n] {
		ps = append(ps, audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: p})
	}
	return ps
}

// files are those below a folder, with their sizes.
func files(t testing.TB, root string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	check(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		name, _ := filepath.Rel(root, path)
		found[name] = info.Size()
		return err
	}))
	return found
}

// all is a recording from its first to its last byte, and whether it is kept.
func all(t testing.TB, r meeting.Recording) (b []byte, kept bool) {
	t.Helper()
	if r.Kept != nil {
		b = must[[]byte](t)(io.ReadAll(r.Kept))
		check(t, r.Kept.Close())
		return b, true
	}
	var buf bytes.Buffer
	check(t, r.Write(&buf))
	return buf.Bytes(), false
}

// work runs what works in the background until stop.
func (s *server) work(keep time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Record(ctx) })
	wg.Go(func() { s.Retain(ctx, keep) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestRecord(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s, root := w.recorder(quiet)
		stop := s.work(0)
		meetingID, opusID := s.speak(t, opus(100))
		_, pcmID := s.speak(t, toneCode(40))
		time.Sleep(time.Hour)
		synctest.Wait()
		// It goes on: there is no mix, and its audio is needed, transcribed or not.
		if _, err := s.Mix(t.Context(), meetingID); !errors.Is(err, meeting.ErrLive) || len(files(t, root)) > 0 {
			t.Errorf("%v, %v", err, files(t, root))
		}
		if n, err := s.heard(t, meetingID, opusID); n == 0 || err != nil {
			t.Fatalf("%d samples are left, %v", n, err)
		}
		now, kept := all(t, must[meeting.Recording](t)(s.Opus(t.Context(), meetingID, opusID)))
		if kept || !bytes.HasPrefix(now, []byte("OggS")) {
			t.Errorf("%d bytes, kept: %v", len(now), kept)
		}
		must[meeting.Meeting](t)(s.End(t.Context(), meetingID))
		mix := must[meeting.Recording](t)(s.Mix(t.Context(), meetingID))
		if made, kept := all(t, mix); kept || !bytes.HasPrefix(made, []byte("fLaC")) {
			t.Errorf("%d bytes, kept: %v", len(made), kept)
		}

		time.Sleep(2 * time.Minute)
		synctest.Wait()
		m := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
		if m.RecordedAt == nil || m.Tracks[0].Audio != meeting.AudioExpired {
			t.Fatalf("recorded at %v, audio %s", m.RecordedAt, m.Tracks[0].Audio)
		}
		got := files(t, root)
		if len(got) != 2 || got[meetingID+"/audio.flac"] == 0 || got[meetingID+"/"+opusID+".opus"] != int64(len(now)) {
			t.Errorf("%v; the track has %d bytes", got, len(now))
		}
		if b, kept := all(t, must[meeting.Recording](t)(s.Opus(t.Context(), meetingID, opusID))); !kept || !bytes.Equal(b, now) {
			t.Errorf("%d bytes of %d, kept: %v", len(b), len(now), kept)
		}
		if b, kept := all(t, must[meeting.Recording](t)(s.Mix(t.Context(), meetingID))); !kept || !bytes.HasPrefix(b, []byte("fLaC")) {
			t.Errorf("%d bytes, kept: %v", len(b), kept)
		}
		var expired *meeting.ExpiredError
		if err := must[meeting.Recording](t)(s.Opus(t.Context(), meetingID, pcmID)).Write(io.Discard); !errors.As(err, &expired) {
			t.Error(err)
		}

		check(t, s.Erase(t.Context(), meetingID))
		if _, err := os.Stat(filepath.Join(root, meetingID)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something is left: %v", err)
		}
		if _, err := s.Mix(t.Context(), meetingID); !errors.Is(err, meeting.ErrNotFound) {
			t.Error(err)
		}
		s.finish(t)
		stop()
	})
}

// What cannot be kept is tried again, and told of once. Until then the audio
// stays. What an attempt left behind is gone after the next.
func TestRecordTriesAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var lines bytes.Buffer
		s, root := w.recorder(slog.New(slog.NewTextHandler(&lines, nil)))
		meetingID, trackID := s.speak(t, opus(50))
		synctest.Wait()
		must[meeting.Meeting](t)(s.End(t.Context(), meetingID))
		left := filepath.Join(root, meetingID, "half.opus")
		check(t, os.MkdirAll(filepath.Dir(left), 0o700))
		check(t, os.WriteFile(left, []byte("half"), 0o600))
		blocked := filepath.Join(root, meetingID, "audio.flac")
		check(t, os.MkdirAll(filepath.Join(blocked, "x"), 0o700)) // no file can be put there
		stop := s.work(0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		m := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
		if m.RecordedAt != nil || m.Tracks[0].Audio != meeting.AudioKept {
			t.Errorf("recorded at %v, audio %s", m.RecordedAt, m.Tracks[0].Audio)
		}
		if n := strings.Count(lines.String(), "could not be recorded"); n != 1 {
			t.Errorf("told of %d times:\n%s", n, &lines)
		}
		check(t, os.RemoveAll(blocked))
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		m = must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
		got := files(t, root)
		if m.RecordedAt == nil || m.Tracks[0].Audio != meeting.AudioExpired || len(got) != 2 || got[meetingID+"/"+trackID+".opus"] == 0 {
			t.Errorf("recorded at %v, audio %s, %v", m.RecordedAt, m.Tracks[0].Audio, got)
		}
		if st := s.Stats(); st.Recorded != 1 || st.RecordFailures < 3 {
			t.Errorf("%d were recorded, %d attempts failed", st.Recorded, st.RecordFailures)
		}
		s.finish(t)
		stop()
	})
}

// A meeting whose audio is gone is not tried for ever.
func TestRecordWhatIsGone(t *testing.T) {
	w := newWorld(t)
	s, root := w.recorder(quiet)
	meetingID, goneID := s.speak(t, opus(50))
	_, trackID := s.speak(t, opus(50))
	must[meeting.Meeting](t)(s.End(t.Context(), meetingID))
	s.finish(t)
	s.flush(t)
	check(t, os.Remove(w.path(meetingID, goneID)))
	s.recordAll(t.Context(), map[string]retry{}, func() {})
	if got := files(t, root); len(got) != 1 || got[meetingID+"/"+trackID+".opus"] == 0 {
		t.Errorf("%v", got)
	}
	if m := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)); m.RecordedAt == nil {
		t.Error("it is not done with")
	}
}

// A meeting that is erased while it is recorded leaves nothing.
func TestRecordAndErase(t *testing.T) {
	w := newWorld(t)
	s, root := w.recorder(quiet)
	for i := range 10 {
		meetingID, _ := s.speak(t, opus(100))
		must[meeting.Meeting](t)(s.End(t.Context(), meetingID))
		for must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID)).State != meeting.StateComplete {
			time.Sleep(time.Millisecond)
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.recordAll(t.Context(), map[string]retry{}, func() {}) })
		time.Sleep(time.Duration(i) * time.Millisecond)
		check(t, s.Erase(t.Context(), meetingID))
		wg.Wait()
		if got := files(t, w.dir); len(files(t, root)) > 0 || strings.Contains(strings.Join(names(got), " "), "recording-") {
			t.Fatalf("something is left: %v", got)
		}
	}
	s.finish(t)
}

func names(files map[string]int64) (names []string) {
	for name := range files {
		names = append(names, name)
	}
	return names
}

// Who downloads a recording slowly does not keep its bytes when the meeting is
// erased: the file is closed under them, and what they were not sent they never
// get. Who reads another meeting's is not disturbed.
func TestEraseWhileRead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s, _ := w.recorder(quiet)
		stop := s.work(-1)
		recorded := func() string {
			id, _ := s.speak(t, opus(150))
			must[meeting.Meeting](t)(s.End(t.Context(), id))
			time.Sleep(time.Minute)
			synctest.Wait()
			return id
		}
		id, otherID := recorded(), recorded()
		open := func(id string) meeting.Recording {
			r := must[meeting.Recording](t)(s.Mix(t.Context(), id))
			must[int](t)(io.ReadFull(r.Kept, make([]byte, 100)))
			return r
		}
		read, closed, other := open(id), open(id), open(otherID)
		check(t, closed.Kept.Close())
		check(t, s.Erase(t.Context(), id))
		if file := read.Kept.(*keptFile).file; file != nil {
			t.Error("the file is still open")
		}
		if n, err := read.Kept.Read(make([]byte, 1)); n > 0 || !errors.Is(err, errErased) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if _, err := read.Kept.Seek(0, io.SeekStart); !errors.Is(err, errErased) {
			t.Error(err)
		}
		check(t, read.Kept.Close())
		if rest := must[[]byte](t)(io.ReadAll(other.Kept)); len(rest) == 0 {
			t.Error("the other meeting's recording ended, too")
		}
		check(t, other.Kept.Close())
		if n := len(s.records.readers); n > 0 {
			t.Errorf("%d readers are left", n)
		}
		// Whoever found the meeting just before gets nothing once it is being erased.
		m := must[meeting.Meeting](t)(s.Meeting(t.Context(), otherID))
		release := s.stopRecording(otherID)
		var late meeting.Recording
		if err := s.kept(t.Context(), m, mixKey(m.ID), &late); !errors.Is(err, meeting.ErrNotFound) || late.Kept != nil {
			t.Errorf("too late: %v", err)
		}
		release()
		s.finish(t)
		stop()
	})
}
