package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"verbatim/internal/natstest"
	"verbatim/media/audio"
	"verbatim/pipeline/forward"
	"verbatim/pipeline/meeting"
)

// forwarder makes one on a connection of its own, which the returned function ends.
func forwarder(t *testing.T, url string) (*forward.Forwarder, jetstream.JetStream) {
	t.Helper()
	conn := natstest.Connect(t, url)
	f := must[*forward.Forwarder](t)(forward.New(forward.Config{Conn: conn, Prefix: "verbatim", Replicas: 1, Logger: quiet}))
	return f, must[jetstream.JetStream](t)(jetstream.New(conn))
}

// samples is how much of a track is with the broker, and how the track ended.
func samples(t *testing.T, js jetstream.JetStream, f *forward.Forwarder, meetingID, track string) (at, end string) {
	t.Helper()
	s := must[jetstream.Stream](t)(js.Stream(t.Context(), f.Stream(meetingID)))
	m := must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(t.Context(), f.Subject(meetingID, track)))
	return m.Header.Get("Verbatim-Start"), m.Header.Get("Verbatim-End")
}

// A track that could not be forwarded because the broker was away keeps its audio,
// whatever --keep-audio says, and is forwarded by the next server.
func TestForwardIsTakenUp(t *testing.T) {
	broker := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := forwarder(t, broker.URL)
	broker.Stop()
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, quiet)
	s.cfg.Forward = f
	id, track := s.speak(t, opus(50))
	must[meeting.State](t)(s.registry.End(t.Context(), id))
	for must[meeting.Meeting](t)(w.db.Meeting(t.Context(), id)).State != meeting.StateComplete && !t.Failed() {
		time.Sleep(5 * time.Millisecond)
	}
	s.expireTracks(t.Context(), time.Now().Add(time.Hour), nil)
	if row := must[meeting.Meeting](t)(w.db.Meeting(t.Context(), id)).Tracks[0]; row.AudioExpiredAt != nil {
		t.Fatal("audio that is still to be forwarded was taken")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.Close(over) // as long as the broker is away it does not end by itself
	s.flush(t)

	broker.Start()
	next := w.server(nil, func(meeting.Event) {}, quiet)
	next.cfg.Forward = f
	check(t, next.Recover(t.Context()))
	next.finish(t)
	if at, end := samples(t, js, f, id, track); at != "16000" || end != "left" {
		t.Errorf("the broker has %s samples, ended by %q", at, end)
	}
	if left := must[[]meeting.Track](t)(w.db.TracksToForward(t.Context())); len(left) > 0 {
		t.Errorf("still to be forwarded: %+v", left)
	}
	next.expireTracks(t.Context(), time.Now().Add(time.Hour), nil)
	if row := must[meeting.Meeting](t)(w.db.Meeting(t.Context(), id)).Tracks[0]; row.AudioExpiredAt == nil {
		t.Error("audio that nobody needs any more was kept")
	}
	next.flush(t)
}

// A server that dies in the middle of a track is followed by one that ends it, at
// the broker as in the log.
func TestForwardAfterACrash(t *testing.T) {
	broker := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := forwarder(t, broker.URL)
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, quiet)
	s.cfg.Forward = f
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), "room", ada))
	out := must[*Writer](t)(s.OpenTrack(t.Context(), m.Session, m.StartedAt))
	line := &sender{at: m.StartedAt}
	for _, p := range opus(50) {
		check(t, out.Append(t.Context(), line.next(p)))
	}
	for end := time.Now().Add(time.Minute); f.Stats().Forwarded < 16000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", f.Stats())
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.Close(over)
	check(t, out.log.Close())
	s.flush(t)

	next := w.server(nil, func(meeting.Event) {}, quiet)
	next.cfg.Forward = f
	check(t, next.Recover(t.Context()))
	next.finish(t)
	next.flush(t)
	if at, end := samples(t, js, f, m.Meeting, out.track); at != "16000" || end != audio.ReasonServer.String() {
		t.Errorf("the broker has %s samples, ended by %q", at, end)
	}
}

// Erasing a meeting erases it at the broker, too; as long as that is away, the
// meeting is hidden and its erasure goes on.
func TestEraseAtTheBroker(t *testing.T) {
	broker := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := forwarder(t, broker.URL)
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, quiet)
	s.cfg.Forward = f
	id, track := s.speak(t, opus(50))
	must[meeting.State](t)(s.registry.End(t.Context(), id))
	s.finish(t)
	s.flush(t)
	broker.Stop()
	if err := s.Erase(t.Context(), id); !errors.Is(err, meeting.ErrErasing) {
		t.Fatalf("with the broker away: %v", err)
	}
	if _, err := os.Stat(w.path(id, track)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log: %v", err)
	}
	broker.Start()
	for end := time.Now().Add(time.Minute); s.Erase(t.Context(), id) != nil; {
		if time.Now().After(end) {
			t.Fatal("it is not erased although the broker is back")
		}
	}
	if _, err := js.Stream(t.Context(), f.Stream(id)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("its stream: %v", err)
	}
}
