package media

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/media/reorder"
)

// dice are what a fuzzer throws: each byte decides one thing, and zeros follow.
type dice []byte

// n is one of 0 … sides-1.
func (d *dice) n(sides int) int {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return int(b) % sides
}

// bytes are up to most of them.
func (d *dice) bytes(most int) []byte {
	n := min(d.n(most+1), len(*d))
	b := (*d)[:n:n]
	*d = (*d)[n:]
	return b
}

func one[T any](d *dice, of ...T) T { return of[d.n(len(of))] }

// takeAny is a client that sends whatever it likes whenever it likes: bytes that
// are no RTP, types that were not agreed on, RED within RED, numbers and
// timestamps from nowhere, another stream. What comes of it is a track like any
// other, no longer than the audio that came and the time that passed.
func takeAny(t testing.TB, d dice) {
	track, log := unconnected()
	track.send = func(p rtcp.Packet) { checkSent(t, p) }
	ctx := context.Background()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	var (
		pkt rtp.Packet
		buf [receiveMTU]byte // one for all packets, as in track.run
		seq uint16
		ts  uint32
		n   int
	)
	for ; len(d) > 0; n++ {
		now = now.Add(one(&d, 0, time.Millisecond, 20*time.Millisecond, 60*time.Millisecond, 400*time.Millisecond, 2*time.Second, time.Minute))
		for at, ok := track.reorder.Deadline(); ok && !at.After(now); at, ok = track.reorder.Deadline() {
			track.drain(ctx, at)
		}
		if d.n(30) == 1 {
			track.restart(ctx)
		}
		size := copy(buf[:], d.packet(t, &seq, &ts))
		track.receive(ctx, now, buf[:size], &pkt)
		if track.reception.started {
			checkSent(t, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{track.reception.report(track.ssrc)}})
		}
		track.drain(ctx, now)
		for i := range buf[:size] { // what is kept of it must be a copy
			buf[i] = 0xff
		}
	}
	track.flush(ctx)
	if err := track.finish(ctx); err != nil {
		t.Fatalf("finish: %v", err)
	}
	checkAny(t, log.packets, now.Sub(begin), n)
}

// packet is what may arrive in place of the next packet of a stream.
func (d *dice) packet(t testing.TB, seq *uint16, ts *uint32) []byte {
	if d.n(10) == 9 {
		return d.bytes(40)
	}
	*seq += one[uint16](d, 1, 1, 1, 1, 0, 2, 5, 65535, 65530, 300, 1500, 30000)
	*ts += one[uint32](d, 960, 960, 2880, 0, 19200, 160, 1<<31, 1<<32-960, 86400000, 48000*4, 1)
	h := rtp.Header{
		Version: 2, SequenceNumber: *seq, Timestamp: *ts, SSRC: 7, CSRC: make([]uint32, one(d, 0, 0, 0, 1, 15)),
		PayloadType: one[uint8](d, opusType, opusType, redType, redType, 0, 8, 13, 110, 126, 99),
	}
	opus := []byte{byte(d.n(256)), byte(d.n(256))}
	payload := slices.Concat(opus, d.bytes(20))
	if h.PayloadType == redType { // as it should be, as often as not
		var head, data []byte
		for range d.n(10) {
			offset := one(d, 960, 1920, 2880, 0, 16383)
			head = append(head, 0x80|one[byte](d, opusType, opusType, redType, 0, 99), byte(offset>>6), byte(offset<<2), byte(len(opus)))
			data = append(data, opus...)
		}
		payload = slices.Concat(head, []byte{one[byte](d, opusType, opusType, redType, 0x80|opusType)}, data, payload)
	}
	b, err := (&rtp.Packet{Header: h, Payload: payload}).Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	if d.n(10) == 9 {
		b[d.n(len(b))] ^= byte(d.n(256))
	}
	return b
}

// checkSent checks that what is sent can be, and asks for no more than it may.
func checkSent(t testing.TB, p rtcp.Packet) {
	if _, err := p.Marshal(); err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	if nack, ok := p.(*rtcp.TransportLayerNack); ok {
		asked := 0
		for _, pair := range nack.Nacks {
			asked += len(pair.PacketList())
		}
		if asked == 0 || asked > reorder.MaxAsk {
			t.Fatalf("%d packets are asked for at once", asked)
		}
	}
}

func checkAny(t testing.TB, ps []audio.Packet, wall time.Duration, arrived int) {
	if len(ps) == 0 {
		return
	}
	var (
		seq     uint64
		start   int64
		account audio.Account
		at      time.Time
	)
	for i, p := range ps {
		if p.Seq != seq || p.Start != start || p.Samples < 0 || p.At.Before(at) || (p.Kind == audio.End) != (i == len(ps)-1) {
			t.Fatalf("packet %d of %d: %+v; want Seq %d, Start %d", i, len(ps), p, seq, start)
		}
		if p.Kind == audio.Coded {
			if n, err := codec.Duration(p.Format, p.Payload); err != nil || n != p.Samples {
				t.Fatalf("packet %d lasts %d ticks, its payload %d (%v)", i, p.Samples, n, err)
			}
		}
		account.Add(p)
		seq, start, at = seq+1, p.Next(), p.At
	}
	info, err := ps[len(ps)-1].EndInfo()
	if err != nil || info.Totals != account || account.Total() != start {
		t.Fatalf("the end says %+v (%v), the packets add up to %+v over %d", info, err, account, start)
	}
	// 5 s of leeway, clocks that drift by 1 in 1,000, and what conversions round.
	made := account.Total() - account.Received - account.Recovered
	if most := int64((wall+2*wall/1000+5*time.Second).Seconds()*audio.TickRate) + int64(arrived); made > most {
		t.Fatalf("%d ticks without audio in %v", made, wall)
	}
}

// throw is as many random bytes as many packets need.
func throw(seed uint64, n int) dice {
	d := make(dice, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(d)
	return d
}

func TestAnyPackets(t *testing.T) {
	for seed := range uint64(300) {
		takeAny(t, throw(seed, 4000))
	}
}

func FuzzReceive(f *testing.F) {
	for seed := range uint64(4) {
		f.Add([]byte(throw(seed, 500)))
	}
	f.Fuzz(func(t *testing.T, b []byte) { takeAny(t, b) })
}

// FuzzControl checks the RTCP that a client may send against another reader of
// the same bytes.
func FuzzControl(f *testing.F) {
	sr, err := (&rtcp.SenderReport{SSRC: 7, NTPTime: 1 << 40, Reports: []rtcp.ReceptionReport{{SSRC: 1}}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sr, uint32(7))
	f.Add(sr[:20], uint32(7))
	f.Add([]byte{0x81, 203, 0, 1, 0, 0, 0, 7}, uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, ssrc uint32) {
		var s senderReports
		now := time.Now()
		s.take(now, b)
		block := rtcp.ReceptionReport{SSRC: ssrc}
		s.name(now.Add(time.Second), &block)
		var want rtcp.SenderReport
		if err := want.Unmarshal(b); err == nil && want.SSRC == ssrc {
			if middle := want.NTPTime >> 16 & 0xffffffff; uint64(block.LastSenderReport) != middle || block.Delay != 65536 {
				t.Errorf("the report's middle bits are %#x, %d later; want %#x", block.LastSenderReport, block.Delay, middle)
			}
		}
		if block.LastSenderReport != 0 && (len(b) < srLen || binary.BigEndian.Uint32(b[4:]) != ssrc) {
			t.Error("the report of another sender is named")
		}
	})
}
