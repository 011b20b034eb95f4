// Package decode turns the packets of one track into frames: 16 kHz mono s16,
// without holes, each sample at its exact place. It is pure but for the packets
// that it reads.
package decode

import (
	"iter"

	"verbatim/media/audio"
	"verbatim/media/codec"
)

// maxFrame bounds the length of a frame in samples: a silence of an hour comes
// in pieces.
const maxFrame = audio.FrameRate / 10

// Decoder decodes the packets of one track. It belongs to one goroutine.
type Decoder struct {
	codec *codec.Decoder
	pcm   [codec.MaxSamples]int16
	zeros [maxFrame]int16
}

// New makes a decoder.
func New() *Decoder { return &Decoder{codec: codec.NewDecoder()} }

// Packet decodes the next packet into frames, none for a packet that lasts less
// than a sample. A frame is valid until the next one. Where nothing was
// received the samples are zeros. It reports whether yield took all frames.
//
// Tick t of the track lies in sample t/3: the division is of positions, not of
// durations, so that rounding never adds up.
func (d *Decoder) Packet(p audio.Packet, yield func(audio.Frame) bool) bool {
	from, to := p.Start/audio.TicksPerSample, p.Next()/audio.TicksPerSample
	if n := to - from; p.Kind == audio.Coded && n <= codec.MaxSamples {
		pcm := d.pcm[:n]
		d.codec.Decode(p.Format, p.Payload, pcm)
		return n == 0 || yield(audio.Frame{Start: from, PCM: pcm, Kind: p.Kind})
	}
	for from < to {
		n := min(to-from, maxFrame)
		clear(d.zeros[:n]) // whoever got it last might have written to it
		if !yield(audio.Frame{Start: from, PCM: d.zeros[:n], Kind: p.Kind}) {
			return false
		}
		from += n
	}
	return true
}

// Frames decodes a sequence of packets up to its end or first error.
func Frames(packets iter.Seq2[audio.Packet, error]) iter.Seq2[audio.Frame, error] {
	return func(yield func(audio.Frame, error) bool) {
		d := New()
		for p, err := range packets {
			if err != nil {
				yield(audio.Frame{}, err)
				return
			}
			if !d.Packet(p, func(f audio.Frame) bool { return yield(f, nil) }) {
				return
			}
		}
	}
}
