package codec

import (
	"slices"
	"testing"

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

// Whatever the payload is, exactly the samples that were asked for are written.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{11 << 3, 1, 2, 3, 4})
	f.Add([]byte{31<<3 | 3, 6, 9, 9, 9})
	f.Fuzz(func(t *testing.T, payload []byte) {
		n, err := OpusTicks(payload)
		if err != nil {
			n = 960
		}
		const mark = 12345
		pcm := slices.Repeat([]int16{mark}, int(n/audio.TicksPerSample)+1)
		NewDecoder().Decode(audio.FormatOpus, payload, pcm[:len(pcm)-1])
		if pcm[len(pcm)-1] != mark {
			t.Error("it wrote behind the end")
		}
	})
}

func TestUndecodableIsSilence(t *testing.T) {
	d := NewDecoder()
	pcm := []int16{1, 2, 3}
	d.Decode(audio.FormatNone, []byte{1}, pcm)
	if !slices.Equal(pcm, []int16{0, 0, 0}) || d.Failed() != 1 {
		t.Errorf("%v, %d failed", pcm, d.Failed())
	}
}

func BenchmarkDecodeSilence20ms(b *testing.B) {
	d := NewDecoder()
	var pcm [320]int16
	b.ReportAllocs()
	for b.Loop() {
		d.Decode(audio.FormatOpus, []byte{9 << 3, 0, 0}, pcm[:])
	}
}
