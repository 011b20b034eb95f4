package recording

import (
	"encoding/binary"
	"iter"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

var began = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)

// packetsOf puts packets in a row, as a track that started that long after the
// meeting, whose sender's clock runs too fast by ppm, and ends it.
func packetsOf(after time.Duration, ppm int64, ps ...audio.Packet) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		var start int64
		var account audio.Account
		at := func() time.Time {
			d := audio.Duration(start)
			return began.Add(after + d - d*time.Duration(ppm)/1e6)
		}
		for i, p := range ps {
			p.Seq, p.Start, p.At = uint64(i), start, at()
			if account.Add(p); !yield(p, nil) {
				return
			}
			start = p.Next()
		}
		yield(audio.NewEnd(uint64(len(ps)), start, at(), audio.EndInfo{Reason: audio.ReasonLeft, Totals: account}), nil)
	}
}

// spoken are n packets of speech of 20 ms each.
func spoken(t testing.TB, n int) (ps []audio.Packet) {
	t.Helper()
	all := speech.Packets("sas-0870")
	for i := range n {
		ps = append(ps, audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: all[i%len(all)]})
	}
	return ps
}

func gapOf(k audio.Kind, ticks int64) audio.Packet { return audio.Packet{Samples: ticks, Kind: k} }

// plain are samples as they are, in packets of 20 ms.
func plain(pcm []int16) (ps []audio.Packet) {
	for len(pcm) > 0 {
		n := min(len(pcm), 320)
		var b []byte
		for _, v := range pcm[:n] {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		ps = append(ps, audio.Packet{Samples: int64(3 * n), Kind: audio.Coded, Format: audio.FormatPCM, Payload: b})
		pcm = pcm[n:]
	}
	return ps
}

func opened(packets iter.Seq2[audio.Packet, error]) Track {
	var first audio.Packet
	for p := range packets {
		first = p
		break
	}
	return Track{StartedAt: first.At, Open: opens(packets, func() {})}
}
