package codec

import (
	"github.com/pion/opus"

	"verbatim/media/audio"
)

// pionDecoder is Opus in pure Go.
type pionDecoder struct {
	opus   opus.Decoder
	single []byte // a packet of one frame; nil until the first
}

func (d *pionDecoder) reset() {
	if err := d.opus.Init(audio.FrameRate, 1); err != nil {
		panic(err) // both values are constants that it supports
	}
}

// decode decodes a packet into pcm and returns how many samples there are. A
// frame of at most one byte is one that the sender left out (RFC 6716, 3.2.1:
// DTX): it is concealed, as libopus does. The library would decode it as if there were
// something in it.
func (d *pionDecoder) decode(payload []byte, pcm []int16, f *fade) int {
	count, whole := look(payload)
	switch {
	case count == 0:
		return 0
	case !whole:
		return d.some(payload, pcm, f)
	}
	n := d.packet(payload, pcm)
	f.heard(pcm[:n])
	return n
}

// look says how many frames a packet has, and whether all are there. It is apart
// so that stacks need not have room for the frames while they are decoded.
func look(payload []byte) (count int, whole bool) {
	var frames [maxOpusFrames][]byte
	count = opusFrames(payload, &frames)
	for _, frame := range frames[:count] {
		if len(frame) <= 1 {
			return count, false
		}
	}
	return count, true
}

// some decodes a packet of which frames were left out.
func (d *pionDecoder) some(payload []byte, pcm []int16, f *fade) int {
	var frames [maxOpusFrames][]byte
	count := opusFrames(payload, &frames)
	n := len(pcm) / count
	for i, frame := range frames[:count] {
		out := pcm[i*n : (i+1)*n]
		if len(frame) <= 1 {
			f.conceal(out)
			continue
		}
		d.single = append(append(d.single[:0], payload[0]&^3), frame...)
		if d.packet(d.single, out) < n {
			return i * n
		}
		f.heard(out)
	}
	return count * n
}

func (d *pionDecoder) packet(payload []byte, pcm []int16) int {
	n, err := d.opus.DecodeToInt16(payload, pcm)
	if err != nil {
		return 0
	}
	return min(n, len(pcm))
}

func (d *pionDecoder) conceal(pcm []int16, _ []byte, f *fade) { f.conceal(pcm) }

func (d *pionDecoder) silence() {}
