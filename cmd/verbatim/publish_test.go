package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

func TestPublishFailsWithoutServer(t *testing.T) {
	cmd := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", "http://127.0.0.1:1")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "reach the server") {
		t.Errorf("%v: %s", err, out)
	}
}

// What a server refuses is said once.
func TestPublishRefused(t *testing.T) {
	t.Setenv("VERBATIM_AUTH_SECRET", tokenSecret)
	s := serve(t, t.TempDir(), "none:")
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", s.url).CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "token") {
		t.Errorf("%v: %s", err, out)
	}
	s.stop()
}

// A server that speaks HTTPS is told from one that refuses.
func TestHTTPToHTTPS(t *testing.T) {
	cert, key := certificate(t, t.TempDir(), "localhost", 1)
	s := serve(t, t.TempDir(), "none:", "--tls-cert", cert, "--tls-key", key)
	plain := strings.Replace(s.url, "https://", "http://", 1)
	for _, args := range [][]string{{"publish", opusFile(t, "sas-0880"), "--room", "r", "--url", plain}, {"health", "--url", plain}} {
		out, err := verbatim(t.Context(), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "this port speaks HTTPS; try "+s.url) {
			t.Errorf("%v: %s", err, out)
		}
	}
	s.stop()
}

func TestPublishSaysWhatItWaitsFor(t *testing.T) {
	s := serve(t, t.TempDir(), "openai+http://127.0.0.1:1/v1")
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--wait", "300ms", "--url", s.url).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "(--wait): the recognizer openai:whisper-1 is in state ") {
		t.Errorf("%v: %s", err, out)
	}
	s.kill()
}

// Ctrl-C: it leaves, says so, and says how much it had sent, which the server has.
func TestPublishStopped(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	cmd := verbatim(t.Context(), "publish", opusFile(t, "sas-0870"), "--room", "r", "--url", s.url)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("some audio", func(m meeting.Meeting) bool { return len(m.Tracks) == 1 && m.Tracks[0].Coverage.DurationMS > 500 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it says that all was sent")
	}
	found := regexp.MustCompile(`(?m)^Stopped: (\S+) of audio were sent, and the publisher has left; .*\n\z`).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("its last line is not what it should be: %s", out.String())
	}
	sent, err := time.ParseDuration(found[1])
	m := s.until("the track has ended", func(m meeting.Meeting) bool { return m.Tracks[0].EndedBy == "left" })
	if took := time.Duration(m.Tracks[0].Coverage.DurationMS) * time.Millisecond; err != nil || sent < took-10*time.Millisecond || sent > took+200*time.Millisecond {
		t.Errorf("it says that it sent %s (%v), the server has %v", found[1], err, took)
	}
	s.stop()
}

func TestFarewell(t *testing.T) {
	second := int64(1000 * ticksPerMS)
	for want, pubs := range map[string][]*publisher{
		"Stopped before anybody had joined.": {{}, {}},
		"Stopped: 1.5s of audio were sent, and the publisher has left; the server transcribes what it has.":                            {{sent: second * 3 / 2, joined: true}},
		"Stopped: 3s of audio were sent, and all 2 who had joined have left; the server transcribes what it has.":                      {{sent: second, joined: true}, {sent: 2 * second, joined: true}, {}},
		"Stopped: 2s of audio were sent; 1 of 2 could not tell the server that they leave, which it notices by itself: unexpected EOF": {{sent: second, joined: true, left: io.ErrUnexpectedEOF}, {sent: second, joined: true}},
	} {
		if got := farewell(pubs); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestPublishSaysThatItsTrackHadEnded(t *testing.T) {
	for by, want := range map[string]string{"left": "", "": "", "server": "ended_by: server"} {
		track := meeting.Track{EndedBy: by, Coverage: meeting.Coverage{ReceivedMS: 7000}}
		err := taken(track, 1, 15_000*ticksPerMS)
		if err == nil || !strings.HasSuffix(strings.TrimSuffix(err.Error(), ")"), cmp.Or(want, "lost on the way")) {
			t.Errorf("%q: %v", by, err)
		}
		if err := taken(track, 1, 7_001*ticksPerMS); err != nil {
			t.Errorf("%q: %v", by, err)
		}
	}
}

// What others are called and say is shown, and not obeyed by the terminal.
func TestScreenShowsWhatTerminalsObey(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out)
	s.add(&publisher{id: "eve"})
	data, err := json.Marshal(map[string]any{
		"participant": map[string]string{"id": "eve", "name": "Eve\x1b[2J"}, "text": "hi\x1b]0;owned\x07\nthere\u009b31m", "final": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.show(whipclient.Event{Type: meeting.EventCaption, Data: data})
	if got, want := out.String(), "Eve [2J: hi ]0;owned  there 31m\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// publishOn publishes a sentence and stops the server in the middle of it. It returns
// what publish prints.
func publishOn(t *testing.T, url string, s *process, then func()) (out string, err error) {
	t.Helper()
	cmd := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--url", url)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("some speech", func(m meeting.Meeting) bool { return len(m.Tracks) == 1 && m.Tracks[0].Coverage.DurationMS > 500 })
	s.stop()
	then()
	err = cmd.Wait()
	return b.String(), err
}

// A server that shuts down is followed to another: each packet is in one of them.
func TestPublishMoves(t *testing.T) {
	dataA := t.TempDir()
	a := serve(t, dataA, "none:", "--linger", "1s")
	b := serve(t, t.TempDir(), "none:", "--linger", "1s")
	out, _ := publishOn(t, balancer(t, a, b), a, func() {}) // the first has another database, and cannot be asked
	if !regexp.MustCompile(`(?m)^Ada: the server shuts down after \S+s of audio; joining again$`).MatchString(out) {
		t.Errorf("it says %s", out)
	}
	again := serve(t, dataA, "none:", "--linger", "10ms")
	all := packetsOf(t, speech.Opus("sas-0880"))
	fromA, toA := again.sent(all)
	fromB, toB := b.sent(all)
	if fromA != 0 || fromB != toA || toB != len(all) {
		t.Errorf("packets %d to %d are in the first track, %d to %d of %d in the second: %s", fromA, toA, fromB, toB, len(all), out)
	}
	again.stop()
	b.stop()
}

// A server that is alone is waited for; then all is in one meeting.
func TestPublishComesBack(t *testing.T) {
	data, at := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := serve(t, data, "none:", "--listen", at)
	out, err := publishOn(t, s.url, s, func() {
		s = serve(t, data, "none:", "--listen", at)
	})
	if err != nil || !strings.Contains(out, "joining again") {
		t.Errorf("%v: %s", err, out)
	}
	var sent, got int64
	for _, p := range packetsOf(t, speech.Opus("sas-0880")) {
		sent += p.Ticks / ticksPerMS
	}
	m := s.meetings()[0]
	for _, track := range m.Tracks {
		got += track.Coverage.ReceivedMS + track.Coverage.RecoveredMS
	}
	if len(m.Tracks) != 2 || got < sent-2 || got > sent {
		t.Errorf("%d tracks have %d ms of %d", len(m.Tracks), got, sent)
	}
	s.stop()
}

// Who has ended or erased the meeting does not want it to begin again.
func TestPublishEndsWithTheMeeting(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	for _, erase := range []bool{false, true} {
		cmd := verbatim(t.Context(), "publish", opusFile(t, "sas-0870"), "--room", "r", "--url", s.url)
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		m := s.until("some speech", func(m meeting.Meeting) bool {
			return m.State == meeting.StateLive && len(m.Tracks) == 1 && m.Tracks[0].Coverage.DurationMS > 500
		})
		s.request(http.MethodPost, "/v1/meetings/"+m.ID+"/end", "")
		if erase {
			s.request(http.MethodDelete, "/v1/meetings/"+m.ID, "")
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(b.String(), "connection was lost") || strings.Contains(b.String(), "joining again") {
			t.Errorf("%v: %s", err, b.String())
		}
	}
	if n := len(s.meetings()); n != 1 {
		t.Errorf("there are %d meetings", n)
	}
	s.stop()
}
