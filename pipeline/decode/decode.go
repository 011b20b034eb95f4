// Package decode turns the packets of one track into frames: 16 kHz mono s16,
// without holes, each sample at its exact place. It is pure but for the packets
// that it reads.
package decode

import (
	"iter"
	"sync"

	"verbatim/media/audio"
	"verbatim/media/codec"
)

// maxFrame bounds the length of a frame in samples: a silence of an hour comes
// in pieces.
const maxFrame = audio.FrameRate / 10

// Decoder decodes the packets of one track. It belongs to one goroutine.
type Decoder struct {
	codec *codec.Decoder
	lost  audio.Packet // waits for the next packet; of another kind: none waits
	pcm   *samples     // while Packet runs
}

// samples are what a frame is made in. They are lent for a packet, since most
// decoders wait for one at any time.
type samples [codec.MaxSamples]int16

var free = sync.Pool{New: func() any { return new(samples) }}

// New makes a decoder.
func New() *Decoder { return &Decoder{codec: codec.NewDecoder()} }

// Packet decodes the next packet into frames, none for a packet that lasts less
// than a sample. A frame is valid until yield returns. Lost audio is concealed;
// where nothing else was received the samples are zeros. Packet reports whether
// yield took all frames.
//
// The frames of a lost packet come with the packet after it, which may carry
// what was lost; so the End packet has to be given, too.
//
// Tick t of the track lies in sample t/3: the division is of positions, not of
// durations, so that rounding never adds up.
func (d *Decoder) Packet(p audio.Packet, yield func(audio.Frame) bool) bool {
	d.pcm = free.Get().(*samples) //nolint:errcheck,forcetypeassert // there is nothing else in it
	defer func() {
		free.Put(d.pcm)
		d.pcm = nil
	}()
	lost := d.lost
	d.lost = audio.Packet{}
	if lost.Kind == audio.Lost && !d.conceal(lost, p, yield) {
		return false
	}
	from, to := p.Start/audio.TicksPerSample, p.Next()/audio.TicksPerSample
	switch n := to - from; {
	case p.Kind == audio.Lost:
		d.lost = p
		return true
	case p.Kind == audio.Coded && n <= codec.MaxSamples:
		pcm := d.pcm[:n]
		d.codec.Decode(p.Format, p.Payload, pcm)
		return n == 0 || yield(audio.Frame{Start: from, PCM: pcm, Kind: p.Kind})
	case n > 0:
		d.codec.Silence()
	}
	for from < to {
		pcm := d.pcm[:min(to-from, maxFrame)]
		clear(pcm) // it was used before, and whoever got it might have written to it
		if !yield(audio.Frame{Start: from, PCM: pcm, Kind: p.Kind}) {
			return false
		}
		from += int64(len(pcm))
	}
	return true
}

// conceal makes the frames of a lost packet. All but the first are whole ones,
// so that the last has room for what the next packet carries of it.
func (d *Decoder) conceal(lost, next audio.Packet, yield func(audio.Frame) bool) bool {
	from, to := lost.Start/audio.TicksPerSample, lost.Next()/audio.TicksPerSample
	for from < to {
		pcm := d.pcm[:(to-from-1)%maxFrame+1]
		if from += int64(len(pcm)); from < to {
			d.codec.Conceal(pcm, audio.FormatNone, nil)
		} else {
			d.codec.Conceal(pcm, next.Format, next.Payload)
		}
		if !yield(audio.Frame{Start: from - int64(len(pcm)), PCM: pcm, Kind: audio.Lost}) {
			return false
		}
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
