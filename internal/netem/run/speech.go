//go:build linux

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"verbatim/internal/speech"
	"verbatim/internal/wav"
	"verbatim/media/audio"
)

//go:embed speech.txt
var text string

// talk is what the senders say, as long as a cell is: synthetic and recorded
// speech in turn.
type talk struct{ wav, opus string }

func makeTalk(ctx context.Context, dir string, d time.Duration) (t talk, err error) {
	t = talk{wav: filepath.Join(dir, "talk.wav"), opus: filepath.Join(dir, "talk.opus")}
	voice := filepath.Join(dir, "voice.wav")
	if err := run(ctx, "flite", "-voice", "rms", "-t", text, "-o", voice); err != nil {
		return t, err
	}
	pcm, err := readWAV(voice)
	if err != nil {
		return t, err
	}
	round := pcm
	for _, name := range speech.Names {
		round = append(round, speech.PCM(name)...)
	}
	samples := int(d * audio.FrameRate / time.Second)
	var all []int16
	for len(all) < samples {
		all = append(all, round[:min(len(round), samples-len(all))]...)
	}
	if err := os.WriteFile(t.wav, wav.Encode(all), 0o600); err != nil {
		return t, err
	}
	// 4008=1103 is OPUS_SET_BANDWIDTH(OPUS_BANDWIDTH_WIDEBAND): what the server
	// asks browsers for.
	return t, run(ctx, "opusenc", "--quiet", "--speech", "--bitrate", "24", "--framesize", "60", "--set-ctl-int", "4008=1103", t.wav, t.opus)
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func readWAV(file string) ([]int16, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pcm, err := wav.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return pcm, nil
}
