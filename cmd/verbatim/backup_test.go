//go:build sqlite3 || postgres

package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// operation is the example of docs/OPERATIONS.md with a text in it, the one of its kind.
func operation(t *testing.T, with string) (script string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)\n```$").FindAllStringSubmatch(string(b), -1) {
		if strings.Contains(block[1], with) {
			if script != "" {
				t.Fatalf("there are two with %q", with)
			}
			script = block[1]
		}
	}
	if script == "" {
		t.Fatalf("there is none with %q", with)
	}
	return script
}

func operate(t *testing.T, script string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, script, out)
	}
}

// A server is backed up as the docs have it, while somebody speaks: one meeting is
// over, another goes on. What is put back elsewhere has the first one whole, and of
// the second what had arrived, transcribed to its end. database is the URL of an empty
// one, "" for SQLite.
func backup(t *testing.T, save []string, database func() string) {
	t.Setenv(beRecognizer, "We release on Friday.")
	data, saved, elsewhere := t.TempDir(), t.TempDir()+"/saved", t.TempDir()+"/data"
	args := []string{"--linger", "1h"}
	t.Setenv("VERBATIM_DB", database())
	s := serve(t, data, "command:"+os.Args[0], args...)
	pcm := speech.PCM("sas-0880")
	c := s.ingest("?participant=ada&name=Ada", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	s.complete("Ada's")
	s.request("POST", "/v1/meetings/"+s.meetings()[0].ID+"/end", "")
	first := s.until("it is recorded", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete && m.RecordedAt != nil })
	transcript, flac := s.get("/v1/meetings/"+first.ID+"/transcript.txt"), s.get("/v1/meetings/"+first.ID+"/audio.flac")
	sound := s.wav(first, 0)

	half := len(pcm) / 2 / 960 * 960
	live := s.ingest("?participant=bob&name=Bob", 16000, "")
	live.send(pcm, 0, half)
	for a := range live.acks { // on the disk
		if a.Durable >= int64(half) {
			break
		}
	}
	for _, script := range save {
		operate(t, script, "DATA="+data, "BACKUP="+saved)
	}
	live.send(pcm, half, len(pcm))
	live.end(len(pcm))
	s.stop()

	put := operation(t, "pg_restore")
	t.Setenv("VERBATIM_DB", database())
	operate(t, put, "DATA="+elsewhere, "BACKUP="+saved)
	s = serve(t, elsewhere, "command:"+os.Args[0], args...)
	all := s.meetings()
	if len(all) != 2 || all[1].ID != first.ID {
		t.Fatalf("after it was put back there are %+v", all)
	}
	if got := s.get("/v1/meetings/" + first.ID + "/transcript.txt"); !bytes.Equal(got, transcript) || len(got) == 0 {
		t.Errorf("the transcript was\n%s\nand is\n%s", transcript, got)
	}
	if !bytes.Equal(s.get("/v1/meetings/"+first.ID+"/audio.flac"), flac) || !slices.Equal(s.wav(all[1], 0), sound) {
		t.Error("the recordings are not what they were")
	}
	s.complete("Bob's")
	s.request("POST", "/v1/meetings/"+all[0].ID+"/end", "")
	second := s.until("the second meeting is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
	if got := s.wav(second, 0); len(got) < half || len(got) > len(pcm) || !slices.Equal(got[:half], pcm[:half]) {
		t.Errorf("of who spoke meanwhile there are %d samples, or others", len(got))
	}
	if len(s.get("/v1/meetings/"+second.ID+"/transcript.txt")) == 0 {
		t.Error("what was pending is not transcribed")
	}
	checkCoverage(t, second.Coverage)
	s.stop()
}
