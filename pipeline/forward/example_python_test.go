//go:build pocketsphinx

package forward

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/internal/natstest"
	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// The example of docs/FORWARD.md writes what wav gives, also if the broker goes
// away meanwhile.
func TestExampleWorker(t *testing.T) {
	s := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, _ := newForwarder(t, s.URL)
	l, out := newTape(t, t.TempDir(), trackID), t.TempDir()
	voice := speech.Packets("sas-0870")
	coded := func(from, to int) {
		for _, p := range voice[from:to] {
			l.add(t, audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: p})
		}
	}
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context(), about(), l) }()
	coded(0, 50)
	l.add(t, audio.Packet{Kind: audio.Lost, Samples: 960})
	l.add(t, audio.Packet{Kind: audio.Silence, Samples: 25 * 48000})
	until(t, "something is with the broker", func() bool { return f.Stats().Messages > 0 })

	python := cmp.Or(os.Getenv("PYTHON"), "/usr/bin/python3")
	cmd := exec.CommandContext(t.Context(), python, "../../examples/forward.py", meetingID, "--out", out, "--url", s.URL, "--quiet", "0.1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	check(t, cmd.Start())
	file := filepath.Join(out, trackID+".wav")
	until(t, "it writes", func() bool { _, err := os.Stat(file); return err == nil })
	s.Stop()
	coded(50, 200)
	time.Sleep(100 * time.Millisecond)
	s.Start()
	l.add(t, audio.Packet{Kind: audio.End})
	check(t, <-done)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	b, err := os.ReadFile(file)
	check(t, err)
	want, sum := l.pcm()
	got := make([]int16, (len(b)-44)/2)
	_, err = binary.Decode(b[44:], binary.LittleEndian, got)
	check(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("%d samples, want %d, or others", len(got), len(want))
	}
	if text := said.String(); !strings.Contains(text, sum.String()+"; 0 are missing") || !strings.Contains(text, "concealed 320") || strings.Count(text, "ended (left)") != 1 {
		t.Errorf("it says:\n%s", text)
	}
}
