package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// What is said and by whom in the meetings of these tests. The words begin and end
// differently, so that the index of words cannot keep but a part of one.
const (
	eraseWords = "xylobanjo|quetzalfig|wombatrix"
	eraseName  = "Ermintrude+Zaphodson"
	eraseRoom  = "kumquat-room"
)

// fill holds a meeting of one who sends Opus and one who sends PCM, and ends it.
func (s *process) fill(room string) meeting.Meeting {
	s.t.Helper()
	s.room = room
	out, err := verbatim(s.t.Context(), "publish", opusFile(s.t, "sas-0880"), "--room", room, "--name", strings.ReplaceAll(eraseName, "+", " "), "--url", s.url).CombinedOutput()
	if err != nil {
		s.t.Fatalf("publish: %v: %s", err, out)
	}
	pcm := speech.PCM("sas-0890")
	c := s.ingest("?name="+eraseName+"&participant=zaphod-by-pcm", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	id := c.ready.Meeting
	s.request(http.MethodPost, "/v1/meetings/"+id+"/end", "")
	return s.until("it is recorded", func(m meeting.Meeting) bool { return m.ID == id && m.RecordedAt != nil })
}

// traces are bytes of a meeting by what they are: who was there, what was said, the
// coded audio that came, and the files that were made of it.
func (s *process) traces(m meeting.Meeting) map[string][]byte {
	s.t.Helper()
	t := map[string][]byte{
		"meeting": []byte(m.ID), "room": []byte(m.Room), "name": []byte("Zaphodson"), "participant": []byte("zaphod-by-pcm"),
	}
	for _, w := range strings.Split(eraseWords, "|") {
		t["word "+w] = []byte(w[3:]) // an index may leave out what a word shares with the one before
	}
	for i, p := range speech.Packets("sas-0880") {
		if i%20 == 10 && len(p) >= 24 {
			t[fmt.Sprintf("packet %d", i)] = p
		}
	}
	for at := 8000; at+32 < len(speech.PCM("sas-0890")); at += 16000 {
		var b []byte
		for _, v := range speech.PCM("sas-0890")[at : at+32] {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		t[fmt.Sprintf("sample %d", at)] = b
	}
	mix := s.get("/v1/meetings/" + m.ID + "/audio.flac")
	t["mix"] = mix[len(mix)/2 : len(mix)/2+64]
	for i, track := range m.Tracks {
		t[fmt.Sprintf("track %d", i)] = []byte(track.ID)
	}
	return t
}

// found are the traces that are in a folder: in the bytes of a file, or in its name.
func found(t *testing.T, traces map[string][]byte, dirs ...string) (names []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			b := []byte(rel)
			if err == nil && e.Type().IsRegular() {
				var content []byte
				content, err = os.ReadFile(path)
				b = append(b, content...)
			}
			for name, trace := range traces {
				if bytes.Contains(b, trace) {
					names = append(names, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Of a whole meeting with its audio, its transcript and its recordings, no byte is
// left in the data folder nor in the one for temporary files once it is erased. The
// other meeting is as it was.
func TestEraseLeavesNothing(t *testing.T) {
	temp, data := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv(beRecognizer, "1")
	s := serve(t, data, "command:"+os.Args[0], "--linger", "30s")
	s.room = "kept"
	pcm := speech.PCM("sas-0870")
	c := s.ingest("?name=Bob&participant=bob", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	kept := c.ready.Meeting
	s.request(http.MethodPost, "/v1/meetings/"+kept+"/end", "")
	s.until("the other meeting is recorded", func(m meeting.Meeting) bool { return m.RecordedAt != nil })
	s.stop()

	t.Setenv(beRecognizer, eraseWords)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s = serveTo(t, log, data, "command:"+os.Args[0], "--linger", "30s")
	m := s.fill(eraseRoom)
	base := "/v1/meetings/" + m.ID
	for _, path := range []string{"/transcript.vtt", "/stats", "/tracks/" + m.Tracks[0].ID + "/audio.wav"} {
		s.get(base + path)
	}
	if b := s.get("/v1/search?q=quetzalfig"); !bytes.Contains(b, []byte(m.ID)) {
		t.Errorf("the search does not find it: %s", b)
	}
	traces := s.traces(m)
	if before := found(t, traces, data); len(before) != len(traces) {
		t.Fatalf("only these are there to begin with: %v of %d", before, len(traces))
	}
	others := func() string {
		return string(s.get("/v1/meetings/"+kept+"/transcript.json")) + string(s.get("/v1/meetings/"+kept+"/audio.flac")) +
			string(s.get("/v1/search?q=word7"))
	}
	other := others()

	// Someone watches the room, and is told.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watching, told := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(told)
		s.watch(ctx, eraseRoom, m.ID+".1", func(e seen) {
			switch e.kind {
			case meeting.EventState:
				close(watching)
			case meeting.EventErased:
				told <- string(e.data)
				cancel()
			}
		})
	}()
	<-watching
	if resp, b := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("erase: %s %s", resp.Status, b)
	}
	if left := found(t, traces, data, temp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if got, want := <-told, `{"meeting":"`+m.ID+`"}`; got != want {
		t.Errorf("who watches is told %q, want %q", got, want)
	}
	for _, method := range []string{http.MethodDelete, http.MethodGet} {
		if resp, _ := s.request(method, base, ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s of what is erased: %s", method, resp.Status)
		}
	}
	if others() != other {
		t.Error("the other meeting is not what it was")
	}
	s.stop()
	if left := found(t, traces, data, temp); len(left) > 0 {
		t.Errorf("left after the server has ended: %v", left)
	}
	b, err := os.ReadFile(log.Name())
	if err != nil || bytes.Count(b, []byte(`msg="meeting erased" meeting=`+m.ID)) != 1 || bytes.Contains(b, traces["name"]) {
		t.Errorf("the log, %v: %s", err, b)
	}
}

// A live meeting is not erased. One that has just been ended is, while those in it
// still send and the rest is transcribed.
func TestEraseAtOnce(t *testing.T) {
	t.Setenv(beRecognizer, eraseWords)
	data := t.TempDir()
	s := serve(t, data, "command:"+os.Args[0], "--linger", "30s")
	s.room = eraseRoom
	go func() { // ends with an error when the meeting does
		_ = verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", eraseRoom, "--name", "Ada", "--url", s.url).Run()
	}()
	s.until("one speaks", func(m meeting.Meeting) bool { return len(m.Tracks) == 1 && m.Tracks[0].Coverage.TranscribedMS > 500 })
	pcm := speech.PCM("sas-0890")
	c := s.ingest("?name="+eraseName+"&participant=zaphod-by-pcm", 16000, "")
	c.send(pcm, 0, len(pcm))
	base := "/v1/meetings/" + c.ready.Meeting
	if resp, b := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusConflict || !strings.Contains(string(b), ":meeting-live") {
		t.Errorf("of a live meeting: %s %s", resp.Status, b)
	}
	var m meeting.Meeting
	if err := json.Unmarshal(s.get(base), &m); err != nil || m.State != meeting.StateLive || len(m.Tracks) != 2 {
		t.Errorf("after that: %+v, %v", m, err)
	}
	if resp, b := s.request(http.MethodPost, base+"/end", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("end: %s %s", resp.Status, b)
	}
	if resp, b := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("erase: %s %s", resp.Status, b)
	}
	traces := map[string][]byte{"meeting": []byte(m.ID), "room": []byte(eraseRoom), "name": []byte("Zaphodson"), "word": []byte("obanjo")}
	if left := found(t, traces, data); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.stop() // after all that was under way
	if left := found(t, traces, data); len(left) > 0 {
		t.Errorf("left in the end: %v", left)
	}
}

// A server that is killed in the middle of an erasure finishes it when it starts
// again: the meeting is there as it was, or nothing of it is.
func TestEraseKilled(t *testing.T) {
	t.Setenv(beRecognizer, eraseWords)
	origin := t.TempDir()
	s := serve(t, origin, "command:"+os.Args[0], "--linger", "30s")
	m := s.fill(eraseRoom)
	traces := s.traces(m)
	want := s.get("/v1/meetings/" + m.ID + "/transcript.json")
	s.stop()
	gone := 0
	for i := range 12 {
		data := t.TempDir()
		if err := os.CopyFS(data, os.DirFS(origin)); err != nil {
			t.Fatal(err)
		}
		s := serve(t, data, "none:")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/meetings/"+m.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
		// Most of them fall into the 15 ms that it takes here.
		time.Sleep(time.Duration(i)*time.Millisecond + rand.N(time.Millisecond))
		s.kill()
		<-answered
		s = serve(t, data, "none:")
		if len(s.meetings()) == 0 {
			gone++
			if left := found(t, traces, data); len(left) > 0 {
				t.Errorf("killed after %d ms: left: %v", i, left)
			}
		} else if got := s.get("/v1/meetings/" + m.ID + "/transcript.json"); !bytes.Equal(got, want) || len(found(t, traces, data)) != len(traces) {
			t.Errorf("killed after %d ms: the meeting is there, but not as it was", i)
		}
		s.stop()
	}
	t.Logf("%d of 12 were erased", gone)
}
