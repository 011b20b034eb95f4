package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/pion/opus/pkg/oggreader"
	"pgregory.net/rapid"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/meeting"
)

// laid is a packet of a file and where it stands in the track, in ticks.
type laid struct {
	start, ticks int64
	payload      []byte
}

// read takes a file apart, and checks what RFC 7845 wants of it.
func read(t rapid.TB, file []byte) (packets []laid, end int64) {
	ogg, head, err := oggreader.NewWith(bytes.NewReader(file)) // it checks checksums
	if err != nil {
		t.Fatal(err)
	}
	if head.Version != 1 || head.PreSkip != preSkip || head.OutputGain != 0 || head.SampleRate != 48000 {
		t.Errorf("head %+v", head)
	}
	at := int64(-preSkip)
	for {
		p, page, err := ogg.ParseNextPacket()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(p, []byte("OpusTags")) {
			continue
		}
		ticks, err := codec.OpusTicks(p)
		if err != nil {
			t.Fatalf("packet %x: %v", p, err)
		}
		packets = append(packets, laid{at, ticks, bytes.Clone(p)})
		at += ticks
		end = int64(page.GranulePosition) - preSkip
	}
	checkPages(t, file)
	if at < end || at-end >= gapUnit {
		t.Errorf("the packets end at %d, the file at %d", at, end)
	}
	return packets, end
}

// checkPages looks at what the reader does not: the flags, the numbers, that each
// page's position is the sum of its packets, and that no page is longer than 1 s
// and a packet.
func checkPages(t rapid.TB, file []byte) {
	var number uint32
	var sum int64
	for len(file) > 0 {
		flags, granule := file[5], int64(binary.LittleEndian.Uint64(file[6:]))
		lacing := file[27 : 27+int(file[26])]
		body := file[27+len(lacing):]
		var before, n = sum, 0
		for _, l := range lacing {
			if n += int(l); l < 255 {
				if ticks, err := codec.OpusTicks(body[:n]); err == nil && number > 1 {
					sum += ticks
				}
				body, n = body[n:], 0
			}
		}
		last := len(body) == 0
		if want := map[bool]byte{number == 0: oggBegins, last: oggEnds}[true]; flags != want {
			t.Errorf("page %d has flags %d, want %d", number, flags, want)
		}
		if binary.LittleEndian.Uint32(file[18:]) != number || n != 0 {
			t.Errorf("page %d has another number, or no end", number)
		}
		if granule != sum && (!last || granule > sum || granule <= sum-gapUnit) {
			t.Errorf("page %d ends at %d, its packets at %d", number, granule, sum)
		}
		if sum-before > pageTicks+longestOpus {
			t.Errorf("page %d lasts %d ticks", number, sum-before)
		}
		file, number = body, number+1
	}
}

func opusFile(t rapid.TB, ps ...audio.Packet) []byte {
	var b bytes.Buffer
	if err := WriteOpus(&b, Tags{Serial: 7, Comment: []string{"ARTIST=Ada"}}, packetsOf(0, 0, ps...)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whatever a track is made of: the sender's packets are in the file unchanged, in
// order and in their place, and all the rest of the time is gaps.
func TestOpusKeepsEverythingInItsPlace(t *testing.T) {
	payloads := [][]byte{
		{0x08, 1}, {0x4b, 0x03, 9, 9, 9}, {0x58, 1, 2}, {0x68, 7}, {0x7c, 7, 7}, {0x80, 1}, {0xfb, 0x06, 1, 2, 3, 4, 5, 6}, {0xfc, 0xff, 0xfe}, {0x78},
		append([]byte{0xf8}, make([]byte, 1275)...),
	}
	rapid.Check(t, func(t *rapid.T) {
		var ps []audio.Packet
		for range rapid.IntRange(0, 60).Draw(t, "packets") {
			switch kind := rapid.SampledFrom([]audio.Kind{audio.Coded, audio.Coded, audio.Lost, audio.Silence, audio.Discontinuity, audio.Shed}).Draw(t, "kind"); kind {
			case audio.Coded:
				payload := rapid.SampledFrom(payloads).Draw(t, "payload")
				ticks, err := codec.OpusTicks(payload)
				if err != nil {
					t.Fatal(err)
				}
				ps = append(ps, audio.Packet{Samples: ticks, Kind: kind, Format: audio.FormatOpus, Payload: payload})
				if rapid.IntRange(0, 9).Draw(t, "G.711") == 0 {
					ps = append(ps, audio.Packet{Samples: 960, Kind: kind, Format: audio.FormatPCMU, Payload: make([]byte, 160)})
				}
			default:
				ps = append(ps, gapOf(kind, rapid.OneOf(
					rapid.Int64Range(0, 500), rapid.Map(rapid.Int64Range(0, 1000), func(n int64) int64 { return n * gapUnit }),
				).Draw(t, "ticks")))
			}
		}
		coded := slices.DeleteFunc(slices.Clone(ps), func(p audio.Packet) bool { return p.Format != audio.FormatOpus })
		if len(coded) == 0 {
			var b bytes.Buffer
			if err := WriteOpus(&b, Tags{}, packetsOf(0, 0, ps...)); !errors.Is(err, meeting.ErrNotOpus) || b.Len() > 0 {
				t.Fatalf("%d bytes, %v", b.Len(), err)
			}
			return
		}
		got, end := read(t, opusFile(t, ps...))
		var start int64
		for _, p := range ps {
			if p.Format == audio.FormatOpus {
				i := slices.IndexFunc(got, func(l laid) bool { return l.start > start-gapUnit && bytes.Equal(l.payload, p.Payload) })
				if i < 0 {
					t.Fatalf("%x is not at %d", p.Payload, start)
				}
				for _, l := range got[:i] {
					if len(l.payload) > 2 {
						t.Errorf("%x at %d is not the sender's, or out of order", l.payload, l.start)
					}
				}
				got = got[i+1:]
			}
			start += p.Samples
		}
		if end != start {
			t.Errorf("the file ends at %d, the track at %d", end, start)
		}
	})
}

func TestGapPackets(t *testing.T) {
	for name, c := range map[string]struct {
		toc   byte
		ticks int64
		want  [][]byte
	}{
		"a packet of 60 ms, wide":            {0x58, 2880, [][]byte{{0x58}}},
		"two of them":                        {0x5a, 5760, [][]byte{{0x5b, 2}}},
		"95 ms after 20 ms of SILK":          {0x48, 4560, [][]byte{{0x4b, 4}, {0x40}, {0xa3, 2}}},
		"stereo stays":                       {0x4c, 960, [][]byte{{0x4c}}},
		"380 ms of DTX":                      {0x48, 18240, [][]byte{{0x4b, 6}, {0x4b, 6}, {0x4b, 6}, {0x48}}},
		"2.5 ms after medium: CELT has none": {0x20, 120, [][]byte{{0xa0}}},
		"2.5 ms after narrow":                {0x00, 120, [][]byte{{0x80}}},
		"12.5 ms after super-wide hybrid":    {0x68, 600, [][]byte{{0x60}, {0xc0}}},
		"12.5 ms after full-band hybrid":     {0x78, 600, [][]byte{{0x70}, {0xe0}}},
		"37.5 ms after 20 ms of CELT":        {0xf8, 1800, [][]byte{{0xf8}, {0xf0}, {0xe3, 3}}},
		"120 ms after 2.5 ms frames":         {0xe0, 5760, [][]byte{{0xe3, 48}}},
		"none":                               {0x48, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var sum int64
			var got [][]byte
			for p, ticks := range gapPackets(c.toc, c.ticks) {
				if own, err := codec.OpusTicks(p); err != nil || own != ticks {
					t.Errorf("%x lasts %d by its own account (%v), %d were said", p, own, err, ticks)
				}
				sum += ticks
				got = append(got, bytes.Clone(p))
			}
			want := c.want
			if sum != c.ticks || !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%x, %d ticks; want %x, %d", got, sum, want, c.ticks)
			}
		})
	}
}

// Every gap can be filled after every configuration.
func TestGapPacketsFillEverything(t *testing.T) {
	for toc := range 256 {
		for ticks := int64(0); ticks < 2*longestOpus; ticks += gapUnit {
			var sum int64
			for _, n := range gapPackets(byte(toc), ticks) {
				sum += n
			}
			if sum != ticks {
				t.Fatalf("after %02x, %d ticks of %d", toc, sum, ticks)
			}
		}
	}
}

// A track that cannot be read to its end makes no file that looks whole.
func TestOpusFailsWithItsTrack(t *testing.T) {
	broken := errors.New("broken")
	err := WriteOpus(io.Discard, Tags{}, func(yield func(audio.Packet, error) bool) {
		_ = yield(spoken(t, 1)[0], nil) && yield(audio.Packet{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}
