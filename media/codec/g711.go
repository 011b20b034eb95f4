package codec

import "verbatim/media/audio"

// narrowRate is the sample rate of G.711 in Hz.
const narrowRate = 8000

// muLaw and aLaw are what each byte of G.711 stands for (ITU-T G.711, tables 2
// and 1), in 16 bits: 4 times the 14-bit values of µ law, 8 times the 13-bit ones
// of A law.
var muLaw, aLaw = func() (mu, a [256]int16) {
	for i := range mu {
		// Sign, three bits of segment, four of the step within it. Positive
		// values have the first bit set.
		code := i ^ 0x7f // all bits inverted
		segment, step := code>>4&7, code&15
		mu[i] = int16((2*step+33)<<segment-33) * 4

		code = i ^ 0x55 // every other bit inverted
		segment, step = code>>4&7, code&15
		v := 2*step + 1
		if segment > 0 {
			v = (v + 32) << (segment - 1)
		}
		a[i] = int16(v) * 8
		if i&0x80 == 0 {
			mu[i], a[i] = -mu[i], -a[i]
		}
	}
	return mu, a
}()

// decodeG711 decodes into pcm and returns how many samples there are.
func (d *Decoder) decodeG711(law *[256]int16, payload []byte, pcm []int16) (n int) {
	if d.narrow == nil {
		r, err := NewResampler(narrowRate, audio.FrameRate)
		if err != nil {
			panic(err) // both rates are constants that it takes
		}
		d.narrow = r
	}
	var linear [maxG711]int16
	payload = payload[:min(len(payload), len(pcm)*narrowRate/audio.FrameRate)]
	for i, b := range payload {
		linear[i] = law[b]
	}
	n = len(d.narrow.Resample(pcm[:0], linear[:len(payload)]))
	d.fade.heard(pcm[:n])
	return n
}
