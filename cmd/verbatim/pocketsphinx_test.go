//go:build pocketsphinx

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/internal/wer"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// helper builds verbatim-pocketsphinx.
func helper(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "verbatim-pocketsphinx")
	out, err := exec.Command("go", "build", "-tags", "pocketsphinx", "-o", path, "verbatim/cmd/verbatim-pocketsphinx").CombinedOutput()
	if err != nil {
		t.Fatalf("build the helper: %v: %s", err, out)
	}
	return path
}

// recognize is the helper on audio as it is, without a server.
func recognize(t *testing.T, helper string, pcm []int16) (words []string) {
	t.Helper()
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = append(b, byte(v), byte(v>>8))
	}
	cmd := exec.Command(helper)
	cmd.Stdin = strings.NewReader(string(b))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var r struct{ Type, Text string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Type == "final" {
			words = append(words, strings.Fields(r.Text)...)
		}
	}
	return words
}

func (s *process) transcript(m meeting.Meeting) (words []string) {
	s.t.Helper()
	var d struct{ Segments []transcript.Segment }
	if err := json.Unmarshal(s.get("/v1/meetings/"+m.ID+"/transcript.json"), &d); err != nil {
		s.t.Fatal(err)
	}
	for _, seg := range d.Segments {
		words = append(words, strings.Fields(seg.Text)...)
	}
	return words
}

func recognizerOf(helper string) string { return "pocketsphinx:?helper=" + helper }

// Through the server a recognizer understands what it understands without it.
func TestWordErrorRate(t *testing.T) {
	bin := helper(t)
	s := serve(t, t.TempDir(), recognizerOf(bin))
	for _, name := range speech.Names {
		t.Run(name, func(t *testing.T) {
			out, err := verbatim(t.Context(), "publish", opusFile(t, name), "--room", name, "--url", s.url).CombinedOutput()
			if err != nil {
				t.Fatalf("publish: %v: %s", err, out)
			}
			m := s.meetings()[0]
			if st := m.Tracks[0].State; st != meeting.TrackComplete {
				t.Fatalf("publish is done and the track is %s", st)
			}
			ref := speech.Words(name)
			direct := wer.Rate(ref, recognize(t, bin, speech.PCM(name)))
			served := wer.Rate(ref, s.transcript(m))
			t.Logf("%d words: %d errors on the file, %d through the server", len(ref), direct, served)
			// The codec alone may turn a word or two either way.
			if served > direct+2 {
				t.Errorf("%d errors through the server, %d on the file", served, direct)
			}
		})
	}
	s.stop()
}

// children are the processes that a process started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil // none
	}
	for _, f := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

// Killing the recognizer in the middle of a sentence loses no word.
func TestKilledRecognizer(t *testing.T) {
	bin := helper(t)
	s := serve(t, t.TempDir(), recognizerOf(bin))
	file := opusFile(t, "sas-0870")
	if out, err := verbatim(t.Context(), "publish", file, "--room", "calm", "--url", s.url).CombinedOutput(); err != nil {
		t.Fatalf("publish: %v: %s", err, out)
	}
	calm := s.transcript(s.meetings()[0])

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pub := verbatim(ctx, "publish", file, "--room", "killed", "--url", s.url)
	pub.Stderr = os.Stderr
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	for _, ms := range []int64{2000, 4500} {
		var pids []int
		s.until("the sentence is under way, and there is a recognizer to kill", func(m meeting.Meeting) bool {
			pids = children(t, s.cmd.Process.Pid)
			return m.Room == "killed" && m.Coverage.DurationMS >= ms && len(pids) > 0
		})
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	if err := pub.Wait(); err != nil {
		t.Fatal("publish:", err)
	}
	killed := s.transcript(s.meetings()[0])
	if got, want := strings.Join(killed, " "), strings.Join(calm, " "); got != want || want == "" {
		t.Errorf("with the recognizer killed twice: %s\nand without: %s", got, want)
	}
	s.stop()
}

// A server that is killed in mid-sentence has, after the next start, the words
// of all that had arrived.
func TestKilledServerFinishesItsTranscripts(t *testing.T) {
	bin := helper(t)
	data := t.TempDir()
	s := serve(t, data, recognizerOf(bin))
	ctx, cancel := context.WithCancel(t.Context())
	pub := verbatim(ctx, "publish", opusFile(t, "sas-0870"), "--room", "r", "--name", "Ada", "--url", s.url)
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("5 s of audio", func(m meeting.Meeting) bool { return m.Coverage.DurationMS >= 5000 })
	s.kill()
	cancel()
	_ = pub.Wait()

	s = serve(t, data, recognizerOf(bin), "--linger", "100ms")
	m := s.until("the transcript is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
	want := recognize(t, bin, s.wav(m, 0))
	if got := s.transcript(m); len(want) == 0 || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the transcript is %q, the audio that was kept says %q", got, want)
	}
	s.stop()
}

// A shutdown waits for the last caption of those who are speaking.
func TestShutdownFlushes(t *testing.T) {
	bin := helper(t)
	data := t.TempDir()
	s := serve(t, data, recognizerOf(bin), "--drain-move", "0s") // nobody is asked to go elsewhere first
	pub := verbatim(t.Context(), "publish", opusFile(t, "sas-0870"), "--room", "r", "--url", s.url)
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("4 s of audio", func(m meeting.Meeting) bool { return m.Coverage.DurationMS >= 4000 })
	s.stop()
	_ = pub.Wait()
	s = serve(t, data, "none:")
	m := s.meetings()[0]
	if tr := m.Tracks[0]; tr.State != meeting.TrackComplete || tr.EndedBy != "server" || tr.Coverage.PendingMS != 0 {
		t.Errorf("after the shutdown the track is %s, ended by %s, %d ms pending", tr.State, tr.EndedBy, tr.Coverage.PendingMS)
	}
	want := recognize(t, bin, s.wav(m, 0))
	if got := s.transcript(m); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the transcript is %q, the audio says %q", got, want)
	}
	s.stop()
}
