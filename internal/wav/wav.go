// Package wav reads and writes WAV files of the one kind that tests and tools
// need: 16 kHz mono s16, with the canonical header.
package wav

import (
	"encoding/binary"
	"errors"

	"verbatim/media/audio"
)

const headerLen = 44

// Encode makes a file of samples.
func Encode(pcm []int16) []byte {
	size := uint32(2 * len(pcm))
	b := make([]byte, 0, headerLen+size)
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, 36+size)
	b = append(b, "WAVEfmt "...)
	for _, v := range []uint32{16, 1<<16 | 1, audio.FrameRate, 2 * audio.FrameRate, 16<<16 | 2} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), size)
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

// Decode gives the samples of a file.
func Decode(b []byte) ([]int16, error) {
	if len(b) < headerLen || binary.LittleEndian.Uint32(b[24:]) != audio.FrameRate {
		return nil, errors.New("not a WAV file of 16 kHz")
	}
	pcm := make([]int16, (len(b)-headerLen)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[headerLen+2*i:]))
	}
	return pcm, nil
}
