// Package codec turns coded audio into PCM: 16 kHz mono s16. It has no
// goroutine and no clock; a Decoder belongs to one goroutine.
//
// Opus is decoded by github.com/pion/opus, or by libopus in builds with the tags
// libopus and nolibopusfile; these conceal losses better (docs/CONCEALMENT.md).
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"verbatim/media/audio"
)

// maxG711 is the longest G.711 payload in bytes: 200 ms. Gateways send 10 to
// 60 ms, some up to that.
const maxG711 = 200 * narrowRate / 1000

// maxPCM is the longest PCM payload in samples: 120 ms.
const maxPCM = 120 * audio.FrameRate / 1000

// MaxSamples is the most samples (16 kHz) that one packet decodes to: those of
// 200 ms of G.711. Opus packets last up to 120 ms.
const MaxSamples = maxG711 * audio.FrameRate / narrowRate

var errPayload = errors.New("malformed payload")

// Duration is what a payload lasts in ticks (48 kHz) by its own account. It
// fails for payloads that are empty or malformed, or longer than a packet of
// their format may be.
func Duration(f audio.Format, payload []byte) (ticks int64, err error) {
	n := len(payload)
	switch f {
	case audio.FormatOpus:
		return OpusTicks(payload)
	case audio.FormatPCMU, audio.FormatPCMA:
		if n == 0 || n > maxG711 {
			return 0, fmt.Errorf("%w: %d bytes of G.711", errPayload, n)
		}
		return int64(n) * audio.TickRate / narrowRate, nil
	case audio.FormatPCM:
		if n == 0 || n%2 != 0 || n > 2*maxPCM {
			return 0, fmt.Errorf("%w: %d bytes of PCM", errPayload, n)
		}
		return int64(n/2) * audio.TicksPerSample, nil
	case audio.FormatNone:
	}
	return 0, fmt.Errorf("%w: format %d", errPayload, f)
}

// Decoder decodes the packets of one track one after the other, whatever their
// formats: what it keeps between packets begins anew when the format changes.
// Make it with NewDecoder.
type Decoder struct {
	format audio.Format // of the last payload
	opus   opusDecoder
	narrow *Resampler // 8 → 16 kHz; nil until the first G.711
	fade   fade
	failed uint64
}

// NewDecoder makes a decoder in its initial state.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.Reset()
	return d
}

// Reset returns to the initial state; the count of failures stays.
func (d *Decoder) Reset() {
	d.begin(audio.FormatNone)
	d.fade = fade{}
}

// begin is Reset for a format, but that what was heard last stays.
func (d *Decoder) begin(f audio.Format) {
	d.format = f
	d.opus.reset()
	if d.narrow != nil {
		d.narrow.Reset()
	}
}

// Failed counts payloads that could not be decoded and became silence.
func (d *Decoder) Failed() uint64 { return d.failed }

// Decode decodes a payload that lasts len(pcm) samples by its own account into
// pcm (at most MaxSamples). Exactly len(pcm) samples are written: where the
// payload cannot be decoded, or decodes to less, the rest is zeros.
func (d *Decoder) Decode(f audio.Format, payload []byte, pcm []int16) {
	if f != d.format {
		d.begin(f)
	}
	n := 0
	if len(payload) > 0 && len(pcm) <= MaxSamples {
		switch f {
		case audio.FormatOpus:
			n = d.decodeOpus(payload, pcm)
		case audio.FormatPCMU:
			n = d.decodeG711(&muLaw, payload, pcm)
		case audio.FormatPCMA:
			n = d.decodeG711(&aLaw, payload, pcm)
		case audio.FormatPCM:
			for ; n < min(len(pcm), len(payload)/2); n++ {
				pcm[n] = int16(binary.LittleEndian.Uint16(payload[2*n:]))
			}
			d.fade.heard(pcm[:n])
		case audio.FormatNone:
		}
	}
	if n < len(pcm) {
		d.failed++
		clear(pcm[n:])
		d.fade = fade{}
	}
}

// decodeOpus recovers at the edge to the codec: what it reads comes from
// strangers. A decoder that panicked is begun anew.
func (d *Decoder) decodeOpus(payload []byte, pcm []int16) (n int) {
	defer func() {
		if recover() != nil {
			d.opus.reset()
			n = 0
		}
	}()
	return d.opus.decode(payload, pcm, &d.fade)
}

// Silence says that time went by in which the sender sent nothing, or nothing
// that is known: what was heard before it is not to be drawn out after it.
func (d *Decoder) Silence() {
	d.opus.silence()
	d.fade = fade{}
}

// Conceal fills pcm, the time of packets that were lost (at most MaxSamples),
// so that speech recognizers suffer least: the audio before it is drawn out and
// faded into zeros. It may be called again for the rest of a long loss; then the
// last call, with next, gets the part that lies next to next. That is the
// payload after the loss and f its format, or nil: libopus finds the end of what
// was lost in it, where the sender put it in (in-band FEC, RFC 6716, 2.1.7).
func (d *Decoder) Conceal(pcm []int16, f audio.Format, next []byte) {
	if d.format == audio.FormatOpus {
		if f != audio.FormatOpus {
			next = nil
		}
		d.opus.conceal(pcm, next, &d.fade)
		return
	}
	d.fade.conceal(pcm)
}
