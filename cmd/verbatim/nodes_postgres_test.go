//go:build postgres

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/internal/pgtest"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// Two servers and a PostgreSQL: one meeting, a node that is killed and comes back, an
// end and an erasure asked of the other, and a database that is away for some seconds.
func TestNodes(t *testing.T) {
	t.Setenv(beRecognizer, "We release on Friday.")
	c := pgtest.Start(t)
	database := c.URL(c.Database(""))
	t.Setenv("VERBATIM_DB", database)
	logs, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	data := []string{t.TempDir(), t.TempDir()}
	node := func(i int) *process {
		return serveTo(t, logs, data[i], "command:"+os.Args[0], "--linger", "1h", "--node", fmt.Sprint("n", i+1), "--node-url", fmt.Sprintf("https://n%d.example", i+1))
	}
	a, b := node(0), node(1)
	pcm := speech.PCM("sas-0880")

	// The same room by both.
	ada := a.ingest("?participant=ada&name=Ada", 16000, "")
	ada.send(pcm, 0, len(pcm))
	bob := b.ingest("?participant=bob&name=Bob", 16000, "")
	if ada.ready.Node != "https://n1.example" || bob.ready.Node != "https://n2.example" {
		t.Errorf("streams are at %q and %q", ada.ready.Node, bob.ready.Node)
	}
	bob.send(pcm, 0, len(pcm))
	m := b.until("both are in one meeting, with a track each", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 2 && len(m.Participants) == 2 && m.Tracks[0].Coverage.TranscribedMS > 0 && m.Tracks[1].Coverage.TranscribedMS > 0
	})
	if n := len(a.meetings()); n != 1 {
		t.Fatalf("%d meetings", n)
	}

	// A session's URL names its node.
	offered, err := http.Post(a.url+"/v1/rooms/other/whip", "application/sdp", strings.NewReader(offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := offered.Body.Close(); err != nil {
		t.Fatal(err)
	}
	location := offered.Header.Get("Location")
	if !strings.HasPrefix(location, "https://n1.example/v1/sessions/") {
		t.Errorf("a session at %q, %s", location, offered.Status)
	}
	a.request(http.MethodDelete, strings.TrimPrefix(location, "https://n1.example"), "")
	a.request(http.MethodPost, "/v1/meetings/"+offered.Header.Get("Verbatim-Meeting")+"/end", "")

	// PostgreSQL restarts, and it costs a delay.
	c.Down()
	go func() {
		time.Sleep(time.Second)
		c.Up()
	}()
	if r, body := a.request(http.MethodGet, "/v1/meetings/"+m.ID, ""); r.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", r.Status, body)
	}

	// Ada moves: her session on the first node ends as replaced.
	moved := b.ingest("?participant=ada&name=Ada", 16000, "")
	ada.closed(websocket.StatusCode(4409))

	// The second node dies, its tracks wait; the meeting is ended by the first.
	b.kill()
	a.request(http.MethodPost, "/v1/meetings/"+m.ID+"/end", "")
	if r, _ := a.request(http.MethodGet, "/v1/meetings/"+m.ID, ""); r.StatusCode != http.StatusOK {
		t.Error(r.Status)
	}
	b = node(1)
	var whole meeting.Meeting
	for began := time.Now(); whole.State != meeting.StateComplete; time.Sleep(50 * time.Millisecond) {
		for _, each := range a.meetings() {
			if each.ID == m.ID {
				whole = each
			}
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("not complete: %+v", whole)
		}
	}
	_ = moved.ws.CloseNow() // its server was killed

	// Both give the same transcript; of the audio each has its own, and leads to the
	// other's.
	if x, y := a.get("/v1/meetings/"+m.ID+"/transcript.txt"), b.get("/v1/meetings/"+m.ID+"/transcript.txt"); !bytes.Equal(x, y) || len(x) == 0 {
		t.Errorf("transcripts differ:\n%s\n%s", x, y)
	}
	for _, tr := range whole.Tracks {
		path := "/v1/meetings/" + m.ID + "/tracks/" + tr.ID + "/audio.wav"
		has, leads := 0, 0
		for i, s := range []*process{a, b} {
			switch r := s.unled(http.MethodGet, path); {
			case r.StatusCode == http.StatusOK:
				has++
			case r.StatusCode == http.StatusTemporaryRedirect && r.Header.Get("Location") == fmt.Sprintf("https://n%d.example%s?node=n%[1]d", 2-i, path):
				leads++
			default:
				t.Errorf("audio of a track: %s, %v", r.Status, r.Header)
			}
		}
		if has != 1 || leads != 1 {
			t.Errorf("%d have the audio of a track, %d lead there", has, leads)
		}
	}

	// Erased by one, it leaves the other's disk too.
	tracks := func(i int) bool {
		_, err := os.Stat(filepath.Join(data[i], "tracks", m.ID))
		return err == nil
	}
	if !tracks(0) || !tracks(1) {
		t.Error("there was nothing to erase")
	}
	b.stop()
	if r, body := a.request(http.MethodDelete, "/v1/meetings/"+m.ID, ""); r.StatusCode != http.StatusNoContent {
		t.Errorf("%s: %s", r.Status, body)
	}
	if tracks(0) || !tracks(1) {
		t.Error("the logs are not those that are expected")
	}
	b = node(1)
	if tracks(1) {
		t.Error("the other node has still logs")
	}

	// A name is one server's, whatever folder another one has.
	twin := verbatim(t.Context(), "serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:", "--node", "n1")
	if out, err := twin.CombinedOutput(); err == nil || !strings.Contains(string(out), "node n1: another server that runs has this node's name") {
		t.Errorf("%v: %s", err, out)
	}

	out, err := verbatim(t.Context(), "nodes").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "TO HAND OVER") || strings.Count(string(out), "alive") != 2 || !strings.Contains(string(out), "https://n2.example") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := verbatim(t.Context(), "nodes", "give-up", "n2").CombinedOutput(); err == nil || !strings.Contains(string(out), "alive") {
		t.Errorf("%v: %s", err, out)
	}
	a.stop()
	b.stop()
	text, err := os.ReadFile(logs.Name())
	if err != nil || bytes.Contains(text, []byte(pgtest.Password)) {
		t.Errorf("the log tells the password, or %v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "level=ERROR") {
			t.Log(line)
		}
	}
}
