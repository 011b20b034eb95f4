package whipclient

import (
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	// historySize is how many packets are kept to be sent again: 30 s of 60 ms
	// packets, 1.2 s of the shortest (2.5 ms).
	historySize = 512
	// firstRTT stands for the round trip while no report has told of it.
	firstRTT = 25 * time.Millisecond
	// rttMargin is what libwebrtc adds to the round trip before it answers the
	// same request again.
	rttMargin = 5 * time.Millisecond
	// reportEvery is how often a sender report goes out: the receiver sends its
	// middle bits back, which tells the round trip (RFC 3550, 6.4.1).
	reportEvery = time.Second
)

// resender answers a receiver's requests for lost packets (RFC 4585, 6.2.1) the
// way libwebrtc does: the first one at once, another for the same packet only
// when a round trip has passed since it was last sent again.
type resender struct {
	pc       *webrtc.PeerConnection
	track    *webrtc.TrackLocalStaticRTP
	ssrc     uint32
	onReport func(rtcp.ReceptionReport) // may be nil
	wg       sync.WaitGroup             // the goroutine that reads RTCP; it ends with the connection

	mu       sync.Mutex // guards what follows
	history  [historySize]sentPacket
	rtt      time.Duration
	reported time.Time // when the last sender report went out
	packets  uint32
	octets   uint32
}

// sentPacket is a packet in the history; resent is when it was last sent again,
// zero if it never was.
type sentPacket struct {
	packet rtp.Packet
	kept   bool
	resent time.Time
}

func newResender(pc *webrtc.PeerConnection, track *webrtc.TrackLocalStaticRTP, onReport func(rtcp.ReceptionReport), sender *webrtc.RTPSender) *resender {
	r := &resender{pc: pc, track: track, onReport: onReport, rtt: firstRTT, ssrc: uint32(sender.GetParameters().Encodings[0].SSRC)}
	r.wg.Go(func() { r.read(sender) })
	return r
}

// read takes the receiver's RTCP until the connection is closed.
func (r *resender) read(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			switch p := p.(type) {
			case *rtcp.ReceiverReport:
				r.measure(time.Now(), p.Reports)
			case *rtcp.TransportLayerNack:
				if p.MediaSSRC != r.ssrc {
					continue
				}
				for _, again := range r.answer(time.Now(), p.Nacks) {
					if r.track.WriteRTP(&again) != nil {
						return // the connection is closed
					}
				}
			}
		}
	}
}

// measure takes the round trip from a receiver report.
func (r *resender) measure(now time.Time, reports []rtcp.ReceptionReport) {
	for _, b := range reports {
		if b.SSRC != r.ssrc {
			continue
		}
		if r.onReport != nil {
			r.onReport(b)
		}
		if b.LastSenderReport == 0 {
			continue
		}
		// In units of 1/65536 s, modulo 2^32. A clock that was set back looks
		// like hours.
		took := time.Duration(uint32(ntp(now)>>16)-b.LastSenderReport-b.Delay) * time.Second >> 16
		if took < 10*time.Second {
			r.mu.Lock()
			r.rtt = took
			r.mu.Unlock()
		}
	}
}

// answer is what is to be sent again for a request.
func (r *resender) answer(now time.Time, nacks []rtcp.NackPair) (again []rtp.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pair := range nacks {
		pair.Range(func(seq uint16) bool {
			s := &r.history[seq%historySize]
			underWay := !s.resent.IsZero() && now.Sub(s.resent) < r.rtt+rttMargin
			if s.kept && s.packet.SequenceNumber == seq && !underWay {
				s.resent = now
				p := s.packet
				p.Payload = slices.Clone(p.Payload) // keep reuses it
				again = append(again, p)
			}
			return true
		})
	}
	return again
}

// keep remembers a packet that is about to be sent, and sends a sender report
// when one is due.
func (r *resender) keep(now time.Time, p *rtp.Packet) error {
	report := r.remember(now, p)
	if report == nil {
		return nil
	}
	return r.pc.WriteRTCP([]rtcp.Packet{report})
}

func (r *resender) remember(now time.Time, p *rtp.Packet) (report *rtcp.SenderReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.reported) >= reportEvery {
		r.reported = now
		report = &rtcp.SenderReport{
			SSRC: r.ssrc, NTPTime: ntp(now), RTPTime: p.Timestamp, PacketCount: r.packets, OctetCount: r.octets,
		}
	}
	r.packets++
	r.octets += uint32(len(p.Payload))
	s := &r.history[p.SequenceNumber%historySize]
	room := s.packet.Payload[:0]
	*s = sentPacket{packet: rtp.Packet{Header: p.Header, Payload: append(room, p.Payload...)}, kept: true}
	return report
}

// ntp is a time in the format of sender reports: seconds since 1900, 32 bits
// of them after the point.
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}
