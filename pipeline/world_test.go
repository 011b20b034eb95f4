package pipeline

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ada = transcript.Participant{ID: "ada", Name: "Ada"}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is what the servers of a test share: a database, the folder of the track
// logs, and a meeting.
type world struct {
	t   testing.TB
	dir string
	db  *store.Store
}

func newWorld(t testing.TB) *world { return newWorldIn(t, t.TempDir()) }

func newWorldIn(t testing.TB, dir string) *world {
	w := &world{t: t, dir: dir}
	w.db = must[*store.Store](t)(store.Open(t.Context(), filepath.Join(w.dir, "verbatim.db")))
	t.Cleanup(func() { check(t, w.db.Close()) })
	return w
}

// server is one process: a Pipeline and what it needs.
type server struct {
	*Pipeline
	logs     *tracklog.Store
	registry *meeting.Registry
}

func (w *world) server(s *transcribe.Supervisor, publish func(meeting.Event), log *slog.Logger) *server {
	w.t.Helper()
	logs := must[*tracklog.Store](w.t)(tracklog.New(tracklog.Options{Dir: filepath.Join(w.dir, "tracks"), SyncEvery: -1, Logger: log}))
	registry := must[*meeting.Registry](w.t)(meeting.NewRegistry(w.t.Context(), meeting.Config{
		Store: w.db, Publish: publish, Logger: log, Linger: time.Minute,
		CloseSession: func(string, audio.Reason) bool { return true },
	}))
	return &server{New(Config{
		Logs: logs, Store: w.db, Registry: registry, Publish: publish, Supervisor: s, Logger: log,
	}), logs, registry}
}

// speak joins a room, and sends what is given and an End.
func (s *server) speak(t testing.TB, packets []audio.Packet) (meetingID, trackID string) {
	t.Helper()
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), "room", ada))
	w := must[*Writer](t)(s.OpenTrack(t.Context(), m.Session, m.StartedAt))
	line := &sender{at: m.StartedAt}
	for _, p := range packets {
		check(t, w.Append(t.Context(), line.next(p)))
	}
	check(t, w.Append(t.Context(), line.end()))
	return m.Meeting, w.track
}

// flush brings the logs to the disk.
func (s *server) flush(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check(t, s.logs.Run(ctx))
}

// finish waits until all tracks are done.
func (s *server) finish(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n := s.Close(ctx); n > 0 {
		t.Fatalf("%d tracks are pending", n)
	}
}

// sender puts packets in a row.
type sender struct {
	seq     uint64
	start   int64
	at      time.Time
	account audio.Account
}

func (s *sender) next(p audio.Packet) audio.Packet {
	p.Seq, p.Start = s.seq, s.start
	p.At = s.at.Add(time.Duration(p.Start) * time.Second / audio.TickRate)
	s.seq, s.start = s.seq+1, p.Next()
	s.account.Add(p)
	return p
}

func (s *sender) end() audio.Packet {
	at := s.at.Add(time.Duration(s.start) * time.Second / audio.TickRate)
	return audio.NewEnd(s.seq, s.start, at, audio.EndInfo{Reason: audio.ReasonLeft, Totals: s.account})
}
