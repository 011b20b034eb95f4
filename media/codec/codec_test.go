package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		name   string
		format audio.Format
		bytes  int
		want   int64 // ticks; 0: it fails
	}{
		{"20 ms of µ law", audio.FormatPCMU, 160, 960},
		{"200 ms of A law", audio.FormatPCMA, 1600, 9600},
		{"more than 200 ms of A law", audio.FormatPCMA, 1601, 0},
		{"one byte of µ law", audio.FormatPCMU, 1, 6},
		{"no µ law", audio.FormatPCMU, 0, 0},
		{"20 ms of PCM", audio.FormatPCM, 640, 960},
		{"120 ms of PCM", audio.FormatPCM, 3840, 5760},
		{"more than 120 ms of PCM", audio.FormatPCM, 3842, 0},
		{"half a sample", audio.FormatPCM, 3, 0},
		{"no PCM", audio.FormatPCM, 0, 0},
		{"no Opus", audio.FormatOpus, 0, 0},
		{"10 ms of Opus", audio.FormatOpus, 2, 480},
		{"no format", audio.FormatNone, 1, 0},
		{"unknown format", 99, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Duration(c.format, make([]byte, c.bytes))
			if got != c.want || (err == nil) != (c.want != 0) {
				t.Errorf("%d ticks (%v), want %d", got, err, c.want)
			}
			if got/audio.TicksPerSample > MaxSamples {
				t.Errorf("%d ticks are more than MaxSamples", got)
			}
		})
	}
}

// coded is a second of a sentence in a format, in packets of 20 ms.
func coded(f audio.Format) (packets [][]byte) {
	if f == audio.FormatOpus {
		return speech.Packets("sas-0880")[:50]
	}
	pcm := speech.PCM("sas-0880")[:16000]
	for p := range slices.Chunk(pcm, 320) {
		var payload []byte
		for i, v := range p {
			switch {
			case f == audio.FormatPCM:
				payload = append(payload, byte(v), byte(uint16(v)>>8))
			case i%2 == 0 && f == audio.FormatPCMU:
				payload = append(payload, nearest(&muLaw, v))
			case i%2 == 0:
				payload = append(payload, nearest(&aLaw, v))
			}
		}
		packets = append(packets, payload)
	}
	return packets
}

var formats = []audio.Format{audio.FormatOpus, audio.FormatPCMU, audio.FormatPCMA, audio.FormatPCM}

// After a change of format a decoder is as good as new.
func TestFormatsChangeInMidStream(t *testing.T) {
	d := NewDecoder()
	for i, f := range []audio.Format{1, 2, 1, 3, 2, 4, 3, 1, 4, 1} {
		fresh := NewDecoder()
		for j, p := range coded(f)[5*i:][:3] {
			var got, want [320]int16
			d.Decode(f, p, got[:])
			fresh.Decode(f, p, want[:])
			if got != want || got == [320]int16{} {
				t.Errorf("packet %d after change %d to format %d is decoded otherwise than by a new decoder", j, i, f)
			}
		}
	}
	if d.Failed() != 0 {
		t.Errorf("%d failed", d.Failed())
	}
}

// Whatever the payload is, exactly the samples that were asked for are written.
func checkExact(t interface{ Error(...any) }, d *Decoder, f audio.Format, payload []byte, lost int) {
	ticks, err := Duration(f, payload)
	if err != nil {
		ticks = 960
	}
	n := int(ticks / audio.TicksPerSample)
	const mark = 12345
	pcm := slices.Repeat([]int16{mark}, max(n, lost)+1)
	d.Conceal(pcm[:lost:lost], f, payload)
	if pcm[lost] != mark {
		t.Error("concealment wrote behind the end")
	}
	pcm[n] = mark
	d.Decode(f, payload, pcm[:n:n])
	if pcm[n] != mark {
		t.Error("it wrote behind the end")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(1), []byte{11 << 3, 1, 2, 3, 4})
	f.Add(byte(1), []byte{31<<3 | 3, 6, 9, 9, 9})
	for _, v := range vectors() {
		f.Add(byte(1), code3(v.toc, true, 5, v.frames[:2]...))
	}
	f.Add(byte(2), make([]byte, 1700))
	f.Add(byte(4), make([]byte, 33))
	f.Fuzz(func(t *testing.T, format byte, payload []byte) {
		d := NewDecoder()
		checkExact(t, d, audio.Format(format), payload, 320)
		checkExact(t, d, audio.Format(format), payload, 961)
	})
}

// Damaged packets, one after the other in one decoder: FuzzDecode begins with a
// new one each time.
func TestDamagedPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	d := NewDecoder()
	var all [][]byte
	for i, v := range vectors() {
		packets, _ := codes[i%len(codes)].packets(v)
		all = append(all, packets...)
	}
	for range 2000 {
		p := bytes.Clone(all[r.IntN(len(all))])
		for range r.IntN(8) {
			p[r.IntN(len(p))] ^= byte(1 << r.IntN(8))
		}
		if r.IntN(4) == 0 {
			p = p[:r.IntN(len(p))]
		}
		format := audio.FormatOpus
		if r.IntN(20) == 0 {
			format = audio.Format(r.IntN(6))
		}
		checkExact(t, d, format, p, r.IntN(700))
	}
	if d.Failed() == 0 {
		t.Error("not one of the damaged packets failed")
	}
}

func TestUndecodableIsSilence(t *testing.T) {
	d := NewDecoder()
	for i, f := range []audio.Format{audio.FormatNone, audio.FormatOpus, audio.FormatPCMU, audio.FormatPCM} {
		pcm := []int16{1, 2, 3}
		d.Decode(f, nil, pcm)
		if !slices.Equal(pcm, []int16{0, 0, 0}) || d.Failed() != uint64(i+1) {
			t.Errorf("format %d: %v, %d failed", f, pcm, d.Failed())
		}
	}
}

// The hot path takes no memory.
func TestDecodingDoesNotAllocate(t *testing.T) {
	for _, f := range formats {
		d, packets := NewDecoder(), coded(f)
		var pcm [320]int16
		i := 0
		if n := testing.AllocsPerRun(45, func() {
			d.Decode(f, packets[i], pcm[:])
			if i++; i%5 == 0 {
				d.Conceal(pcm[:], f, packets[i])
			}
		}); n != 0 {
			t.Errorf("format %d: %v allocations", f, n)
		}
	}
}

// However long a loss is, and in however many pieces it is concealed.
func TestConcealmentIsExactInLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(formats).Draw(t, "format")
		packets := coded(f)
		d := NewDecoder()
		for i := range rapid.IntRange(1, 10).Draw(t, "packets") {
			for range rapid.IntRange(0, 3).Draw(t, "losses") {
				lost := rapid.IntRange(0, MaxSamples).Draw(t, "lost")
				const mark = 12345
				pcm := slices.Repeat([]int16{mark}, lost+1)
				d.Conceal(pcm[:lost:lost], f, packets[i])
				if pcm[lost] != mark {
					t.Fatal("concealment wrote behind the end")
				}
				if lost >= 4 && slices.Min(pcm[lost-4:lost]) == mark {
					t.Fatal("it did not write to the end")
				}
			}
			d.Decode(f, packets[i], make([]int16, 320))
		}
		if d.Failed() != 0 {
			t.Fatalf("%d failed", d.Failed())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, f := range map[string]audio.Format{"PCMU": audio.FormatPCMU, "PCM": audio.FormatPCM, "Opus": audio.FormatOpus} {
		b.Run("20ms of "+name, func(b *testing.B) { benchmark(b, f, coded(f), 320) })
	}
	b.Run("60ms of Opus", func(b *testing.B) {
		benchmark(b, audio.FormatOpus, speech.Packets("sas-0880-60ms"), 960)
	})
	for _, v := range vectors() {
		if v.name == "09-1" || v.name == "11-1" || v.name == "15-1" || v.name == "31-1" {
			packets, _ := codes[0].packets(v)
			b.Run("Opus config "+v.name, func(b *testing.B) { benchmark(b, audio.FormatOpus, packets, v.samples(1)) })
		}
	}
}

func benchmark(b *testing.B, f audio.Format, packets [][]byte, n int) {
	d := NewDecoder()
	var pcm [MaxSamples]int16
	for _, p := range packets {
		d.Decode(f, p, pcm[:n])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Decode(f, packets[i%len(packets)], pcm[:n])
	}
}

// A packet that came and one that did not.
func BenchmarkDecodeAndConceal(b *testing.B) {
	packets := coded(audio.FormatOpus)
	for _, n := range []int{320, 1600} {
		b.Run(fmt.Sprintf("20ms and %dms", n/16), func(b *testing.B) {
			d := NewDecoder()
			var pcm [1600]int16
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Decode(audio.FormatOpus, packets[i%len(packets)], pcm[:320])
				d.Conceal(pcm[:n], audio.FormatNone, nil)
			}
		})
	}
}
