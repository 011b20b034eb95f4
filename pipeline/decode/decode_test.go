package decode

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/media/codec"
)

// Frames follow each other without holes, each of its packet's kind, and last
// exactly as long as the packets, whatever ticks those begin at.
func TestFramesFillTheTimeline(t *testing.T) {
	voice := speech.Packets("sas-0870")
	rapid.Check(t, func(t *rapid.T) {
		d := New()
		var start, next int64
		var kinds []audio.Kind // of every sample
		yield := func(f audio.Frame) bool {
			if f.Start != next || len(f.PCM) == 0 || len(f.PCM) > codec.MaxSamples {
				t.Fatalf("frame at %d with %d samples, want one at %d", f.Start, len(f.PCM), next)
			}
			for i, v := range f.PCM {
				if k := kinds[next+int64(i)]; k != f.Kind {
					t.Fatalf("frame at %d is %v, sample %d of it %v", f.Start, f.Kind, i, k)
				}
				if f.Kind != audio.Coded && f.Kind != audio.Lost && v != 0 {
					t.Fatalf("%v is not silent", f.Kind)
				}
			}
			f.PCM[0] = 1 // a stage that writes to its frame harms nobody else
			next += int64(len(f.PCM))
			return true
		}
		for range rapid.IntRange(1, 50).Draw(t, "packets") {
			p := audio.Packet{Start: start, Kind: audio.Kind(rapid.IntRange(1, 5).Draw(t, "kind"))}
			switch {
			case p.Kind != audio.Coded:
				p.Samples = rapid.Int64Range(0, 200000).Draw(t, "ticks")
			case rapid.Bool().Draw(t, "valid"):
				p.Samples, p.Format, p.Payload = 960, audio.FormatOpus, rapid.SampledFrom(voice).Draw(t, "payload")
			default:
				p.Samples = rapid.SampledFrom([]int64{120, 960, 2880, 5760, 9600}).Draw(t, "coded")
				p.Format = audio.Format(rapid.IntRange(0, 4).Draw(t, "format"))
				p.Payload = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "payload")
			}
			start = p.Next()
			kinds = append(kinds, slices.Repeat([]audio.Kind{p.Kind}, int(start/audio.TicksPerSample)-len(kinds))...)
			d.Packet(p, yield)
			if end := start / audio.TicksPerSample; p.Kind != audio.Lost && next != end {
				t.Fatalf("at tick %d there are %d samples", start, next)
			}
		}
		d.Packet(audio.Packet{Start: start, Kind: audio.End}, yield)
		if end := start / audio.TicksPerSample; next != end {
			t.Fatalf("at the end, tick %d, there are %d samples", start, next)
		}
	})
}

// frames decodes packets that follow each other.
func frames(packets ...audio.Packet) (fs []audio.Frame) {
	var start int64
	d := New()
	for _, p := range append(packets, audio.Packet{Kind: audio.End}) {
		p.Start = start
		start = p.Next()
		d.Packet(p, func(f audio.Frame) bool {
			f.PCM = slices.Clone(f.PCM)
			fs = append(fs, f)
			return true
		})
	}
	return fs
}

func loud(f audio.Frame) bool {
	return slices.ContainsFunc(f.PCM, func(v int16) bool { return v > 100 })
}

func TestLostAudioIsConcealed(t *testing.T) {
	var before []audio.Packet
	for _, p := range speech.Packets("sas-0870")[50:60] {
		before = append(before, audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: p})
	}
	after := before[9]
	silence := audio.Packet{Kind: audio.Silence, Samples: 960}
	lost := func(ticks int64) audio.Packet { return audio.Packet{Kind: audio.Lost, Samples: ticks} }
	for _, c := range []struct {
		name    string
		packets []audio.Packet
		lengths []int // of the lost frames
		loud    int   // how many of them at least are, from the first on; 0: none is
	}{
		{"one packet", []audio.Packet{lost(960), after}, []int{320}, 1},
		{"at the end", []audio.Packet{lost(960)}, []int{320}, 1},
		{"before silence", []audio.Packet{lost(960), silence}, []int{320}, 1},
		{"after silence", []audio.Packet{silence, lost(960), after}, []int{320}, 0},
		{"two losses", []audio.Packet{lost(480), lost(480), after}, []int{160, 160}, 2},
		{"no whole grain", []audio.Packet{lost(500), after}, []int{166}, 1},
		// The last has room for what the next packet tells of it.
		{"a long one", []audio.Packet{lost(3 * 3210), after}, []int{10, 1600, 1600}, 2},
		{"whole frames", []audio.Packet{lost(3 * 3200), after}, []int{1600, 1600}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lengths []int
			for _, f := range frames(append(slices.Clone(before), c.packets...)...) {
				if f.Kind != audio.Lost {
					continue
				}
				if got := loud(f); !got && len(lengths) < c.loud || got && c.loud == 0 {
					t.Errorf("lost frame %d is audible: %v", len(lengths), got)
				}
				lengths = append(lengths, len(f.PCM))
			}
			if !slices.Equal(lengths, c.lengths) {
				t.Errorf("lost frames of %v samples, want %v", lengths, c.lengths)
			}
		})
	}
}

// What was lost changes nothing of where the rest is, and a stage that takes no
// more gets no more.
func TestYieldCanStop(t *testing.T) {
	d := New()
	n := 0
	stop := func(audio.Frame) bool { n++; return false }
	d.Packet(audio.Packet{Kind: audio.Lost, Samples: 96000}, stop)
	if n != 0 {
		t.Fatal("a lost packet came before the packet after it")
	}
	if d.Packet(audio.Packet{Start: 96000, Kind: audio.Silence, Samples: 96000}, stop) || n != 1 {
		t.Errorf("%d frames, want the first one alone", n)
	}
}

func BenchmarkLost(b *testing.B) {
	packets := speech.Packets("sas-0870")
	d := New()
	b.ReportAllocs()
	var start int64
	for i := 0; b.Loop(); i++ {
		// A packet that came and one that did not, one second of time both.
		p := audio.Packet{Start: start, Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: packets[i%len(packets)]}
		l := audio.Packet{Start: p.Next(), Kind: audio.Lost, Samples: 47040}
		start = l.Next()
		d.Packet(p, func(audio.Frame) bool { return true })
		d.Packet(l, func(audio.Frame) bool { return true })
	}
}
