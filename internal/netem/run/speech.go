//go:build linux

package main

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"verbatim/internal/speech"
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
	if err := writeWAV(t.wav, all); err != nil {
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

const wavHeader = 44 // of a canonical file

func readWAV(file string) ([]int16, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(b) < wavHeader || binary.LittleEndian.Uint32(b[24:]) != audio.FrameRate {
		return nil, fmt.Errorf("%s is not a WAV file of %d Hz", file, audio.FrameRate)
	}
	pcm := make([]int16, (len(b)-wavHeader)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[wavHeader+2*i:]))
	}
	return pcm, nil
}

func writeWAV(file string, pcm []int16) error {
	size := uint32(2 * len(pcm))
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, 36+size)...)
	b = append(b, "WAVEfmt "...)
	for _, v := range []uint32{16, 1<<16 | 1, audio.FrameRate, 2 * audio.FrameRate, 16<<16 | 2} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), size)
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return os.WriteFile(file, b, 0o600)
}
