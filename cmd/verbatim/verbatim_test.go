package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

// The tests run the real program: this test binary, which is verbatim when told
// so by the environment.
const beVerbatim = "TEST_BE_VERBATIM"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(beVerbatim) != "":
		_ = os.Unsetenv(beVerbatim) // the recognizers that it starts are not
		main()
		return
	case os.Getenv(beRecognizer) != "":
		recognizer(os.Getenv(beRecognizer))
		return
	}
	os.Exit(m.Run())
}

func verbatim(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), beVerbatim+"=1")
	return cmd
}

// process is a running `verbatim serve`.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	url   string
	admin string // URL of --admin, if there is one
	data  string
	room  string        // where ingest clients go
	token string        // with which they do, and get asks; "" for none
	out   chan struct{} // closed when its stdout has ended
}

func serve(t testing.TB, data, recognizer string, more ...string) *process {
	t.Helper()
	return serveTo(t, os.Stderr, data, recognizer, more...)
}

// serveTo is serve with another place for what the server logs.
func serveTo(t testing.TB, stderr *os.File, data, recognizer string, more ...string) *process {
	t.Helper()
	args := append([]string{
		"serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", data, "--recognizer", recognizer,
	}, more...)
	cmd := verbatim(context.Background(), args...)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &process{t: t, cmd: cmd, data: data, room: "r", out: make(chan struct{})}
	t.Cleanup(s.kill)
	lines := bufio.NewScanner(stdout)
	for s.url == "" && lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "listening: "); ok {
			url, _, _ = strings.Cut(url, " ")
			s.url = strings.TrimSuffix(url, "/")
		}
		if _, url, ok := strings.Cut(lines.Text(), "For operators: "); ok {
			url, _, _ = strings.Cut(url, " ")
			s.admin = strings.TrimSuffix(url, "/metrics")
		}
	}
	if s.url == "" {
		close(s.out) // it has ended
		t.Fatal("the server did not start")
	}
	go func() {
		defer close(s.out)
		_, _ = io.Copy(io.Discard, stdout)
	}()
	return s
}

// stop is what an operator does; it fails the test unless the server ends well.
func (s *process) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	<-s.out
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the server ended with %v", err)
	}
}

func (s *process) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		<-s.out
		_ = s.cmd.Wait()
	}
}

func (s *process) get(path string) []byte {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s, %v: %s", path, resp.Status, err, b)
	}
	return b
}

func (s *process) meetings() []meeting.Meeting {
	s.t.Helper()
	var list struct{ Meetings []meeting.Meeting }
	if err := json.Unmarshal(s.get("/v1/meetings"), &list); err != nil {
		s.t.Fatal(err)
	}
	return list.Meetings
}

// until polls the newest meeting; it fails the test after a minute.
func (s *process) until(what string, ok func(m meeting.Meeting) bool) meeting.Meeting {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		ms := s.meetings()
		if len(ms) > 0 && ok(ms[0]) {
			return ms[0]
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not within a minute: %s; meetings: %+v", what, ms)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// wav is the PCM of a track as the API gives it.
func (s *process) wav(m meeting.Meeting, track int) []int16 {
	s.t.Helper()
	b := s.get(fmt.Sprintf("/v1/meetings/%s/tracks/%s/audio.wav", m.ID, m.Tracks[track].ID))
	if size := binary.LittleEndian.Uint32(b[40:]); int(size) != len(b)-44 {
		s.t.Fatalf("the header says %d bytes of PCM, there are %d", size, len(b)-44)
	}
	pcm := make([]int16, (len(b)-44)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[44+2*i:]))
	}
	return pcm
}

func opusFile(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".opus")
	if err := os.WriteFile(path, speech.Opus(name), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// decoded is the sequential decode of a sentence's packets.
func decoded(t *testing.T, name string) (pcm []int16) {
	t.Helper()
	d := codec.NewDecoder()
	for p, err := range whipclient.ReadOgg(bytes.NewReader(speech.Opus(name))) {
		if err != nil {
			t.Fatal(err)
		}
		out := make([]int16, p.Ticks/3)
		d.Decode(audio.FormatOpus, p.Payload, out)
		pcm = append(pcm, out...)
	}
	return pcm
}

func TestPublishedAudioIsBitExact(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--count", "2", "--url", s.url).CombinedOutput()
	if err != nil {
		t.Fatalf("publish: %v: %s", err, out)
	}
	m := s.meetings()[0]
	if len(m.Tracks) != 2 {
		t.Fatalf("%d tracks, want 2", len(m.Tracks))
	}
	want := decoded(t, "sas-0880")
	for i, track := range m.Tracks {
		if !slices.Equal(s.wav(m, i), want) {
			t.Errorf("track %d: audio.wav is not the sequential decode of the file", i)
		}
		if track.State != meeting.TrackComplete || track.EndedBy != "left" {
			t.Errorf("track %d is %s, ended by %s", i, track.State, track.EndedBy)
		}
		checkCoverage(t, track.Coverage)
	}
	checkCoverage(t, m.Coverage)
	s.stop()
}

func checkCoverage(t testing.TB, c meeting.Coverage) {
	t.Helper()
	if in := c.ReceivedMS + c.RecoveredMS + c.ConcealedMS + c.SilenceMS + c.DiscontinuityMS + c.ShedMS; in != c.DurationMS {
		t.Errorf("what arrived adds up to %d of %d ms", in, c.DurationMS)
	}
	if out := c.TranscribedMS + c.PendingMS + c.SkippedMS; out != c.DurationMS {
		t.Errorf("what became of it adds up to %d of %d ms", out, c.DurationMS)
	}
}

// A server that is killed keeps everything up to the last second, and the next
// one ends what was open.
func TestKilledServer(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "none:")
	ctx, cancel := context.WithCancel(t.Context())
	pub := verbatim(ctx, "publish", opusFile(t, "sas-0870"), "--room", "r", "--name", "Ada", "--url", s.url)
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	before := s.until("4 s of audio", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 1 && m.Tracks[0].Coverage.DurationMS >= 4000
	})
	s.kill()
	cancel()
	_ = pub.Wait()

	s = serve(t, data, "none:", "--linger", "100ms")
	m := s.until("the meeting is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
	if m.ID != before.ID || len(m.Participants) != 1 || m.Participants[0].Name != "Ada" {
		t.Errorf("after the restart the meeting is %+v", m)
	}
	track := m.Tracks[0]
	if track.EndedBy != "server" || track.State != meeting.TrackComplete {
		t.Errorf("the track is %s, ended by %q", track.State, track.EndedBy)
	}
	pcm, want := s.wav(m, 0), decoded(t, "sas-0870")
	if kept := int64(len(pcm)) / 16; kept < before.Coverage.DurationMS-1000 {
		t.Errorf("%d ms were kept of %d", kept, before.Coverage.DurationMS)
	}
	if !slices.Equal(pcm, want[:len(pcm)]) {
		t.Error("what was kept is not what was sent")
	}
	s.stop()
}

func TestSecondServerOnTheSameData(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "none:")
	cmd := verbatim(t.Context(), "serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", data, "--recognizer", "none:")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another server is using the data folder") {
		t.Errorf("%v: %s", err, out)
	}
	s.stop()
}

func TestRefusesToListenEverywhere(t *testing.T) {
	cmd := verbatim(t.Context(), "serve", "--listen", "0.0.0.0:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--insecure") {
		t.Errorf("%v: %s", err, out)
	}
}

// A server whose origins it would not understand alike everywhere does not start.
func TestRefusesAllOrigins(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that starts does not end by itself
	defer cancel()
	out, err := verbatim(ctx, "serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:", "--cors-origin", "*").CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "--cors-origin") {
		t.Errorf("%v: %s", err, out)
	}
}

// What is wrong with an ICE server is told without its secret, given by flag or
// environment.
func TestSecretsAreNotRepeated(t *testing.T) {
	cmd := verbatim(t.Context(), "serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:")
	cmd.Env = append(cmd.Env, "VERBATIM_ICE_SERVER=stun:stun.example.net,turn:turn.example.net?username=u&credential=SECRET&transport=sctp")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--ice-server, number 2") || strings.Contains(string(out), "SECRET") {
		t.Errorf("%v: %s", err, out)
	}
}
