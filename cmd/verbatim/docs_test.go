//go:build curl

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

var fence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)\n```$")

// The examples of docs/API.md run as they stand, one after the other in one
// shell's variables, and what they print has the form that is shown.
func TestDocsRun(t *testing.T) {
	text, err := os.ReadFile("../../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beRecognizer, "We release on Friday.")
	s := serve(t, t.TempDir(), "command:"+os.Args[0])
	s.room = "standup"
	spoken := standups(t, s)
	if t.Failed() {
		return
	}
	dir := t.TempDir()
	writeOffer(t, dir)
	live := s.ingest("?name=Bob&participant=bob", 16000, "")
	live.send(spoken, 0, len(spoken))
	s.until("words of the live meeting", func(m meeting.Meeting) bool {
		return m.State == meeting.StateLive && len(m.Tracks) == 1 && m.Tracks[0].Coverage.TranscribedMS > 500
	})

	blocks := fence.FindAllStringSubmatch(string(text), -1)
	for i, b := range blocks {
		if b[1] != "sh" {
			continue
		}
		var shown, form string
		if i+1 < len(blocks) && blocks[i+1][1] != "sh" {
			form, shown = blocks[i+1][1], blocks[i+1][2]
		}
		out := runBlock(t, dir, strings.ReplaceAll(b[2], "http://127.0.0.1:8080", s.url), shown)
		switch form {
		case "json":
			compare(t, b[2], shown, out)
		case "text":
			compareEvents(t, shown, out)
		default:
			if strings.Contains(out, "urn:verbatim:problem:") {
				t.Errorf("%s answers %s", b[2], out)
			}
		}
	}
	s.stop()
}

// standups are three meetings. In the last, Ada sends Opus, and what Bob sends has
// a hole.
func standups(t *testing.T, s *process) (spoken []int16) {
	pcm := speech.PCM("sas-0880")
	over := func() {
		s.request(http.MethodPost, "/v1/meetings/"+s.meetings()[0].ID+"/end", "")
		s.until("it is recorded", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete && m.RecordedAt != nil })
	}
	for range 2 {
		c := s.ingest("?name=Bob&participant=bob", 16000, "")
		c.send(pcm, 0, len(pcm))
		c.end(len(pcm))
		over()
	}
	published := make(chan error, 1)
	go func() {
		_, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", s.room, "--name", "Ada", "--url", s.url).Output()
		published <- err
	}()
	s.until("Ada is heard", func(m meeting.Meeting) bool { return m.State == meeting.StateLive && len(m.Tracks) == 1 })
	c := s.ingest("?name=Bob&participant=bob", 16000, "")
	c.send(pcm, 0, 9600)
	c.send(pcm, 12800, len(pcm))
	c.end(len(pcm))
	if err := <-published; err != nil {
		t.Errorf("publish: %v", err)
	}
	over()
	return pcm
}

// writeOffer writes the files that the docs speak of.
func writeOffer(t *testing.T, dir string) {
	text := offer(t)
	var candidates strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
			candidates.WriteString(line)
		}
	}
	candidates.WriteString("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=end-of-candidates\r\n")
	for name, content := range map[string]string{"offer.sdp": text, "candidates.sdpfrag": candidates.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// runBlock runs an example and gives what it prints. One that goes on (curl -N) is
// ended when it has printed each event that is shown.
func runBlock(t *testing.T, dir, block, shown string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-c", "touch vars; . ./vars; set -a\n"+block+"\nexport -p >vars")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = end
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/install-deps.sh test installs what is missing)", err)
	}
	wanted := map[string]bool{}
	if strings.Contains(block, "curl -sN ") {
		for _, e := range eventsOf(shown) {
			wanted[e.kind] = true
		}
	}
	endless := len(wanted) > 0
	var out strings.Builder
	in := bufio.NewReader(stdout)
	for {
		line, err := in.ReadString('\n')
		out.WriteString(line)
		if err != nil {
			break
		}
		if endless && line == "\n" {
			for _, e := range eventsOf(out.String()) {
				delete(wanted, e.kind)
			}
			if len(wanted) == 0 {
				_ = end()
			}
		}
	}
	if err := cmd.Wait(); err != nil && (!endless || len(wanted) > 0) {
		t.Errorf("%v:\n%s%s", err, block, out.String())
	}
	return out.String()
}

// eventsOf reads an event stream; what is not ended by an empty line counts, too.
func eventsOf(text string) (all []seen) {
	eachEvent(strings.NewReader(text+"\n\n"), func(e seen) {
		if e.kind != "" {
			all = append(all, e)
		}
	})
	return all
}

// compareEvents sets each event that is shown against the first real one of its
// type that has an id if it has one.
func compareEvents(t *testing.T, shown, printed string) {
	t.Helper()
	for _, want := range eventsOf(shown) {
		i := slices.IndexFunc(eventsOf(printed), func(e seen) bool { return e.kind == want.kind && (e.id != "") == (want.id != "") })
		if i < 0 {
			t.Errorf("no event %s in %s", want.kind, printed)
			continue
		}
		compare(t, "event "+want.kind, string(want.data), string(eventsOf(printed)[i].data))
	}
}

// compare says where two pieces of JSON do not have the same keys. Elements of a
// list stand together; {…} is anything.
func compare(t *testing.T, what, shown, printed string) {
	t.Helper()
	var want, got any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(shown, "{…}", `"…"`)), &want); err != nil {
		t.Errorf("%s: what is shown is no JSON: %v", what, err)
		return
	}
	if err := json.Unmarshal([]byte(printed), &got); err != nil {
		t.Errorf("%s prints no JSON: %v: %s", what, err, printed)
		return
	}
	if a, b := keysOf(want), keysOf(got); !a.covers(b) || !b.covers(a) {
		w, _ := json.Marshal(a)
		g, _ := json.Marshal(b)
		t.Errorf("%s\nthe docs have %s\nthe server  %s", what, w, g)
	}
}

// form is the keys of a value: nil for a value without keys, or one that has them
// under "…".
type form map[string]form

func keysOf(v any) form {
	switch v := v.(type) {
	case map[string]any:
		f := form{}
		for k, sub := range v {
			f[k] = keysOf(sub)
		}
		return f
	case []any:
		f := form{}
		for _, sub := range v {
			f.add(keysOf(sub))
		}
		return form{"[]": f}
	case string:
		if v == "…" {
			return form{v: nil}
		}
	}
	return nil
}

func (f form) add(other form) {
	for k, sub := range other {
		if f[k] == nil {
			f[k] = maps.Clone(sub)
		} else {
			f[k].add(sub)
		}
	}
}

// covers says whether f has all that other has.
func (f form) covers(other form) bool {
	_, open := f["…"]
	if _, also := other["…"]; open || also {
		return true
	}
	for k, sub := range other {
		own, ok := f[k]
		if !ok || !own.covers(sub) {
			return false
		}
	}
	return true
}
