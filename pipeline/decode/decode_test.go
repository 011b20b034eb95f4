package decode

import (
	"testing"

	"pgregory.net/rapid"

	"verbatim/media/audio"
)

// Frames follow each other without holes and last exactly as long as the
// packets, whatever ticks those begin at.
func TestFramesFillTheTimeline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New()
		var start, next int64
		for range rapid.IntRange(1, 50).Draw(t, "packets") {
			p := audio.Packet{Start: start, Kind: audio.Kind(rapid.IntRange(1, 5).Draw(t, "kind"))}
			if p.Kind == audio.Coded {
				p.Samples = rapid.SampledFrom([]int64{120, 960, 2880, 5760}).Draw(t, "coded")
				p.Format, p.Payload = audio.FormatOpus, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "payload")
			} else {
				p.Samples = rapid.Int64Range(0, 200000).Draw(t, "ticks")
			}
			d.Packet(p, func(f audio.Frame) bool {
				if f.Start != next || f.Kind != p.Kind || len(f.PCM) == 0 || len(f.PCM) > 1920 {
					t.Fatalf("frame at %d with %d samples of %v, want one at %d of %v", f.Start, len(f.PCM), f.Kind, next, p.Kind)
				}
				if p.Kind != audio.Coded {
					for _, v := range f.PCM {
						if v != 0 {
							t.Fatalf("%v is not silent", p.Kind)
						}
					}
					f.PCM[0] = 1 // a stage that writes to its frame harms nobody else
				}
				next += int64(len(f.PCM))
				return true
			})
			start = p.Next()
			if next != start/audio.TicksPerSample {
				t.Fatalf("at tick %d there are %d samples", start, next)
			}
		}
	})
}
