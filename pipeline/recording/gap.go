package recording

import (
	"iter"

	"verbatim/media/audio"
)

// gapUnit is the shortest Opus frame: 2.5 ms, in ticks (48 kHz).
const gapUnit = audio.TickRate / 400

// longestOpus is the longest Opus packet: 120 ms, in ticks.
const longestOpus = 120 * audio.TickRate / 1000

// gapPackets are Opus packets that say: here nothing was received, conceal it
// (RFC 7845, 4.1). Their frames are empty. They follow a packet that began with
// that TOC byte and keep its mode, bandwidth, channels and frame size as long as
// they can, so that a decoder keeps what it knows. ticks is a multiple of
// gapUnit; with each packet comes what it lasts. A packet is valid until the
// next one.
func gapPackets(toc byte, ticks int64) iter.Seq2[[]byte, int64] {
	return func(yield func([]byte, int64) bool) {
		var buf [2]byte
		for _, config := range gapConfigs(toc >> 3) {
			frame := opusFrame(config)
			for ticks >= frame {
				n := min(ticks, longestOpus) / frame
				packet := append(buf[:0], config<<3|toc&4)
				if n > 1 { // code 3, constant bitrate: n frames that share no bytes
					packet = append(append(buf[:0], packet[0]|3), byte(n))
				}
				if !yield(packet, n*frame) {
					return
				}
				ticks -= n * frame
			}
		}
	}
}

// gapConfigs are the configurations (RFC 6716, table 2) to fill a gap with after
// a packet of that one, in the order of their use: the same; its mode's frames
// of 10 ms; CELT's of 2.5 ms with no less bandwidth.
func gapConfigs(config byte) [3]byte {
	switch {
	case config < 4: // SILK, narrow
		return [3]byte{config, 0, 16}
	case config < 12: // SILK, medium (that CELT has not) and wide
		return [3]byte{config, config &^ 3, 20}
	case config < 16: // hybrid, super-wide and full
		return [3]byte{config, config &^ 1, 24 + (config-12)/2*4}
	}
	return [3]byte{config, config&^3 | min(config&3, 2), config &^ 3}
}

// opusFrame is the duration of a frame of that configuration in ticks.
func opusFrame(config byte) int64 {
	switch {
	case config < 12:
		return [...]int64{480, 960, 1920, 2880}[config%4]
	case config < 16:
		return [...]int64{480, 960}[config%2]
	}
	return gapUnit << (config % 4)
}
