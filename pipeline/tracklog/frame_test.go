package tracklog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"verbatim/media/audio"
)

func TestFrameRoundTrip(t *testing.T) {
	totals := audio.Account{Received: 960, Concealed: 480}
	for name, p := range map[string]audio.Packet{
		"coded":         {Seq: 7, Start: 960, Samples: 960, Kind: audio.Coded, Origin: audio.RED, Format: audio.FormatOpus, At: epoch, Payload: []byte("opus")},
		"empty payload": {Samples: 960, Kind: audio.Coded, At: epoch},
		"largest":       {Samples: 960, Kind: audio.Coded, At: epoch, Payload: make([]byte, maxPayload)},
		"lost":          {Seq: 1, Samples: 1, Kind: audio.Lost, At: epoch},
		"shed":          {Seq: 1, Samples: 1, Kind: audio.Shed, At: epoch},
		"discontinuity": {Seq: math.MaxUint32, Start: math.MaxInt64, Kind: audio.Discontinuity, At: epoch},
		"no time":       {Samples: 3, Kind: audio.Silence},
		"end":           audio.NewEnd(3, 1440, epoch, audio.EndInfo{Reason: audio.ReasonLeft, Totals: totals}),
	} {
		t.Run(name, func(t *testing.T) {
			in := frame{p: p, n: 1}
			b := appendFrame([]byte("before"), &in)[len("before"):]
			if len(b) != in.size() {
				t.Fatalf("%d bytes, want %d", len(b), in.size())
			}
			out, n, err := decode(b)
			if err != nil || n != len(b) || out.n != 1 || !same(out.p, p) {
				t.Fatalf("got %+v, %d, %v", out, n, err)
			}
			for i := range min(len(b), 200) {
				if _, need, err := decode(b[:i]); !errors.Is(err, errShort) || need <= i || need > len(b) {
					t.Fatalf("%d bytes: need %d, %v", i, need, err)
				}
				bad := bytes.Clone(b)
				bad[i] ^= 0x10
				if _, _, err := decode(bad); err == nil {
					t.Fatalf("byte %d changed: no error", i)
				}
			}
		})
	}
}

func TestDecodeRejects(t *testing.T) {
	valid := func(kind audio.Kind, payload string) []byte {
		return appendFrame(nil, &frame{n: 1, p: audio.Packet{Samples: 960, Kind: kind, Payload: []byte(payload)}})
	}
	set := func(b []byte, at int, v uint64) []byte {
		binary.BigEndian.PutUint64(b[at:], v)
		return b
	}
	run := func(n, samples uint64) []byte {
		b := set(valid(audio.Shed, ""), 24, samples)
		binary.BigEndian.PutUint32(b[43:], uint32(n))
		return b
	}
	for name, b := range map[string][]byte{
		"kind 0":                valid(0, ""),
		"kind 7":                valid(7, ""),
		"lost with a payload":   valid(audio.Lost, "x"),
		"end without totals":    valid(audio.End, ""),
		"negative samples":      set(valid(audio.Coded, "x"), 24, 1<<63),
		"negative start":        set(valid(audio.Coded, "x"), 16, 1<<63),
		"too long":              set(valid(audio.Coded, "x"), 16, math.MaxInt64),
		"run of none":           run(0, 960),
		"run that overflows":    run(math.MaxUint32, 1<<40),
		"end that takes time":   set(appendFrame(nil, &frame{n: 1, p: audio.NewEnd(0, 0, epoch, audio.EndInfo{})}), 24, 1),
		"shed without its run":  resize(valid(audio.Shed, ""), fixedLen),
		"shed with a long tail": resize(append(valid(audio.Shed, ""), 0), fixedLen+runLen+1),
		"length too small":      resize(valid(audio.Coded, "x"), fixedLen-1),
		"length gigantic":       resize(valid(audio.Coded, "x"), math.MaxUint32),
	} {
		t.Run(name, func(t *testing.T) {
			end := min(len(b), prefixLen+int(binary.BigEndian.Uint32(b)))
			binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[prefixLen:end], castagnoli))
			if f, _, err := decode(b); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %+v, %v", f, err)
			}
		})
	}
}

// resize claims another length for the frame b.
func resize(b []byte, length uint32) []byte {
	binary.BigEndian.PutUint32(b, length)
	return b
}

func TestRun(t *testing.T) {
	shed := func(seq uint64, samples int64, at time.Duration) frame {
		return frame{n: 1, p: audio.Packet{Seq: seq, Start: int64(seq) * 960, Samples: samples, Kind: audio.Shed, At: epoch.Add(at)}}
	}
	f := shed(10, 960, 0)
	for i, at := range []time.Duration{20, 45, 60, 60, 100} {
		o := shed(uint64(11+i), 960, at*time.Millisecond)
		if !f.join(&o) {
			t.Fatalf("packet %d does not join", 11+i)
		}
	}
	other := func(change func(*frame)) *frame {
		o := shed(16, 960, time.Second)
		change(&o)
		return &o
	}
	for name, o := range map[string]*frame{
		"other duration": other(func(o *frame) { o.p.Samples = 480 }),
		"other kind":     other(func(o *frame) { o.p.Kind = audio.Lost }),
		"earlier":        other(func(o *frame) { o.p.At = epoch }),
		"much later":     other(func(o *frame) { o.p.At = epoch.Add(2 * time.Hour) }),
		"too many":       other(func(o *frame) { o.n = math.MaxUint32 }),
	} {
		if f.join(o) {
			t.Errorf("%s joins", name)
		}
	}
	f, _, err := decode(appendFrame(nil, &f))
	if err != nil || f.nextSeq() != 16 || f.nextStart() != 16*960 {
		t.Fatalf("got %+v, %v", f, err)
	}
	for i := range f.n {
		p := f.packet(i)
		want := shed(10+i, 960, time.Duration(i)*20*time.Millisecond).p
		if !same(p, want) {
			t.Errorf("got %+v, want %+v", p, want)
		}
		if got := f.seqAt(p.Start + 959); got != p.Seq {
			t.Errorf("seqAt(%d) = %d, want %d", p.Start+959, got, p.Seq)
		}
	}
}
