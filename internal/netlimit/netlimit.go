// Package netlimit bounds what strangers can take of a server by opening TCP
// connections. There may be so many of a stranger's, in all and from one address,
// and each may stay for a while, or for as long as its server likes; it becomes known
// when the server says so.
package netlimit

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the connections of one server. The zero value of a number is 0.
type Limits struct {
	Max        int           // connections in all
	Strangers  int           // of them strangers'
	PerAddress int           // strangers' from one address; of IPv6, from one /64
	Patience   time.Duration // how long a stranger may stay; 0: no deadline is set
	// Own says whose connections are known from the outset; nil: nobody's.
	Own func(netip.Addr) bool
}

// Limiter applies Limits to one or more listeners. It is safe for concurrent use.
type Limiter struct {
	limits  Limits
	refused atomic.Uint64

	mu     sync.Mutex // guards what follows
	all    int
	unseen int // strangers'
	from   map[netip.Prefix]int
}

// New makes one.
func New(l Limits) *Limiter { return &Limiter{limits: l, from: map[netip.Prefix]int{}} }

// Open is how many connections there are, Refused how many were closed at once.
func (l *Limiter) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// Refused is how many connections were closed at once, since New.
func (l *Limiter) Refused() uint64 { return l.refused.Load() }

// Listener makes the connections of another listener the limiter's: each is a
// *Conn. Its Accept fails only when the listener has been closed.
func (l *Limiter) Listener(of net.Listener) net.Listener { return &listener{of, l} }

type listener struct {
	net.Listener
	l *Limiter
}

// pause is for a system that has no connection to give just now.
const pause = 20 * time.Millisecond

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			time.Sleep(pause)
			continue
		}
		if conn := l.l.admit(c); conn != nil {
			return conn, nil
		}
		l.l.refused.Add(1)
		_ = c.Close() // whatever becomes of it
	}
}

func (l *Limiter) admit(c net.Conn) *Conn {
	addr, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // else it is none
	from := Network(addr.Addr())
	own := l.limits.Own != nil && l.limits.Own(addr.Addr().Unmap().WithZone(""))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all >= l.limits.Max:
		return nil
	case own:
		l.all++
		return &Conn{Conn: c, l: l, from: from}
	case l.unseen >= l.limits.Strangers || l.from[from] >= l.limits.PerAddress:
		return nil
	}
	if p := l.limits.Patience; p > 0 {
		if err := c.SetDeadline(time.Now().Add(p)); err != nil {
			return nil
		}
	}
	l.all++
	l.unseen++
	l.from[from]++
	return &Conn{Conn: c, l: l, from: from, stranger: true}
}

// Network is what counts as one address: of IPv6, a /64. All that is no address counts
// as one.
func Network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // it has so many bits, or is none
	return p
}

// Conn is a stranger's connection until Known is called, if it is not one of
// Limits.Own. Whoever accepted it closes it.
type Conn struct {
	net.Conn
	l        *Limiter
	from     netip.Prefix
	stranger bool // guarded by l.mu, as closed
	closed   bool
}

// Known says that it is clear whose connection this is. It has no deadline then.
// Calls after the first change nothing.
func (c *Conn) Known() error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.stranger {
		return nil
	}
	c.seen()
	return c.SetDeadline(time.Time{})
}

// seen takes the connection out of the strangers', with l.mu held.
func (c *Conn) seen() {
	c.stranger = false
	c.l.unseen--
	if c.l.from[c.from]--; c.l.from[c.from] == 0 {
		delete(c.l.from, c.from)
	}
}

// CloseWrite says that nothing more will be sent, where the connection can: net/http
// does so before it closes one whose client is still sending, which would lose the
// answer else.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn; it may be called twice.
func (c *Conn) Close() error {
	c.l.mu.Lock()
	if c.stranger {
		c.seen()
	}
	if !c.closed {
		c.closed = true
		c.l.all--
	}
	c.l.mu.Unlock()
	return c.Conn.Close()
}
