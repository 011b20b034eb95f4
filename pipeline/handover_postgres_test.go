//go:build postgres

package pipeline

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/internal/pgtest"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// nodes are servers on one database, each with a data folder of its own.
func nodes(t *testing.T, c *pgtest.Cluster, roots ...string) (all []*server) {
	database := c.URL(c.Database(""))
	for i, root := range roots {
		w := &world{t: t, dir: t.TempDir(), db: must[*store.Store](t)(store.Open(t.Context(), database))}
		t.Cleanup(func() { check(t, w.db.Close()) })
		check(t, w.db.SetNode(t.Context(), []string{"n1", "n2"}[i], ""))
		s := w.server(supervisor(spell{}), nobody, quiet)
		if root != "" {
			s.cfg.Recordings = must[*recording.Bucket](t)(recording.OpenFolder(root, w.dir))
			t.Cleanup(func() { check(t, s.cfg.Recordings.Close()) })
		}
		t.Cleanup(func() { s.finish(t) })
		all = append(all, s)
	}
	return all
}

// speakAs is a track of somebody in a room.
func (s *server) speakAs(t *testing.T, room, who string) (meetingID, trackID string) {
	t.Helper()
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), room, transcript.Participant{ID: who, Name: who}))
	w := must[*Writer](t)(s.OpenTrack(t.Context(), m.Session, m.StartedAt))
	line := &sender{at: m.StartedAt}
	for _, p := range opus(50) {
		check(t, w.Append(t.Context(), line.next(p)))
	}
	check(t, w.Append(t.Context(), line.end()))
	return m.Meeting, w.track
}

// over ends a meeting and waits for its transcript.
func (s *server) over(t *testing.T, id string) {
	t.Helper()
	must[meeting.Meeting](t)(s.End(t.Context(), id))
	for began := time.Now(); must[meeting.Meeting](t)(s.Meeting(t.Context(), id)).State != meeting.StateComplete; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it is not complete")
		}
	}
	s.flush(t)
}

// step is what Record does each time.
func (s *server) step(t *testing.T) {
	t.Helper()
	shared := &sharing{parts: map[string]retry{}}
	s.lookAtBucket(t.Context(), shared)
	s.handOver(t.Context(), shared)
	s.recordAll(t.Context(), map[string]retry{}, func() {})
}

func TestHandOver(t *testing.T) {
	c := pgtest.Start(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Cluster){
		"together": testTogether, "part taken": testPartTaken, "log lost": testLogLost, "own folders": testOwnFolders, "erased": testErasedWhileHanded,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// together are two nodes that keep recordings in the same folder, which is root.
func together(t *testing.T, c *pgtest.Cluster) (root string, a, b *server) {
	t.Helper()
	root = t.TempDir()
	both := nodes(t, c, root, root)
	return root, both[0], both[1]
}

// testTogether: who finds all others' parts records.
func testTogether(t *testing.T, c *pgtest.Cluster) {
	root, a, b := together(t, c)
	id, mine := a.speakAs(t, "r", "ada")
	_, others := b.speakAs(t, "r", "bob")
	a.over(t, id)
	b.flush(t)
	sent, _ := all(t, must[meeting.Recording](t)(b.Opus(t.Context(), id, others)))
	var elsewhere *meeting.ElsewhereError
	if err := must[meeting.Recording](t)(a.Mix(t.Context(), id)).Write(io.Discard); !errors.As(err, &elsewhere) || elsewhere.Node != "" {
		t.Errorf("a mix of several nodes: %v", err)
	}
	if err := must[meeting.Recording](t)(a.Opus(t.Context(), id, others)).Write(io.Discard); !errors.As(err, &elsewhere) || elsewhere.Node != "n2" {
		t.Errorf("another's track: %v", err)
	}

	a.step(t) // the other's bucket is not known yet
	b.step(t)
	part := id + "/" + others + ".part"
	if got := files(t, root); got[part] == 0 || len(got) != 2 {
		t.Fatalf("%v", got)
	}
	a.step(t)
	m := must[meeting.Meeting](t)(b.Meeting(t.Context(), id))
	if m.RecordedAt == nil || m.Recorder != "n1" {
		t.Fatalf("recorded at %v by %q", m.RecordedAt, m.Recorder)
	}
	b.step(t)
	var names []string
	for name := range files(t, root) {
		names = append(names, strings.TrimPrefix(name, id+"/"))
	}
	slices.Sort(names)
	want := []string{mine + ".opus", others + ".opus", "audio.flac", "verbatim-bucket"}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	for _, s := range []*server{a, b} {
		if got, kept := all(t, must[meeting.Recording](t)(s.Opus(t.Context(), id, others))); !kept || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, kept: %v", len(got), len(sent), kept)
		}
	}
}

// testPartTaken: a part that somebody took from the bucket is put there again.
func testPartTaken(t *testing.T, c *pgtest.Cluster) {
	root, a, b := together(t, c)
	id, _ := a.speakAs(t, "r", "ada")
	_, others := b.speakAs(t, "r", "bob")
	a.over(t, id)
	b.flush(t)
	a.step(t)
	b.step(t)
	check(t, os.Remove(filepath.Join(root, id, others+".part")))
	a.step(t)
	if m := must[meeting.Meeting](t)(a.Meeting(t.Context(), id)); m.RecordedAt != nil {
		t.Error("it is recorded without what is missing")
	}
	b.step(t)
	a.step(t)
	if m := must[meeting.Meeting](t)(a.Meeting(t.Context(), id)); m.RecordedAt == nil || files(t, root)[id+"/audio.flac"] == 0 {
		t.Errorf("%v", files(t, root))
	}
}

// testLogLost: what its own node does not have any more is left out, and said to be.
func testLogLost(t *testing.T, c *pgtest.Cluster) {
	root, a, b := together(t, c)
	id, _ := a.speakAs(t, "r", "ada")
	_, others := b.speakAs(t, "r", "bob")
	a.over(t, id)
	b.flush(t)
	check(t, b.cfg.Logs.Remove(id, others))
	a.step(t)
	b.step(t)
	a.step(t)
	m := must[meeting.Meeting](t)(a.Meeting(t.Context(), id))
	if m.RecordedAt == nil || m.Tracks[1].Audio != meeting.AudioLost {
		t.Fatalf("recorded at %v, audio %s", m.RecordedAt, m.Tracks[1].Audio)
	}
	if lacks := a.lacking(m); len(lacks) != 1 || !strings.HasPrefix(lacks[0], "bob, from ") || !strings.Contains(lacks[0], " to ") {
		t.Errorf("it lacks %q", lacks)
	}
	if flac := must[[]byte](t)(os.ReadFile(filepath.Join(root, id, "audio.flac"))); !bytes.Contains(flac, []byte("LACKS=bob, from ")) {
		t.Error("the file does not say so")
	}
	if _, _, err := a.Audio(t.Context(), id, others); !errors.Is(err, meeting.ErrAudioLost) {
		t.Errorf("what nobody has: %v", err)
	}
}

// testOwnFolders: with a folder of its own each node records what it has all of, and
// others lead there, also when the audio has expired.
func testOwnFolders(t *testing.T, c *pgtest.Cluster) {
	roots := []string{t.TempDir(), t.TempDir()}
	two := nodes(t, c, roots...)
	a, b := two[0], two[1]
	both, _ := a.speakAs(t, "both", "ada")
	b.speakAs(t, "both", "bob")
	id, track := b.speakAs(t, "own", "cy")
	a.over(t, both)
	b.over(t, id)
	for range 2 {
		a.step(t)
		b.step(t)
	}
	if m := must[meeting.Meeting](t)(a.Meeting(t.Context(), both)); m.RecordedAt != nil || len(files(t, roots[0])) != 1 || len(files(t, roots[1])) != 3 {
		t.Errorf("recorded at %v: %v and %v", m.RecordedAt, files(t, roots[0]), files(t, roots[1]))
	}
	leads := func() {
		t.Helper()
		for _, r := range []meeting.Recording{
			must[meeting.Recording](t)(a.Mix(t.Context(), id)), must[meeting.Recording](t)(a.Opus(t.Context(), id, track)),
		} {
			var elsewhere *meeting.ElsewhereError
			if r.Kept != nil {
				t.Error("it is here")
			} else if err := r.Write(io.Discard); !errors.As(err, &elsewhere) || elsewhere.Node != "n2" {
				t.Errorf("it leads nowhere: %v", err)
			}
		}
	}
	leads()
	b.expireTracks(t.Context(), time.Now().Add(time.Hour), nil)
	if m := must[meeting.Meeting](t)(a.Meeting(t.Context(), id)); m.Tracks[0].Audio != meeting.AudioExpired {
		t.Fatalf("audio %s", m.Tracks[0].Audio)
	}
	leads()

	// Erased by the one, it leaves the other's folder.
	check(t, a.Erase(t.Context(), id))
	check(t, b.eraseLogs(t.Context()))
	if left := files(t, roots[1]); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// testErasedWhileHanded: a node that hands over while another erases leaves nothing.
func testErasedWhileHanded(t *testing.T, c *pgtest.Cluster) {
	root, a, b := together(t, c)
	for range 5 {
		id, _ := a.speakAs(t, "r", "ada")
		_, others := b.speakAs(t, "r", "bob")
		a.over(t, id)
		b.flush(t)
		a.step(t)
		rows := must[meeting.Meeting](t)(b.Meeting(t.Context(), id)).Tracks
		row := rows[slices.IndexFunc(rows, func(r meeting.Track) bool { return r.ID == others })]
		done := make(chan error)
		go func() { done <- b.handOverTrack(t.Context(), row) }()
		err := a.Erase(t.Context(), id)
		for errors.Is(err, meeting.ErrErasing) { // the folder is not empty again
			err = a.Erase(t.Context(), id)
		}
		check(t, err)
		if err := <-done; err != nil && errors.Is(err, meeting.ErrAudioLost) { // it may fail, as it has nowhere to go
			t.Error(err)
		}
		check(t, b.eraseLogs(t.Context()))
		if got := files(t, root); len(got) != 1 {
			t.Fatalf("left: %v", got)
		}
	}
}
