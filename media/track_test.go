package media

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"verbatim/media/audio"
)

// sent is one packet of a made-up sender; its payload tells which.
type sent struct {
	seq   uint16
	ts    uint32
	start int64 // ticks since the first packet of the sender
	ticks int64
	bytes []byte
}

// sender talks with pauses (DTX) in packets of changing length.
func sender(r *rand.Rand, n int) (ps []sent) {
	toc := map[int64]byte{120: 16 << 3, 960: 9 << 3, 2880: 11 << 3, 5760: 11<<3 | 1}
	lengths := []int64{120, 960, 2880, 5760}
	seq, ts, start := uint16(r.Uint32()), r.Uint32(), int64(0)
	for i := range n {
		if r.IntN(15) == 0 {
			pause := 960 * r.Int64N(100)
			ts, start = ts+uint32(pause), start+pause
		}
		p := sent{seq: seq, ts: ts, start: start, ticks: lengths[r.IntN(len(lengths))]}
		p.bytes = binary.BigEndian.AppendUint32([]byte{toc[p.ticks]}, uint32(i))
		ps = append(ps, p)
		seq, ts, start = seq+1, ts+uint32(p.ticks), start+p.ticks
	}
	return ps
}

type arrival struct {
	at time.Time
	p  sent
}

// wire delays, doubles and loses packets.
func wire(r *rand.Rand, ps []sent, loss float64, maxDelay time.Duration) (as []arrival) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, p := range ps {
		if r.Float64() < loss {
			continue
		}
		at := begin.Add(time.Duration(p.start) * time.Second / audio.TickRate)
		for range 1 + r.IntN(6)/5 {
			as = append(as, arrival{at.Add(time.Duration(r.Int64N(int64(maxDelay)))), p})
		}
	}
	slices.SortStableFunc(as, func(a, b arrival) int { return a.at.Compare(b.at) })
	return as
}

// takeIn drives a track as its goroutine does, by packets and by deadlines.
func takeIn(tb interface{ Fatalf(string, ...any) }, as []arrival) []audio.Packet {
	t, log := unconnected()
	ctx := t.s.engine.ctx
	for _, a := range as {
		for d, ok := t.reorder.Deadline(); ok && !d.After(a.at); d, ok = t.reorder.Deadline() {
			t.drain(ctx, d)
		}
		t.push(ctx, a.at, a.p.seq, t.payload(&encodings[0], a.p.ts, a.p.bytes))
		t.drain(ctx, a.at)
	}
	t.flush(ctx)
	if err := t.finish(ctx); err != nil {
		tb.Fatalf("finish: %v", err)
	}
	return log.packets
}

// checkTrack checks the invariants of DESIGN's heart, and that every coded
// packet stands in its exact place, once, in order.
func checkTrack(tb interface{ Fatalf(string, ...any) }, ps []audio.Packet, all []sent) (coded int) {
	var next uint64
	var start int64
	var account audio.Account
	first, last := int64(-1), int64(-1)
	for i, p := range ps {
		if p.Seq != next || p.Start != start || p.Samples < 0 {
			tb.Fatalf("packet %d: Seq %d, Start %d, want %d and %d", i, p.Seq, p.Start, next, start)
		}
		next, start = next+1, p.Next()
		account.Add(p)
		if p.Kind != audio.Coded {
			continue
		}
		coded++
		n := int64(binary.BigEndian.Uint32(p.Payload[1:]))
		if n <= last {
			tb.Fatalf("the sender's packet %d after its packet %d", n, last)
		}
		if first < 0 {
			first = all[n].start
		}
		if p.Start != all[n].start-first || p.Samples != all[n].ticks {
			tb.Fatalf("the sender's packet %d is at %d for %d, want %d for %d", n, p.Start, p.Samples, all[n].start-first, all[n].ticks)
		}
		last = n
	}
	if len(ps) == 0 {
		return 0
	}
	info, err := ps[len(ps)-1].EndInfo()
	if err != nil || info.Totals != account || account.Total() != start {
		tb.Fatalf("the end says %+v (%v), the packets add up to %+v over %d", info, err, account, start)
	}
	return coded
}

// No schedule of arrivals breaks the invariants.
func TestSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		all := sender(r, rapid.IntRange(1, 120).Draw(t, "packets"))
		loss := rapid.Float64Range(0, 0.5).Draw(t, "loss")
		delay := time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "delay"))
		checkTrack(t, takeIn(t, wire(r, all, loss, delay)), all)
	})
}

// As long as nothing is lost and nothing is later than the first packets are
// held for, every packet comes out, and nothing counts as lost.
func TestSchedulesWithoutLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		all := sender(r, rapid.IntRange(1, 120).Draw(t, "packets"))
		ps := takeIn(t, wire(r, all, 0, startHold))
		if n := checkTrack(t, ps, all); n != len(all) {
			t.Fatalf("%d of %d packets came out", n, len(all))
		}
		for _, p := range ps {
			if p.Kind == audio.Lost || p.Kind == audio.Discontinuity {
				t.Fatalf("%v of %d ticks at %d though nothing was lost", p.Kind, p.Samples, p.Start)
			}
		}
	})
}

// hotPath is what happens with each packet of a stream that comes in order, from
// the RTP packet to the log; redundant is RFC 2198 with one block.
func hotPath(tb testing.TB, red bool) func() {
	t := unconnectedTo(discard{})
	t.reportAt = time.Now().Add(10000 * time.Hour)
	opus := append([]byte{11 << 3}, make([]byte, 179)...)
	pt, payload := uint8(opusType), opus
	if red {
		pt, payload = redType, append([]byte{0x80 | opusType, 2880 >> 6, 0, 180, opusType}, append(opus, opus...)...)
	}
	b := rtpPacket(tb, pt, 0, 0, payload)
	now, seq, ts := time.Now(), uint16(0), uint32(0)
	var pkt rtp.Packet
	return func() {
		binary.BigEndian.PutUint16(b[2:], seq)
		binary.BigEndian.PutUint32(b[4:], ts)
		t.receive(tb.Context(), now, b, &pkt)
		t.report(now)
		t.drain(tb.Context(), now)
		seq, ts, now = seq+1, ts+2880, now.Add(60*time.Millisecond)
	}
}

// The hot path allocates nothing once a stream is under way.
func TestHotPathAllocatesNothing(t *testing.T) {
	for name, red := range map[string]bool{"opus": false, "red": true} {
		step := hotPath(t, red)
		for range 20 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

func BenchmarkTakeIn(b *testing.B) {
	for name, red := range map[string]bool{"opus": false, "red": true} {
		b.Run(name, func(b *testing.B) {
			step := hotPath(b, red)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
