package codec

import (
	"testing"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// nearest is the byte that stands for the value nearest to v.
func nearest(law *[256]int16, v int16) byte {
	best, at := 1<<20, 0
	for i, w := range law {
		if d := max(int(v)-int(w), int(w)-int(v)); d < best {
			best, at = d, i
		}
	}
	return byte(at)
}

// The values of ITU-T G.711, tables 2a and 1a. A law's codes stand there before
// their even bits are inverted.
func TestG711Tables(t *testing.T) {
	for code, want := range map[byte]int16{
		0b10000000: 8031, 0b10001111: 4191, 0b10011111: 2079, 0b10101111: 1023, 0b10111111: 495,
		0b11001111: 231, 0b11011111: 99, 0b11101111: 33, 0b11111110: 2, 0b11111111: 0,
	} {
		if muLaw[code] != 4*want || muLaw[code^0x80] != -4*want {
			t.Errorf("µ law %08b: %d and %d, want ±4 × %d", code, muLaw[code], muLaw[code^0x80], want)
		}
	}
	for code, want := range map[byte]int16{
		0b11111111: 4032, 0b11110000: 2112, 0b11101111: 2016, 0b11100000: 1056, 0b11010000: 528,
		0b11000000: 264, 0b10110000: 132, 0b10100000: 66, 0b10011111: 63, 0b10000001: 3, 0b10000000: 1,
	} {
		code ^= 0x55
		if aLaw[code] != 8*want || aLaw[code^0x80] != -8*want {
			t.Errorf("A law %08b: %d and %d, want ±8 × %d", code, aLaw[code], aLaw[code^0x80], want)
		}
	}
	for i := 1; i < 128; i++ {
		if muLaw[255-i] <= muLaw[256-i] || aLaw[(128+i)^0x55] <= aLaw[(127+i)^0x55] {
			t.Errorf("the values do not rise at step %d", i)
		}
	}
}

func TestG711IsTheSpeechThatWentIn(t *testing.T) {
	for _, f := range []audio.Format{audio.FormatPCMU, audio.FormatPCMA} {
		d := NewDecoder()
		var pcm []int16
		for _, p := range coded(f) {
			var out [320]int16
			d.Decode(f, p, out[:])
			pcm = append(pcm, out[:]...)
		}
		if got := likeness(pcm, speech.PCM("sas-0880")[:16000]); got < 0.95 || d.Failed() != 0 {
			t.Errorf("format %d: correlation %.3f, %d failed", f, got, d.Failed())
		}
	}
}

// Odd pieces take nothing from a sample.
func TestG711InPieces(t *testing.T) {
	var whole []byte
	for _, p := range coded(audio.FormatPCMA) {
		whole = append(whole, p...)
	}
	var a, b []int16
	x, y := NewDecoder(), NewDecoder()
	for i := 0; i < len(whole); i += 160 {
		var out [320]int16
		x.Decode(audio.FormatPCMA, whole[i:i+160], out[:])
		a = append(a, out[:]...)
	}
	for i, n := 0, 1; i < len(whole); i, n = i+n, n%maxG711+1 {
		n = min(n, len(whole)-i)
		var out [MaxSamples]int16
		y.Decode(audio.FormatPCMA, whole[i:i+n], out[:2*n])
		b = append(b, out[:2*n]...)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("sample %d is %d in pieces, %d in packets of 20 ms", i, b[i], a[i])
		}
	}
}
