package codec

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/pion/opus/pkg/oggreader"
)

//go:embed testdata/opus.tar.gz
var vectorFile []byte

// vector is the frames of a stream of one configuration.
type vector struct {
	name   string
	toc    byte // of a packet of one frame
	frames [][]byte
}

// ms is the duration of a frame.
func (v vector) ms() float64 { return float64(opusFrameTicks[v.toc>>3]) / 48 }

// samples is the duration of n frames at 16 kHz.
func (v vector) samples(n int) int { return n * int(opusFrameTicks[v.toc>>3]) / 3 }

// vectors are all configurations, mono and stereo: see testdata/README.md.
var vectors = sync.OnceValue(func() (vs []vector) {
	z, err := gzip.NewReader(bytes.NewReader(vectorFile))
	if err != nil {
		panic(err)
	}
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return vs
		}
		if err != nil {
			panic(err)
		}
		v := vector{name: h.Name[:len(h.Name)-len(".opus")]}
		ogg, _, err := oggreader.NewWith(files)
		for err == nil {
			var p []byte
			if p, _, err = ogg.ParseNextPacket(); err != nil || bytes.HasPrefix(p, []byte("OpusTags")) {
				continue
			}
			if len(v.frames) == 0 {
				v.toc = p[0] &^ 3
			} else if v.toc != p[0]&^3 {
				continue // the end is shorter than a frame
			}
			var frames [maxOpusFrames][]byte
			for _, f := range frames[:opusFrames(p, &frames)] {
				v.frames = append(v.frames, bytes.Clone(f))
			}
		}
		if !errors.Is(err, io.EOF) {
			panic(err)
		}
		vs = append(vs, v)
	}
})

// packing is a way to put frames into a packet.
type packing struct {
	name string
	most int // frames, 120 ms allowing
	put  func(toc byte, frames ...[]byte) []byte
}

func sizeOf(f []byte) []byte {
	if len(f) < 252 {
		return []byte{byte(len(f))}
	}
	return []byte{252 + byte(len(f)&3), byte((len(f) - 252) >> 2)}
}

// code3 is a packet of code 3 (RFC 6716, 3.2.5).
func code3(toc byte, vbr bool, padding int, frames ...[]byte) []byte {
	p := []byte{toc | 3, byte(len(frames))}
	if padding > 0 {
		p[1] |= 0x40
		n := padding
		for ; n > 254; n -= 254 {
			p = append(p, 255)
		}
		p = append(p, byte(n))
	}
	if vbr {
		p[1] |= 0x80
		for _, f := range frames[:len(frames)-1] {
			p = append(p, sizeOf(f)...)
		}
	}
	for _, f := range frames {
		p = append(p, f...)
	}
	return append(p, bytes.Repeat([]byte{0xee}, padding)...)
}

var codes = []packing{
	{"code 0", 1, func(toc byte, f ...[]byte) []byte { return append([]byte{toc}, f[0]...) }},
	{"code 1", 2, func(toc byte, f ...[]byte) []byte { return slices.Concat([]byte{toc | 1}, f[0], f[1]) }},
	{"code 2", 2, func(toc byte, f ...[]byte) []byte {
		return slices.Concat([]byte{toc | 2}, sizeOf(f[0]), f[0], f[1])
	}},
	{"code 3, CBR", 48, func(toc byte, f ...[]byte) []byte { return code3(toc, false, 0, f...) }},
	{"code 3, CBR, padded", 48, func(toc byte, f ...[]byte) []byte { return code3(toc, false, 3, f...) }},
	{"code 3, VBR", 48, func(toc byte, f ...[]byte) []byte { return code3(toc, true, 0, f...) }},
	{"code 3, VBR, padded", 48, func(toc byte, f ...[]byte) []byte { return code3(toc, true, 700, f...) }},
}

// cbr says that all frames of a packet must have one size.
func (p packing) cbr() bool {
	return p.name == "code 1" || len(p.name) > 8 && p.name[:11] == "code 3, CBR"
}

// packets are the frames of v, as many in a packet as there may be. singles are
// the same, one in a packet. Where they must have one size, SILK frames, which
// don't, are repeated.
func (p packing) packets(v vector) (packets, singles [][]byte) {
	most := min(p.most, int(120/v.ms()))
	if most < 2 && p.most == 2 {
		panic(fmt.Sprintf("%s: %v", p.name, v.name))
	}
	for frames := v.frames; len(frames) > 0; {
		some := frames[:min(most, len(frames))]
		if p.most == 2 && len(some) == 1 {
			break
		}
		frames = frames[len(some):]
		if p.cbr() && v.toc>>3 < 12 {
			some = slices.Repeat(some[:1], len(some))
		}
		packets = append(packets, p.put(v.toc, some...))
		for _, f := range some {
			singles = append(singles, codes[0].put(v.toc, f))
		}
	}
	return packets, singles
}

func TestVectorsAreAllConfigurations(t *testing.T) {
	for i, v := range vectors() {
		config, channels := int(v.toc>>3), 1+int(v.toc>>2&1)
		if want := fmt.Sprintf("%02d-%d", config, channels); v.name != want || config != i/2 {
			t.Errorf("vector %d: %s holds %s", i, v.name, want)
		}
		if got := v.ms() * float64(len(v.frames)); got < 340 || got > 480 {
			t.Errorf("%s: %d frames, %.1f ms", v.name, len(v.frames), got)
		}
	}
	if n := len(vectors()); n != 64 {
		t.Errorf("%d vectors, want 64", n)
	}
}
