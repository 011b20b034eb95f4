// Package audio holds the leaf types of the media path: the in-order Packet
// of one track, the Account that adds every one of its samples up, and the
// decoded Frame that transcription stages get. It imports nothing of ours, so
// that every other package may speak in these words.
package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TickRate is the unit of every Start and Samples of a Packet: 48 kHz ticks of
// the sender's clock, whatever the codec's own clock rate is.
const TickRate = 48000

// FrameRate is the sample rate of decoded PCM (mono, signed 16 bit).
const FrameRate = 16000

// TicksPerSample is how many ticks one decoded sample lasts.
const TicksPerSample = TickRate / FrameRate

// Kind says what a Packet stands for.
type Kind uint8

// The kinds. All but End take up time on the track's timeline.
const (
	// Coded carries the sender's coded audio in Payload.
	Coded Kind = iota + 1
	// Lost stands for audio that was sent and did not arrive in time.
	Lost
	// Silence stands for time in which the sender sent nothing (DTX, a pause).
	Silence
	// Discontinuity marks a break of the sender's timeline: a new SSRC, a
	// sequence reset, a timestamp that left the wall clock. Samples is the wall
	// clock time that passed, 0 where that is unknown.
	Discontinuity
	// Shed stands for audio that arrived and had to be given up.
	Shed
	// End is the last packet of every track; see EndInfo.
	End
)

var kindNames = [...]string{"invalid", "coded", "lost", "silence", "discontinuity", "shed", "end"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Coded && k <= End }

// Origin says how a coded packet came to us.
type Origin uint8

// The origins of coded packets.
const (
	Wire           Origin = iota // the sender's first transmission
	RED                          // a redundant block of a later packet (RFC 2198)
	Retransmission               // sent again because we asked for it (RFC 4585 NACK)
)

// Format is the coding of a Packet's Payload. It can change within a track.
type Format uint8

// The formats. FormatNone is that of packets without a payload.
const (
	FormatNone Format = iota
	FormatOpus        // RFC 6716, one packet per payload
	FormatPCMU        // G.711 µ law, 8 kHz mono, a byte per sample
	FormatPCMA        // G.711 A law, 8 kHz mono, a byte per sample
	FormatPCM         // signed 16 bit, little-endian, 16 kHz mono
)

// Packet is one in-order unit of a track. Packets of a track satisfy
//
//	p[n+1].Seq   == p[n].Seq + 1
//	p[n+1].Start == p[n].Start + p[n].Samples
//
// from Seq 0 and Start 0 on, and the last one is an End packet.
type Packet struct {
	Seq     uint64 // plain counter from 0 without holes
	Start   int64  // ticks (48 kHz) since the track's beginning
	Samples int64  // duration in ticks (48 kHz), never negative
	Kind    Kind
	Origin  Origin
	Format  Format
	// At is when the packet's first sample reached the server had the network
	// been as fast as at its best: smoothed, as wall time, never running back.
	At time.Time
	// Payload is the coded audio, or the totals of an End packet. Whoever is
	// handed a Packet may read Payload until the call returns (or until its
	// iterator moves on) and never writes to it.
	Payload []byte
}

// Next is the Start of the packet that follows p.
func (p Packet) Next() int64 { return p.Start + p.Samples }

// Account adds up the ticks (48 kHz) of a track by what became of them
// (docs: coverage). Received and Recovered are audio that can be decoded.
type Account struct {
	Received      int64 // coded, by first transmission
	Recovered     int64 // coded, by RED or retransmission
	Concealed     int64 // lost
	Silence       int64 // never sent
	Discontinuity int64
	Shed          int64
}

// Add counts p.
func (a *Account) Add(p Packet) {
	switch p.Kind {
	case Coded:
		if p.Origin == Wire {
			a.Received += p.Samples
		} else {
			a.Recovered += p.Samples
		}
	case Lost:
		a.Concealed += p.Samples
	case Silence:
		a.Silence += p.Samples
	case Discontinuity:
		a.Discontinuity += p.Samples
	case Shed:
		a.Shed += p.Samples
	case End:
	}
}

// Plus is the sum of two accounts.
func (a Account) Plus(b Account) Account {
	return Account{
		Received:      a.Received + b.Received,
		Recovered:     a.Recovered + b.Recovered,
		Concealed:     a.Concealed + b.Concealed,
		Silence:       a.Silence + b.Silence,
		Discontinuity: a.Discontinuity + b.Discontinuity,
		Shed:          a.Shed + b.Shed,
	}
}

// Total is the duration in ticks (48 kHz) that the account adds up to.
func (a Account) Total() int64 {
	return a.Received + a.Recovered + a.Concealed + a.Silence + a.Discontinuity + a.Shed
}

// Reason says how a track or session ended.
type Reason uint8

// The reasons.
const (
	ReasonLeft     Reason = iota + 1 // the client said so
	ReasonReplaced                   // a newer session of the same participant
	ReasonTimeout                    // the transport went silent or never came up
	ReasonServer                     // the server shut down, crashed or ended the meeting
)

var reasonNames = [...]string{"invalid", "left", "replaced", "timeout", "server"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// ParseReason is the reason of that name, 0 if there is none.
func ParseReason(name string) Reason {
	return Reason(max(0, slices.Index(reasonNames[:], name)))
}

// EndInfo is what an End packet carries: why the track ended, and its account.
// A reader that saw an End packet whose Totals add up to its Start has
// everything.
type EndInfo struct {
	Reason Reason
	Totals Account
}

const endInfoLen = 1 + 6*8

// NewEnd makes the End packet that follows a track's last packet.
func NewEnd(seq uint64, start int64, at time.Time, info EndInfo) Packet {
	b := make([]byte, 0, endInfoLen)
	b = append(b, byte(info.Reason))
	t := info.Totals
	for _, v := range [...]int64{t.Received, t.Recovered, t.Concealed, t.Silence, t.Discontinuity, t.Shed} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return Packet{Seq: seq, Start: start, Kind: End, At: at, Payload: b}
}

// EndInfo reads the payload of an End packet.
func (p Packet) EndInfo() (EndInfo, error) {
	if p.Kind != End || len(p.Payload) != endInfoLen {
		return EndInfo{}, errors.New("not an end packet")
	}
	v := func(i int) int64 { return int64(binary.BigEndian.Uint64(p.Payload[1+8*i:])) }
	return EndInfo{
		Reason: Reason(p.Payload[0]),
		Totals: Account{Received: v(0), Recovered: v(1), Concealed: v(2), Silence: v(3), Discontinuity: v(4), Shed: v(5)},
	}, nil
}

// Frame is decoded audio: 16 kHz mono s16 in the machine's byte order.
// Frames of a track follow each other without holes: the next Start is
// Start + len(PCM).
type Frame struct {
	Start int64   // samples (16 kHz) since the track's beginning
	PCM   []int16 // valid until the call that was handed the Frame returns
	Kind  Kind    // of the packet that it came from
}
