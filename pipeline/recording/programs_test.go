//go:build xiph

package recording

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// The programs of those who made the formats find nothing wrong.

// run runs a program and returns all that it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestOpusinfo(t *testing.T) {
	hybrid := audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: []byte{0xf8, 0xff, 0xfe}}
	for name, ps := range map[string][]audio.Packet{
		"speech":       spoken(t, 500),
		"one packet":   spoken(t, 1),
		"loss and DTX": append(append(append(spoken(t, 70), gapOf(audio.Lost, 2880), gapOf(audio.Silence, 18240)), spoken(t, 70)...), gapOf(audio.Silence, 48000*20)),
		"any length":   append(append([]audio.Packet{gapOf(audio.Discontinuity, 77777)}, spoken(t, 70)...), gapOf(audio.Shed, 12345)),
		"two modes":    append(append(spoken(t, 70), hybrid, gapOf(audio.Lost, 1080), hybrid), spoken(t, 70)...),
		"away":         append(append(spoken(t, 70), gapOf(audio.Silence, 48000*600)), spoken(t, 70)...),
	} {
		t.Run(name, func(t *testing.T) {
			var ticks int64
			for _, p := range ps {
				ticks += p.Samples
			}
			file := filepath.Join(t.TempDir(), "a.opus")
			if err := os.WriteFile(file, opusFile(t, ps...), 0o600); err != nil {
				t.Fatal(err)
			}
			says := run(t, "opusinfo", file)
			for _, bad := range []string{"WARNING", "ERROR", "Warning", "warning", "invalid"} {
				if strings.Contains(says, bad) {
					t.Fatalf("%s", says)
				}
			}
			var minutes int
			var seconds float64
			_, length, _ := strings.Cut(says, "Playback length: ")
			if _, err := fmt.Sscanf(length, "%dm:%fs", &minutes, &seconds); err != nil {
				t.Fatalf("%v\n%s", err, says)
			}
			off := audio.Duration(ticks).Seconds() - float64(60*minutes) - seconds
			if math.Abs(off) > 0.0011 || !strings.Contains(says, "ARTIST=Ada") {
				t.Errorf("%f s are missing:\n%s", off, says)
			}
			// libopus decodes exactly as much as the track lasts.
			pcm := filepath.Join(t.TempDir(), "a.raw")
			run(t, "opusdec", "--quiet", "--rate", "48000", "--no-dither", file, pcm)
			info, err := os.Stat(pcm)
			if err != nil || info.Size() != 2*ticks {
				t.Errorf("opusdec gave %d samples, want %d (%v)", info.Size()/2, ticks, err)
			}
		})
	}
}

func TestFLACProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.flac")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tracks := []Track{
		opened(packetsOf(0, 0, append(spoken(t, 200), plain(speech.PCM("sas-0880"))...)...)),
		opened(packetsOf(3*time.Second, 0, plain(speech.PCM("sas-0890"))...)),
	}
	if err := WriteFLAC(f, [][2]string{{"TITLE", "standup"}}, Mix(t.Context(), began, tracks)); err != nil {
		t.Fatal(err)
	}
	if says := run(t, "flac", "--test", "--warnings-as-errors", file); !strings.Contains(says, "ok") {
		t.Error(says)
	}
	var stream bytes.Buffer
	if err := WriteFLAC(&stream, nil, Mix(t.Context(), began, tracks)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, stream.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "flac", "--test", file) // it has no checksum, and warns of that
}
