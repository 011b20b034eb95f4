//go:build linux

package main

import (
	"errors"
	"slices"
	"sort"
	"time"

	"verbatim/internal/netem"
)

const (
	// packetTime is how long a packet of the senders lasts: the server asks for
	// it (a=ptime), and the file for pion has it.
	packetTime = 60 * time.Millisecond
	// startHold is how long the server holds the first packets of a stream for
	// one that they may have overtaken.
	startHold = 100 * time.Millisecond
	ticks     = 48 // per ms
	perSample = 3  // ticks
)

// measure is what the network did to a stream, and how long the server took over
// it. Times are milliseconds.
type measure struct {
	Sent       int `json:"sent"`        // packets, not counting those sent again
	Lost       int `json:"lost"`        // of them
	Reordered  int `json:"reordered"`   // that came before one that was sent earlier
	Resent     int `json:"resent"`      // packets sent again
	ResentLost int `json:"resent_lost"` // of them
	Never      int `json:"never"`       // packets of which no copy arrived

	// Extra is how much later than on the same network without loss a packet
	// came to the recognizer. Idle is how much later than when everything before
	// it had arrived or was given up: what the server held up without a reason.
	ExtraP50 float64 `json:"extra_p50_ms"`
	ExtraP99 float64 `json:"extra_p99_ms"`
	IdleP50  float64 `json:"idle_p50_ms"`
	IdleP99  float64 `json:"idle_p99_ms"`
	IdleMax  float64 `json:"idle_max_ms"`
	// PaceP99 is how much later the sender sent a packet than it usually did.
	PaceP99 float64 `json:"pace_p99_ms"`
	// Off is by how much the track is longer than what was sent, between the
	// first and the last packet that arrived.
	Off float64 `json:"off_ms"`
}

// packet is one that was sent, with everything that is known of it.
type packet struct {
	seen    bool
	ticks   int64 // of its RTP timestamp, without wraps
	sent    time.Time
	due     time.Time // at the server, had it not been lost
	lost    bool
	arrived time.Time // of the first copy that did; zero if none
	got     time.Time // by the recognizer; zero for never
}

func newMeasure(trace []netem.RTP, tap []reading) (m measure, err error) {
	packets, m := collect(trace)
	first, last := firstAndLast(packets)
	if len(tap) == 0 || last < 0 {
		return m, errors.New("no audio came to the recognizer")
	}
	packets = packets[first : last+1]
	origin := packets[0].ticks
	total := tap[len(tap)-1].samples
	m.Off = float64(total*perSample-(packets[len(packets)-1].ticks-origin))/ticks - float64(packetTime.Milliseconds())
	var extra, idle, pace []float64
	var inOrder, ready time.Time // when it would be here without loss; when nothing was missing any more
	begun := packets[0].arrived.Add(2 * startHold)
	for _, p := range packets {
		if !p.seen {
			continue
		}
		start := (p.ticks - origin) / perSample
		i := sort.Search(len(tap), func(i int) bool { return tap[i].samples > start })
		if i == len(tap) {
			break
		}
		p.got = tap[i].at
		if p.due.After(inOrder) {
			inOrder = p.due
		}
		here := p.got // given up, or just in time
		if !p.arrived.IsZero() && p.arrived.Before(here) {
			here = p.arrived
		}
		if here.After(ready) {
			ready = here
		}
		pace = append(pace, ms(paced(p, packets[0])))
		if p.due.Before(begun) {
			continue
		}
		extra = append(extra, ms(p.got.Sub(inOrder)))
		if inOrder.After(ready) {
			ready = inOrder
		}
		idle = append(idle, ms(p.got.Sub(ready)))
	}
	m.ExtraP50, m.ExtraP99 = quantile(extra, 0.5), quantile(extra, 0.99)
	m.IdleP50, m.IdleP99, m.IdleMax = quantile(idle, 0.5), quantile(idle, 0.99), quantile(idle, 1)
	m.PaceP99 = quantile(pace, 0.99) - quantile(pace, 0.5)
	return m, nil
}

// paced is how late a packet was sent, against another and its timestamp.
func paced(p, first packet) time.Duration {
	return p.sent.Sub(first.sent) - time.Duration(p.ticks-first.ticks)*time.Millisecond/ticks
}

// collect sorts the packets of the stream with the most of them by extended
// sequence number. Places that were not sent are not seen.
func collect(trace []netem.RTP) (packets []packet, m measure) {
	counts := map[uint32]int{}
	var ssrc uint32
	for _, r := range trace {
		if counts[r.SSRC]++; counts[r.SSRC] > counts[ssrc] {
			ssrc = r.SSRC
		}
	}
	var base uint16
	var lastTS uint32
	var lastTicks int64
	var newest time.Time // due, of the packet before
	for _, r := range trace {
		if r.SSRC != ssrc {
			continue
		}
		if len(packets) == 0 {
			packets = make([]packet, 0, counts[ssrc])
			lastTS, base = r.Timestamp, r.Seq
		}
		i := extended(len(packets)-1, base, r.Seq)
		if i < 0 {
			continue // sent again from before the beginning
		}
		for len(packets) <= i {
			packets = append(packets, packet{})
		}
		p := &packets[i]
		if p.seen {
			m.Resent++
			if r.Lost {
				m.ResentLost++
			}
		} else {
			lastTicks += int64(int32(r.Timestamp - lastTS))
			lastTS = r.Timestamp
			*p = packet{seen: true, ticks: lastTicks, sent: r.Sent, due: r.Due, lost: r.Lost}
			m.Sent++
			if r.Lost {
				m.Lost++
			} else if r.Due.Before(newest) {
				m.Reordered++
			}
			if r.Due.After(newest) && !r.Lost {
				newest = r.Due
			}
		}
		if !r.Lost && (p.arrived.IsZero() || r.Due.Before(p.arrived)) {
			p.arrived = r.Due
		}
	}
	for _, p := range packets {
		if p.seen && p.arrived.IsZero() {
			m.Never++
		}
	}
	return packets, m
}

// extended is the place of a sequence number, given that of the newest one and
// the number at place 0.
func extended(newest int, base, seq uint16) int {
	newest = max(newest, 0)
	return newest + int(int16(seq-base-uint16(newest)))
}

// firstAndLast are the first packet of the track, which is the oldest of those
// that came while the server held the first ones, and the last that arrived.
func firstAndLast(packets []packet) (first, last int) {
	first, last = -1, -1
	var begun time.Time
	for _, p := range packets {
		if !p.arrived.IsZero() && (begun.IsZero() || p.arrived.Before(begun)) {
			begun = p.arrived
		}
	}
	for i, p := range packets {
		if p.arrived.IsZero() {
			continue
		}
		if last = i; first < 0 && p.arrived.Before(begun.Add(startHold)) {
			first = i
		}
	}
	return first, last
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
