package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// A data folder that an earlier version left behind (testdata/data.sh makes it) is
// taken over: what was finished can be read, what was pending is finished, and it
// is the same once more after another start.
func TestUpgrade(t *testing.T) {
	all, err := filepath.Glob("testdata/data-*.tar.gz")
	if err != nil || len(all) == 0 {
		t.Fatalf("there are no folders of earlier versions (%v)", err)
	}
	for _, archive := range all {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			t.Setenv(beRecognizer, "1")
			data := t.TempDir()
			unpack(t, archive, data)
			for range 2 {
				// The fixture's audio would have expired by now.
				s := serve(t, data, "command:"+os.Args[0], "--keep-audio=-1s", "--linger", "100ms")
				checkUpgraded(t, s)
				s.stop()
			}
		})
	}
}

func checkUpgraded(t *testing.T, s *process) {
	t.Helper()
	rooms := map[string]meeting.Meeting{}
	s.until("all three meetings complete", func(meeting.Meeting) bool {
		for _, m := range s.meetings() {
			rooms[m.Room] = m
		}
		return !slices.ContainsFunc([]string{"done", "left", "cut"}, func(room string) bool {
			return rooms[room].State != meeting.StateComplete
		})
	})
	want := decoded(t, "sas-0880")
	for room, speaker := range map[string]string{"done": "Ada", "left": "Grace", "cut": "Edsger"} {
		m := rooms[room]
		if len(m.Tracks) != 1 || len(m.Participants) != 1 || m.Participants[0].Name != speaker || m.Participants[0].LeftAt == nil {
			t.Errorf("%s: the meeting is %+v", room, m)
			continue
		}
		checkCoverage(t, m.Coverage)
		pcm := s.wav(m, 0)
		// The one who was cut off had spoken for 2.5 s, of which the last second may
		// not have been on the disk.
		if len(pcm) < 16000*3/2 || len(pcm) > len(want) || !slices.Equal(pcm, want[:len(pcm)]) || (room != "cut" && len(pcm) != len(want)) {
			t.Errorf("%s: %d samples are not what was said (%d)", room, len(pcm), len(want))
		}
		if room != "done" {
			d := s.document(m.ID)
			if !d.Complete || len(d.Segments) < 4 || d.Segments[0].Participant.Name != speaker {
				t.Errorf("%s: what was pending is not transcribed: %+v", room, d)
			}
		}
		for _, path := range []string{
			"", "/stats", "/transcript.vtt", "/transcript.srt", "/transcript.txt", "/audio.flac", "/tracks/" + m.Tracks[0].ID + "/audio.opus",
		} {
			if len(s.get("/v1/meetings/"+m.ID+path)) == 0 {
				t.Errorf("%s: %s is empty", room, path)
			}
		}
	}
	if got := rooms["cut"].Tracks[0].EndedBy; got != "server" {
		t.Errorf("the track that was cut off was ended by %q", got)
	}
	done := s.document(rooms["done"].ID)
	if len(done.Segments) != 1 || done.Segments[0].Text != "he was not an illness those young man" || len(done.Segments[0].Words) != 8 || done.Segments[0].Engine != "pocketsphinx" {
		t.Errorf("what was transcribed is now %+v", done.Segments)
	}
	if found := string(s.get("/v1/search?q=illness")); !strings.Contains(found, rooms["done"].ID) {
		t.Errorf("a search finds %s", found)
	}
}

func (s *process) document(id string) (d transcript.Document) {
	s.t.Helper()
	if err := json.Unmarshal(s.get("/v1/meetings/"+id+"/transcript.json"), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func unpack(t *testing.T, archive, to string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			if err := root.MkdirAll(h.Name, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err == nil {
			err = root.WriteFile(h.Name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
