// Package codec turns coded audio into PCM: 16 kHz mono s16. It has no
// goroutine and no clock; a Decoder belongs to one goroutine.
package codec

import (
	"errors"
	"fmt"

	"github.com/pion/opus"

	"verbatim/media/audio"
)

// maxOpusTicks is the longest duration of an Opus packet: 120 ms (RFC 6716,
// 3.2.5, R5).
const maxOpusTicks = 120 * audio.TickRate / 1000

// MaxSamples is the most samples (16 kHz) that one packet decodes to.
const MaxSamples = maxOpusTicks / audio.TicksPerSample

var errOpus = errors.New("malformed opus packet")

// opusFrameTicks is the frame duration of each configuration number of a TOC
// byte, in ticks of 48 kHz (RFC 6716, table 2).
var opusFrameTicks = func() (t [32]int64) {
	for c := range t {
		switch {
		case c < 12: // SILK: 10, 20, 40, 60 ms
			t[c] = [...]int64{480, 960, 1920, 2880}[c%4]
		case c < 16: // hybrid: 10, 20 ms
			t[c] = [...]int64{480, 960}[c%2]
		default: // CELT: 2.5, 5, 10, 20 ms
			t[c] = [...]int64{120, 240, 480, 960}[c%4]
		}
	}
	return t
}()

// OpusTicks is the duration of an Opus packet in ticks (48 kHz) as its own TOC
// byte and frame count state it (RFC 6716, 3.1 and 3.2). It fails for packets
// that state none, or more than 120 ms.
func OpusTicks(p []byte) (int64, error) {
	if len(p) == 0 {
		return 0, fmt.Errorf("%w: empty", errOpus)
	}
	frames := int64(1)
	switch p[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(p) < 2 {
			return 0, fmt.Errorf("%w: no frame count", errOpus)
		}
		frames = int64(p[1] & 0x3f)
	}
	n := frames * opusFrameTicks[p[0]>>3]
	if n == 0 || n > maxOpusTicks {
		return 0, fmt.Errorf("%w: %d frames of %d ticks", errOpus, frames, opusFrameTicks[p[0]>>3])
	}
	return n, nil
}

// Decoder decodes the packets of one track one after the other. Make it with
// NewDecoder.
type Decoder struct {
	opus   opus.Decoder
	failed uint64
}

// NewDecoder makes a decoder in its initial state.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.Reset()
	return d
}

// Reset returns to the initial state.
func (d *Decoder) Reset() {
	if err := d.opus.Init(audio.FrameRate, 1); err != nil {
		panic(err) // both values are constants that it supports
	}
}

// Failed counts payloads that could not be decoded and became silence.
func (d *Decoder) Failed() uint64 { return d.failed }

// Decode decodes a payload that lasts len(pcm) samples by its own account into
// pcm (at most MaxSamples). Exactly len(pcm) samples are written: where the
// payload cannot be decoded, or decodes to less, the rest is zeros.
func (d *Decoder) Decode(f audio.Format, payload []byte, pcm []int16) {
	n := 0
	if f == audio.FormatOpus && len(payload) > 0 && len(pcm) <= MaxSamples {
		n = d.decodeOpus(payload, pcm)
	}
	if n < len(pcm) {
		d.failed++
		clear(pcm[n:])
	}
}

// decodeOpus recovers at the edge to the codec: what it reads comes from
// strangers. A decoder that panicked is begun anew.
func (d *Decoder) decodeOpus(payload []byte, pcm []int16) (n int) {
	defer func() {
		if recover() != nil {
			d.Reset()
			n = 0
		}
	}()
	n, err := d.opus.DecodeToInt16(payload, pcm)
	if err != nil {
		return 0
	}
	return min(n, len(pcm))
}

// Duration is OpusTicks for Opus.
func Duration(f audio.Format, payload []byte) (int64, error) {
	if f == audio.FormatOpus {
		return OpusTicks(payload)
	}
	return int64(len(payload)) * 6, nil
}
