//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/internal/wav"
	"verbatim/signaling/whipclient"
)

const (
	perNumber   = 100 * time.Millisecond
	packetTime  = 60 * time.Millisecond
	packetTicks = 60 * 48
	// round is after how many numbers a sentence and its pause are over.
	round = 40
	// encoderDelay is how much later a number is in the packets than it is in
	// the audio (Opus' look-ahead).
	encoderDelay = 6500 * time.Microsecond
)

// signal is what all participants say, from number 0 on: as PCM and as Opus
// packets (60 ms, 24 kb/s, wideband, as the server asks browsers for).
type signal struct {
	numbers int
	pcm     []byte // 16 kHz s16le
	packets [][]byte
}

// makeSignal makes at least as much of it as is asked for.
func makeSignal(ctx context.Context, dir string, d time.Duration) (*signal, error) {
	n := (int(d/perNumber)/round + 1) * round
	if n > tonecode.Numbers {
		return nil, fmt.Errorf("%v is too long: the numbers would begin again", d)
	}
	file := filepath.Join(dir, "signal.wav")
	samples := tonecode.Signal(0, n)
	if err := os.WriteFile(file, wav.Encode(samples), 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	s := &signal{numbers: n, pcm: make([]byte, 0, 2*len(samples))}
	for _, v := range samples {
		s.pcm = binary.LittleEndian.AppendUint16(s.pcm, uint16(v))
	}
	// 4008=1103 is OPUS_SET_BANDWIDTH(OPUS_BANDWIDTH_WIDEBAND).
	cmd := exec.CommandContext(ctx, "opusenc", "--quiet", "--speech", "--bitrate", "24", "--framesize", "60", "--set-ctl-int", "4008=1103", file, "-")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("opusenc (Debian's opus-tools): %w", err)
	}
	for p, err := range whipclient.ReadOgg(out) {
		if err != nil {
			return nil, err
		}
		if p.Ticks == packetTicks { // the last one may be shorter
			s.packets = append(s.packets, append([]byte(nil), p.Payload...))
		}
	}
	return s, cmd.Wait()
}

// packetsOf are the first and the last packet in which a number is.
func packetsOf(number int) (first, last int) {
	begin := time.Duration(number)*perNumber + encoderDelay
	return int(begin / packetTime), int((begin + 90*time.Millisecond) / packetTime)
}

// endOf is the number behind the sentence and pause in which number lies.
func endOf(number int) int { return (number/round + 1) * round }
