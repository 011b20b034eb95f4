package netem

import (
	"encoding/binary"
	"time"
)

// RTP is one RTP packet on its way up. SRTP leaves the header readable.
type RTP struct {
	SSRC      uint32
	Seq       uint16
	Timestamp uint32
	// Sent is when the network got it, Due when it arrives.
	Sent, Due time.Time
	Lost      bool
}

// parseRTP reads the header of a UDP payload. STUN, DTLS and RTCP are none
// (RFC 7983, RFC 5761).
func parseRTP(b []byte) (r RTP, ok bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return r, false
	}
	if pt := b[1] & 0x7f; pt >= 64 && pt < 96 {
		return r, false
	}
	return RTP{
		Seq: binary.BigEndian.Uint16(b[2:]), Timestamp: binary.BigEndian.Uint32(b[4:]), SSRC: binary.BigEndian.Uint32(b[8:]),
	}, true
}
