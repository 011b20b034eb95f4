// Package netem is a bad network between two hosts: it carries IP packets
// between the TUN devices of two network namespaces, and loses, delays and
// reorders what goes up. It does in user space what `tc netem` does, which not
// every kernel has, and keeps a trace of every RTP packet, so that one can tell
// what the network did from what the receiver made of it.
//
// A Link decides the fate of one client's packets and is pure. An Emulator owns
// two goroutines per direction. OpenTUN and Namespace are Linux's.
package netem

import (
	"math/rand/v2"
	"time"
)

// Conditions of a link. Loss and jitter are those of the way up; the way down
// only delays.
type Conditions struct {
	// Loss is the part of the packets that is lost.
	Loss float64
	// Burst is how many packets in a row are lost on average (a Gilbert model,
	// `loss gemodel` of tc); 0 loses each independently of the others.
	Burst float64
	// RTT is the round trip, half of it each way.
	RTT time.Duration
	// Jitter is the standard deviation of the delay, which is normally
	// distributed and never negative (`delay … distribution normal` of tc).
	// Packets overtake each other.
	Jitter time.Duration
}

// Link is a way up and a way down. It is not safe for concurrent use: each
// direction has a Link of its own.
type Link struct {
	c      Conditions
	random *rand.Rand
	bad    bool // in a burst of losses
}

// NewLink makes a link that behaves the same for the same seed.
func NewLink(c Conditions, seed uint64) *Link {
	return &Link{c: c, random: rand.New(rand.NewPCG(seed, 0x6c696e6b))}
}

// Up decides about a packet that goes up: how long it takes, and whether it is
// lost. A lost one has the delay that it would have had.
func (l *Link) Up() (delay time.Duration, lost bool) {
	lost = l.lose()
	delay = l.c.RTT / 2
	if l.c.Jitter > 0 {
		delay = max(0, delay+time.Duration(l.random.NormFloat64()*float64(l.c.Jitter)))
	}
	return delay, lost
}

// Down is how long a packet takes that goes down.
func (l *Link) Down() time.Duration { return l.c.RTT / 2 }

func (l *Link) lose() bool {
	if l.c.Burst == 0 {
		return l.random.Float64() < l.c.Loss
	}
	// In the bad state all is lost, in the good one nothing. It leaves the bad
	// state after Burst packets, and the good one as often as makes Loss.
	leave := 1 / l.c.Burst
	if !l.bad {
		leave = leave * l.c.Loss / (1 - l.c.Loss)
	}
	if l.random.Float64() < leave {
		l.bad = !l.bad
	}
	return l.bad
}
