package relay

import (
	"hash/maphash"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"verbatim/internal/netlimit"
)

// What those who have no allocation may send over UDP, in packets a second and at
// once: from one address, and in all. A client sends two or three until it has
// one. Each is answered, with up to five times its length, and to an address that
// may be forged: so this is also the most that anybody can be sent by way of us.
const (
	strangerRate, strangerBurst = 20, 200
	crowdRate, crowdBurst       = 2000, 4000
)

// crowd bounds what strangers send. Addresses share a bucket now and then, so that
// its size does not depend on how many there are.
type crowd struct {
	seed maphash.Seed
	each [1024]*rate.Limiter
	all  *rate.Limiter
}

func newCrowd() *crowd {
	c := &crowd{seed: maphash.MakeSeed(), all: rate.NewLimiter(crowdRate, crowdBurst)}
	for i := range c.each {
		c.each[i] = rate.NewLimiter(strangerRate, strangerBurst)
	}
	return c
}

// allow counts a packet from an address.
func (c *crowd) allow(from netip.Addr, now time.Time) bool {
	i := maphash.Comparable(c.seed, from) % uint64(len(c.each))
	return c.each[i].AllowN(now, 1) && c.all.AllowN(now, 1) // one address does not use up what is for all
}

// hears reports whether a packet over UDP is to be read: always from those who
// have an allocation, whose packets are bounded elsewhere.
func (s *Server) hears(from net.Addr) bool {
	at := addrPort(from)
	s.mu.Lock()
	known := s.clients[at] > 0
	s.mu.Unlock()
	if known || s.crowd.allow(netlimit.Network(at.Addr()).Addr(), time.Now()) {
		return true
	}
	s.unheard.Add(1)
	return false
}
