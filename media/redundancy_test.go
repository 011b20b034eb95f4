package media

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"verbatim/media/audio"
)

const (
	opusType = 111
	redType  = 63
)

// unconnected is a track whose session has agreed on everything and sends
// nothing; what came of it is in the log.
func unconnected() (*track, *memoryLog) {
	log := &memoryLog{}
	return unconnectedTo(log), log
}

func unconnectedTo(sink Sink) *track {
	s := &Session{
		engine: &Engine{cfg: Config{Sink: sink}, log: slog.New(slog.DiscardHandler)},
		reason: audio.ReasonLeft,
	}
	for i := range encodings {
		s.payloads[encodings[i].number] = &encodings[i]
	}
	t := newTrack(s)
	t.send = func(rtcp.Packet) {}
	return t
}

// rtpPacket is a packet as it arrives.
func rtpPacket(tb interface{ Fatalf(string, ...any) }, pt uint8, seq uint16, ts uint32, payload []byte) []byte {
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, Timestamp: ts, SSRC: 7}, Payload: payload}
	b, err := p.Marshal()
	if err != nil {
		tb.Fatalf("marshal: %v", err)
	}
	return b
}

// redundant is packet i with up to depth of those before it, as browsers send
// it: no block is older than 16,383 ticks.
func redundant(ps []sent, i, depth int) (payload []byte) {
	var blocks []sent
	for j := i - 1; j >= 0 && i-j <= depth && ps[i].ts-ps[j].ts <= 16383; j-- {
		blocks = append(blocks, ps[j])
	}
	slices.Reverse(blocks)
	for _, b := range blocks {
		offset, n := ps[i].ts-b.ts, len(b.bytes)
		payload = append(payload, 0x80|opusType, byte(offset>>6), byte(offset<<2)|byte(n>>8), byte(n))
	}
	payload = append(payload, opusType)
	for _, b := range append(blocks, ps[i]) {
		payload = append(payload, b.bytes...)
	}
	return payload
}

// With RED of one or two packets and no loss of more in a row, every packet
// comes out in its place, at once and without being asked for. Packets of plain
// Opus between those of RED make no difference.
func TestRedundancyFillsHoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 9))
		all := sender(r, rapid.IntRange(3, 100).Draw(t, "packets"))
		depth := rapid.IntRange(1, 2).Draw(t, "depth")
		track, log := unconnected()
		var pkt rtp.Packet
		lost, inRow := 0, 0
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		reach := func(i int) bool { // the packet after i, if it comes, holds i
			return i+1 < len(all) && all[i+1].ts-all[i-inRow].ts <= 16383
		}
		for i, p := range all {
			now := begin.Add(time.Duration(p.start) * time.Second / audio.TickRate)
			if i > 0 && inRow < depth && reach(i) && r.IntN(3) == 0 {
				lost++
				inRow++
				continue
			}
			pt, payload := uint8(redType), redundant(all, i, depth)
			if inRow == 0 && r.IntN(4) == 0 {
				pt, payload = opusType, p.bytes
			}
			inRow = 0
			track.receive(t.Context(), now, rtpPacket(t, pt, p.seq, p.ts, payload), &pkt)
			track.drain(t.Context(), now)
		}
		track.flush(t.Context())
		if err := track.finish(t.Context()); err != nil {
			t.Fatalf("finish: %v", err)
		}
		if n := checkTrack(t, log.packets, all); n != len(all) {
			t.Fatalf("%d of %d packets came out", n, len(all))
		}
		recovered := 0
		for _, p := range log.packets {
			if p.Origin == audio.RED {
				recovered++
			}
		}
		if recovered != lost || track.counts.Asked != 0 {
			t.Fatalf("%d packets of %d lost count as recovered, %d were asked for", recovered, lost, track.counts.Asked)
		}
	})
}

// A block that cannot stand where its place is, is not believed.
func TestRedundancyThatContradictsTheTimestamps(t *testing.T) {
	for _, c := range []struct {
		name   string
		offset uint32
		want   string
	}{
		{"in its place", 2880, "coded 2880, coded 2880, coded 2880"},
		{"overlapping the packet", 2879, "coded 2880, lost 2880, coded 2880"},
		{"once more what came before", 2 * 2880, "coded 2880, lost 2880, coded 2880"},
		{"at the same time", 0, "coded 2880, lost 2880, coded 2880"},
	} {
		t.Run(c.name, func(t *testing.T) {
			track, log := unconnected()
			var pkt rtp.Packet
			opus := []byte{11 << 3, 1, 2}
			now := time.Now()
			track.receive(t.Context(), now, rtpPacket(t, opusType, 1, 1000, opus), &pkt)
			p := append([]byte{0x80 | opusType, byte(c.offset >> 6), byte(c.offset << 2), 3, opusType}, append(opus, opus...)...)
			track.receive(t.Context(), now.Add(120*time.Millisecond), rtpPacket(t, redType, 3, 1000+2*2880, p), &pkt)
			track.flush(t.Context())
			if s := describe(log.packets); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// What is no RED payload costs its own time and nothing else.
func TestMalformedRedundancy(t *testing.T) {
	track, log := unconnected()
	var pkt rtp.Packet
	opus := []byte{11 << 3, 1, 2}
	now := time.Now()
	for i, p := range [][]byte{append([]byte{opusType}, opus...), {0x80 | opusType, 1}, {redType, 1, 2}, append([]byte{opusType}, opus...)} {
		now = now.Add(60 * time.Millisecond)
		track.receive(t.Context(), now, rtpPacket(t, redType, uint16(i), uint32(i)*2880, p), &pkt)
	}
	track.flush(t.Context())
	if s := describe(log.packets); s != "coded 2880, lost 5760, coded 2880" || track.counts.Malformed != 2 {
		t.Errorf("got %s, %d malformed", s, track.counts.Malformed)
	}
}

func describe(ps []audio.Packet) (s string) {
	for i, p := range ps {
		if i > 0 {
			s += ", "
		}
		s += p.Kind.String() + " " + strconv.FormatInt(p.Samples, 10)
	}
	return s
}

// Codecs that change in mid-stream, events and comfort noise: one track, and
// the account adds up.
func TestCodecsChange(t *testing.T) {
	const opus60 = "\x58\x01\x02"
	g711 := string(make([]byte, 160)) // 20 ms
	for _, c := range []struct {
		name string
		in   []step
		want string
	}{
		{"G.711 alone", []step{{0, 0, g711, 20}, {0, 160, g711, 20}, {0, 480, g711, 40}}, "coded 960, coded 960, silence 960, coded 960"},
		{"µ law to A law is no break", []step{{0, 0, g711, 20}, {8, 160, g711, 20}}, "coded 960, coded 960"},
		{"Opus to G.711 is one", []step{{opusType, 0, opus60, 60}, {0, 7_000_000, g711, 60}}, "coded 2880, discontinuity 0, coded 960"},
		{"with the time that passed", []step{{opusType, 0, opus60, 60}, {0, 7_000_000, g711, 1060}}, "coded 2880, discontinuity 48000, coded 960"},
		{"an event is time without audio", []step{{0, 0, g711, 20}, {126, 160, "\x05\x00\x00\xa0", 20}, {0, 320, g711, 20}}, "coded 960, silence 960, coded 960"},
		{"so is comfort noise", []step{{0, 0, g711, 20}, {13, 160, "\x40", 20}, {0, 8160, g711, 1000}}, "coded 960, silence 48000, coded 960"},
		{"an unknown type", []step{{0, 0, g711, 20}, {99, 160, "???", 20}, {0, 320, g711, 20}}, "coded 960, silence 960, coded 960"},
		{"padding alone", []step{{opusType, 0, opus60, 60}, {opusType, 2880, "", 0}, {opusType, 2880, opus60, 60}}, "coded 2880, coded 2880"},
	} {
		t.Run(c.name, func(t *testing.T) {
			track, log := unconnected()
			var pkt rtp.Packet
			now := time.Now()
			for i, s := range c.in {
				now = now.Add(time.Duration(s.after) * time.Millisecond)
				track.receive(t.Context(), now, rtpPacket(t, s.pt, uint16(65534+i), s.ts, []byte(s.payload)), &pkt)
				track.drain(t.Context(), now)
			}
			track.flush(t.Context())
			if s := describe(log.packets); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// A sender that begins its numbers anew loses nothing by it: the first packet is
// far from all others, and is believed as soon as the second one comes.
func TestNumbersBeginAnew(t *testing.T) {
	track, log := unconnected()
	var pkt rtp.Packet
	now := time.Now()
	for i, seq := range []uint16{7, 8, 40000, 40001, 40002, 9} {
		opus := []byte{11 << 3, byte(i)}
		track.receive(t.Context(), now, rtpPacket(t, opusType, seq, uint32(i)*2880, opus), &pkt)
		track.drain(t.Context(), now)
		now = now.Add(60 * time.Millisecond)
	}
	track.flush(t.Context())
	if s := describe(log.packets); s != "coded 2880, coded 2880, discontinuity 0, coded 2880, coded 2880, coded 2880" {
		t.Errorf("got %s", s)
	}
	if track.counts.Stray != 1 {
		t.Errorf("%d strays, want the last one alone", track.counts.Stray)
	}
}

type step struct {
	pt      uint8
	ts      uint32
	payload string
	after   int // ms
}
