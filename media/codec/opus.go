package codec

import (
	"errors"
	"fmt"

	"verbatim/media/audio"
)

// maxOpusTicks is the longest duration of an Opus packet: 120 ms (RFC 6716,
// 3.2.5, R5).
const maxOpusTicks = 120 * audio.TickRate / 1000

// maxOpusFrames is the most frames of an Opus packet: 48 of 2.5 ms.
const maxOpusFrames = 48

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

// opusFrames cuts a packet into its frames and returns how many there are, 0 if
// it is malformed (RFC 6716, 3.2).
func opusFrames(p []byte, frames *[maxOpusFrames][]byte) int {
	if _, err := OpusTicks(p); err != nil {
		return 0
	}
	count, rest, vbr := 1, p[1:], false
	switch p[0] & 3 {
	case 1:
		count = 2
	case 2:
		count, vbr = 2, true
	case 3:
		count, vbr = int(p[1]&0x3f), p[1]&0x80 != 0
		rest = p[2:]
		for padded := p[1]&0x40 != 0; padded; {
			if len(rest) == 0 {
				return 0
			}
			padding := int(rest[0])
			if padded = padding == 255; padded {
				padding = 254
			}
			if rest = rest[1:]; padding > len(rest) {
				return 0
			}
			rest = rest[:len(rest)-padding]
		}
	}
	var sizes [maxOpusFrames]int
	last := len(rest)
	for i := range count - 1 {
		switch {
		case !vbr:
			sizes[i] = len(rest) / count
		case len(rest) > 0 && rest[0] < 252:
			sizes[i], rest = int(rest[0]), rest[1:]
			last--
		case len(rest) > 1:
			sizes[i], rest = int(rest[0])+4*int(rest[1]), rest[2:]
			last -= 2
		default:
			return 0
		}
		last -= sizes[i]
	}
	if sizes[count-1] = last; last < 0 || !vbr && last != len(rest)/count {
		return 0
	}
	for i, n := range sizes[:count] {
		if n > 1275 {
			return 0
		}
		frames[i], rest = rest[:n], rest[n:]
	}
	return count
}
