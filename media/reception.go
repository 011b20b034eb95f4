package media

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/pion/rtcp"
)

// reception is what a receiver reports of one RTP stream (RFC 3550, 6.4.1, A.3
// and A.8). Packets that came because we asked count as received, as late ones
// do: a browser that hears of more than 10 % loss sends more slowly, first of
// all what it is to send again (docs/adr/0005). It is pure; the track's
// goroutine owns it.
type reception struct {
	started       bool
	base, highest int64  // extended sequence numbers, the first and the highest
	received      uint64 // packets
	// As of the last report.
	expectedPrior, receivedPrior int64

	transit time.Duration // of the packet before, from an arbitrary origin
	jitter  float64       // ns
	origin  time.Time
	start   uint32 // RTP timestamp at the origin
	ticks   int64  // of the newest packet since start, in units of 1/rate
	rate    int
}

// take counts a packet as it arrived.
func (r *reception) take(now time.Time, seq uint16, timestamp uint32, rate int) {
	switch {
	case !r.started:
		*r = reception{started: true, base: int64(seq), highest: int64(seq), origin: now, start: timestamp, rate: rate}
	case rate != r.rate: // another codec: its timestamps are of another clock
		r.origin, r.start, r.ticks, r.rate, r.transit = now, timestamp, 0, rate, 0
	}
	r.received++
	ext := r.highest + int64(int16(seq-uint16(r.highest)))
	r.base = min(r.base, ext)
	if ext <= r.highest {
		return // overtaken on the way, or sent again: tells nothing of jitter
	}
	r.highest = ext
	r.ticks += int64(int32(timestamp - r.start - uint32(r.ticks)))
	transit := now.Sub(r.origin) - time.Duration(float64(r.ticks)/float64(r.rate)*float64(time.Second))
	if d := math.Abs(float64(transit - r.transit)); d < float64(time.Second) { // more is no jitter
		r.jitter += (d - r.jitter) / 16
	}
	r.transit = transit
}

// report is the block for a receiver report, and begins the next interval.
func (r *reception) report(ssrc uint32) rtcp.ReceptionReport {
	expected := r.highest - r.base + 1
	lost := expected - int64(r.received)
	interval := expected - r.expectedPrior
	lostNow := interval - (int64(r.received) - r.receivedPrior)
	r.expectedPrior, r.receivedPrior = expected, int64(r.received)
	b := rtcp.ReceptionReport{
		SSRC:               ssrc,
		LastSequenceNumber: uint32(r.highest),
		TotalLost:          uint32(min(max(lost, 0), 1<<23-1)),
		Jitter:             uint32(r.jitter / float64(time.Second) * float64(r.rate)),
	}
	if interval > 0 && lostNow > 0 {
		b.FractionLost = uint8(min(lostNow<<8/interval, 255))
	}
	return b
}

// senderReports takes in the RTCP of a session where pion would queue it: it
// remembers the newest sender report, which a receiver report has to name, and
// drops the rest. (A BYE says nothing: browsers send it when a page takes the
// microphone off the track for a while.)
type senderReports struct {
	mu   sync.Mutex // guards what follows
	ssrc uint32
	ntp  uint32 // middle 32 bits of the NTP timestamp
	at   time.Time
}

const (
	srType = 200
	srLen  = 28 // bytes of a sender report without report blocks
)

func (s *senderReports) take(now time.Time, p []byte) {
	if len(p) < srLen || p[1] != srType {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ssrc, s.ntp, s.at = binary.BigEndian.Uint32(p[4:]), binary.BigEndian.Uint32(p[10:]), now
}

// name puts the newest sender report into a block (RFC 3550, 6.4.1: LSR, DLSR).
func (s *senderReports) name(now time.Time, b *rtcp.ReceptionReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ssrc != b.SSRC || s.at.IsZero() {
		return
	}
	b.LastSenderReport = s.ntp
	b.Delay = uint32(now.Sub(s.at) * 65536 / time.Second)
}

// receiveRTCP takes RTCP that pion has decrypted.
func (s *Session) receiveRTCP(now time.Time, p []byte) {
	if s.allow(now, len(p)) {
		s.reports.take(now, p)
	}
}

// The bounds of how long a missing packet is waited for. In 8 round trips a
// browser, which sends a packet again at most once in each, has been asked
// often enough to bring loss of 10 % below 1 in a million (docs/adr/0005).
const (
	minWait   = 400 * time.Millisecond
	maxWait   = 1500 * time.Millisecond
	waitTrips = 8
)

// waitFor is how long a missing packet is worth waiting for.
func waitFor(rtt, jitter time.Duration) time.Duration {
	return min(max(waitTrips*rtt+4*jitter, minWait), maxWait)
}
