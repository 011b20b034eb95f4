//go:build libopus

package codec

import (
	"gopkg.in/hraban/opus.v2"

	"verbatim/media/audio"
)

// OpusBy is the library that decodes Opus in this build.
const OpusBy = "libopus"

type opusDecoder = libopusDecoder

const (
	// grain is what libopus conceals multiples of: 2.5 ms.
	grain = audio.FrameRate * 25 / 10000
	// concealTime is how much of a loss libopus conceals, in samples. By then its
	// own fade is done (SILK: noise floor).
	concealTime = audio.FrameRate * 120 / 1000
)

// libopusDecoder is Opus by libopus.
type libopusDecoder struct {
	opus   *opus.Decoder
	frames [maxOpusFrames][]byte
	scrap  [grain]int16
	hidden int // samples concealed since the last packet
}

func (d *libopusDecoder) reset() {
	o, err := opus.NewDecoder(audio.FrameRate, 1)
	if err != nil {
		panic(err) // both values are constants that it supports
	}
	d.opus, d.hidden = o, concealTime
}

// decode decodes a packet into pcm and returns how many samples there are.
func (d *libopusDecoder) decode(payload []byte, pcm []int16, _ *fade) int {
	if len(pcm) == 0 {
		return 0
	}
	n, err := d.opus.Decode(payload, pcm[:len(pcm):len(pcm)])
	if err != nil {
		return 0
	}
	d.hidden = 0
	return n
}

func (d *libopusDecoder) silence() { d.hidden = concealTime }

// conceal has libopus conceal a loss, and decode the end of what was lost from
// the packet after it if that carries it.
func (d *libopusDecoder) conceal(pcm []int16, next []byte, _ *fade) {
	n := len(pcm)
	fec := 0
	if len(next) > 0 && opusFrames(next, &d.frames) > 0 && redundant(next[0], d.frames[0]) {
		fec = int(opusFrameTicks[next[0]>>3]) / audio.TicksPerSample
	}
	if fec > n {
		fec = 0
	}
	head := min(n-fec, concealTime-d.hidden)
	d.hidden += head
	d.extend(pcm[:head])
	clear(pcm[head : n-fec])
	if tail := pcm[n-fec:]; fec > 0 && d.opus.DecodeFEC(next, tail[:fec:fec]) != nil {
		clear(tail)
	}
}

// extend conceals exactly len(pcm) samples.
func (d *libopusDecoder) extend(pcm []int16) {
	n := len(pcm) - len(pcm)%grain
	if n > 0 && d.opus.DecodePLC(pcm[:n:n]) != nil {
		clear(pcm[:n])
	}
	if rest := pcm[n:]; len(rest) > 0 {
		if d.opus.DecodePLC(d.scrap[:]) != nil {
			clear(d.scrap[:])
		}
		copy(rest, d.scrap[:])
	}
}

// redundant says whether a packet's first frame carries the one before it at a
// lower rate (LBRR, RFC 6716, 4.2.4): the bits after those for voice activity,
// which are one for each 20 ms.
func redundant(toc byte, frame []byte) bool {
	config := toc >> 3
	if config >= 16 || len(frame) == 0 {
		return false // CELT
	}
	n := max(1, opusFrameTicks[config]/(20*audio.TickRate/1000))
	mid := frame[0]>>(7-n)&1 != 0
	return mid || toc&4 != 0 && frame[0]>>(6-2*n)&1 != 0
}
