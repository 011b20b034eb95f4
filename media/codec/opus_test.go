package codec

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

func TestOpusTicks(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		want   int64 // 0: malformed
	}{
		{"SILK 10 ms", []byte{0 << 3}, 480},
		{"SILK 60 ms wideband", []byte{11 << 3, 1, 2}, 2880},
		{"hybrid 20 ms", []byte{13 << 3}, 960},
		{"CELT 2.5 ms", []byte{16 << 3}, 120},
		{"CELT 20 ms", []byte{31<<3 | 4}, 960},
		{"two frames, code 1", []byte{11<<3 | 1}, 5760},
		{"two frames, code 2", []byte{1<<3 | 2, 1, 0}, 1920},
		{"six frames of 20 ms", []byte{31<<3 | 3, 6}, 5760},
		{"48 frames of 2.5 ms", []byte{16<<3 | 3, 0xc0 | 48}, 5760},
		{"121 ms and more", []byte{31<<3 | 3, 7}, 0},
		{"three of 60 ms", []byte{11<<3 | 3, 3}, 0},
		{"no frames", []byte{31<<3 | 3, 0}, 0},
		{"no frame count", []byte{31<<3 | 3}, 0},
		{"empty", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := OpusTicks(c.packet)
			if got != c.want || (err == nil) != (c.want != 0) {
				t.Errorf("%d ticks (%v), want %d", got, err, c.want)
			}
		})
	}
}

// decodeAll decodes packets one after the other.
func decodeAll(t testing.TB, packets [][]byte) (pcm []int16) {
	t.Helper()
	d := NewDecoder()
	for i, p := range packets {
		ticks, err := Duration(audio.FormatOpus, p)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		var out [MaxSamples]int16
		d.Decode(audio.FormatOpus, p, out[:ticks/audio.TicksPerSample])
		pcm = append(pcm, out[:ticks/audio.TicksPerSample]...)
	}
	if d.Failed() != 0 {
		t.Fatalf("%d of %d packets could not be decoded", d.Failed(), len(packets))
	}
	return pcm
}

// likeness is the correlation coefficient of a and b, where they fit best when
// a is late by 0 to 20 ms.
func likeness(a, b []int16) (best float64) {
	for late := range 320 {
		var ab, aa, bb float64
		for i := range min(len(a)-late, len(b)) {
			x, y := float64(a[i+late]), float64(b[i])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		best = max(best, ab/math.Sqrt(aa*bb))
	}
	return best
}

// Every configuration decodes to the speech that went in. What it was is said
// in testdata/opus.sh.
func TestOpusIsTheSpeechThatWentIn(t *testing.T) {
	one, two := speech.PCM("sas-0870")[9600:][:5760], speech.PCM("sas-0890")[9600:][:5760]
	for _, v := range vectors() {
		left, right := 0.8, 0.2
		if v.toc&4 != 0 {
			left, right = (0.8+0.3)/2, (0.2+0.7)/2
		}
		said := make([]int16, len(one))
		for i := range said {
			said[i] = int16(left*float64(one[i]) + right*float64(two[i]))
		}
		packets, _ := codes[0].packets(v)
		if got := likeness(decodeAll(t, packets), said); got < 0.8 {
			t.Errorf("%s: correlation %.2f, want 0.8", v.name, got)
		} else {
			t.Logf("%s: %.2f", v.name, got)
		}
	}
}

// However frames are put into packets, they decode to the same samples.
func TestOpusPackingsAreAlike(t *testing.T) {
	for _, v := range vectors() {
		v.frames = v.frames[:len(v.frames)/2] // time enough for 120 ms
		for _, c := range codes[1:] {
			packets, singles := c.packets(v)
			if got, want := decodeAll(t, packets), decodeAll(t, singles); !slices.Equal(got, want) {
				t.Errorf("%s: %s decodes to other samples than one frame at a time", v.name, c.name)
			}
		}
	}
}

// Any packet may follow any other.
func TestOpusChangesInMidStream(t *testing.T) {
	all := vectors()
	rapid.Check(t, func(t *rapid.T) {
		var packets [][]byte
		for range rapid.IntRange(2, 12).Draw(t, "changes") {
			v := all[rapid.IntRange(0, len(all)-1).Draw(t, "vector")]
			some, _ := rapid.SampledFrom(codes).Draw(t, "code").packets(v)
			at := rapid.IntRange(0, len(some)-1).Draw(t, "at")
			n := rapid.IntRange(1, len(some)-at).Draw(t, "packets")
			packets = append(packets, some[at:at+n]...)
		}
		d := NewDecoder()
		for _, p := range packets {
			ticks, err := Duration(audio.FormatOpus, p)
			if err != nil {
				t.Fatal(err)
			}
			d.Decode(audio.FormatOpus, p, make([]int16, ticks/audio.TicksPerSample))
		}
		if d.Failed() != 0 {
			t.Fatalf("%d of %d packets could not be decoded", d.Failed(), len(packets))
		}
	})
}

// Frames that the sender left out (DTX) are drawn out of what was before, and
// take their time, alone or among others.
func TestOpusFramesLeftOut(t *testing.T) {
	for _, v := range vectors() {
		before, _ := codes[0].packets(v)
		said := level(decodeAll(t, before))
		for _, c := range []struct {
			name   string
			frames [][]byte
		}{
			{"no bytes", [][]byte{{}}},
			{"one byte", [][]byte{{0x55}}},
			{"all of three", [][]byte{{}, {}, {}}},
			{"some of four", [][]byte{v.frames[0], {}, {1}, v.frames[1]}},
		} {
			if v.ms()*float64(len(c.frames)) > 120 {
				continue
			}
			packet := code3(v.toc, true, 0, c.frames...)
			if len(c.frames) == 1 {
				packet = codes[0].put(v.toc, c.frames[0])
			}
			d := NewDecoder()
			var pcm [MaxSamples]int16
			for _, p := range append(slices.Clone(before), packet) {
				ticks, err := OpusTicks(p)
				if err != nil {
					t.Fatal(err)
				}
				d.Decode(audio.FormatOpus, p, pcm[:ticks/audio.TicksPerSample])
			}
			if d.Failed() != 0 {
				t.Errorf("%s: a packet with %s left out failed", v.name, c.name)
			}
			for range 20 { // at most 2.4 s
				d.Decode(audio.FormatOpus, codes[0].put(v.toc, nil), pcm[:v.samples(1)])
			}
			if got := level(pcm[:v.samples(1)]); v.ms() >= 20 && got > said/4 {
				t.Errorf("%s: after 20 frames left out the level is %.0f, of %.0f", v.name, got, said)
			}
		}
	}
}

// level is the root mean square.
func level(pcm []int16) float64 {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(max(1, len(pcm))))
}

func TestOpusFrames(t *testing.T) {
	toc := byte(31 << 3)
	long := bytes.Repeat([]byte{7}, 1275)
	for _, c := range []struct {
		name   string
		packet []byte
		want   []int // bytes of each frame, none if it is malformed
	}{
		{"one", []byte{toc, 1, 2, 3}, []int{3}},
		{"one that is left out", []byte{toc}, []int{0}},
		{"one, too long", append([]byte{toc, 0}, long...), nil},
		{"two, alike", []byte{toc | 1, 1, 2, 3, 4}, []int{2, 2}},
		{"two, unlike in code 1", []byte{toc | 1, 1, 2, 3}, nil},
		{"two", []byte{toc | 2, 1, 2, 3, 4}, []int{1, 2}},
		{"two, the first too long", []byte{toc | 2, 4, 2, 3, 4}, nil},
		{"two, no size", []byte{toc | 2}, nil},
		{"two, half a size", []byte{toc | 2, 252}, nil},
		{"two, a long one", slices.Concat([]byte{toc | 2, 252 + 3, 255}, long, []byte{1}), []int{1275, 1}},
		{"three", []byte{toc | 3, 3, 1, 2, 3}, []int{1, 1, 1}},
		{"three, unlike", []byte{toc | 3, 3, 1, 2, 3, 4}, nil},
		{"three, VBR", []byte{toc | 3, 0x83, 2, 0, 1, 2, 3}, []int{2, 0, 1}},
		{"three, VBR, too few", []byte{toc | 3, 0x83, 2, 2, 1, 2, 3}, nil},
		{"padding", []byte{toc | 3, 0x41, 2, 9, 0, 0}, []int{1}},
		{"too much padding", []byte{toc | 3, 0x41, 4, 9, 0, 0}, nil},
		{"no padding length", []byte{toc | 3, 0x41}, nil},
		{"endless padding", []byte{toc | 3, 0x41, 255, 255, 255}, nil},
		{"254 bytes of padding and none", slices.Concat([]byte{toc | 3, 0x41, 255, 0, 9}, long[:254]), []int{1}},
		{"empty", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames [maxOpusFrames][]byte
			n := opusFrames(c.packet, &frames)
			var got []int
			for _, f := range frames[:n] {
				got = append(got, len(f))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("frames of %v bytes, want %v", got, c.want)
			}
		})
	}
}
