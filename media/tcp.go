package media

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/stun/v4"

	"verbatim/internal/netlimit"
)

const (
	// maxTCPStrangers is how many connections may not have shown yet which session
	// they are for, in all and from one address.
	maxTCPStrangers, maxTCPPerAddress = 1000, 100
	// maxTCPPerSession is how many connections a session may have: a client opens
	// one from each of its addresses to each of ours.
	maxTCPPerSession = 16
	// tcpIdle is how long a connection may say nothing; browsers check those that
	// they do not use every 25 s or so.
	tcpIdle = 60 * time.Second
	// tcpQueue is how many messages wait to be sent on one connection, which is a
	// second and more of all that we send; tcpStall how long the system may take
	// none of them.
	tcpQueue, tcpStall = 32, 10 * time.Second
	// tcpReadBuffer is per connection.
	tcpReadBuffer = 4 << 10
)

// tcpMux takes in over TCP what else comes over UDP (RFC 6544, framed as in RFC
// 4571), for clients in networks that let no UDP out. pion is not told of it: what
// a connection brings goes the way of a datagram from its address, to the part
// that a session has of one of the UDP sockets, and what the session sends to that
// address goes back on the connection.
//
// A goroutine for each listener, one that reads and one that writes for each
// connection; Close ends them.
type tcpMux struct {
	muxes   []*mux
	limiter *netlimit.Limiter
	dropped *atomic.Uint64
	begun   atomic.Uint64 // connections that were for a session
	sockets []netip.AddrPort

	listeners []net.Listener
	wg        sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[*tcpConn]struct{}
	closed bool
}

// listenTCP opens TCP ports: at the addresses of the UDP sockets, with their port
// numbers or another one; or at one address. Ports that are taken are left out if
// that is allowed; the sockets of the result say which there are.
func listenTCP(muxes []*mux, at string, maxConns int, patience time.Duration, dropped *atomic.Uint64) (_ *tcpMux, err error) {
	t := &tcpMux{
		muxes: muxes, dropped: dropped, conns: map[*tcpConn]struct{}{},
		limiter: netlimit.New(netlimit.Limits{Max: maxConns, Strangers: maxTCPStrangers, PerAddress: maxTCPPerAddress, Patience: patience}),
	}
	want, optional, err := tcpSockets(muxes, at)
	if err != nil {
		return nil, err
	}
	for _, a := range want {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
		if errors.Is(err, syscall.EADDRINUSE) && optional {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		bound, _ := l.Addr().(*net.TCPAddr) // it is
		t.sockets = append(t.sockets, netip.AddrPortFrom(a.Addr(), uint16(bound.Port)))
		t.listeners = append(t.listeners, l)
	}
	for _, l := range t.listeners {
		t.wg.Go(func() { t.accept(t.limiter.Listener(l)) })
	}
	return t, nil
}

// tcpSockets are the addresses at which TCP ports are wanted.
func tcpSockets(muxes []*mux, at string) (want []netip.AddrPort, optional bool, err error) {
	host, port := "", ""
	if at != SamePort {
		if host, port, err = net.SplitHostPort(at); err != nil {
			return nil, false, err
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
		a, err := netip.ParseAddrPort(at)
		return []netip.AddrPort{a}, false, err
	}
	for _, m := range muxes {
		a := m.at
		if port != "" {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, false, fmt.Errorf("port %q is not a number", port)
			}
			a = netip.AddrPortFrom(a.Addr(), uint16(n))
		}
		want = append(want, a)
	}
	return want, at == SamePort, nil
}

func (t *tcpMux) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if limited, ok := c.(*netlimit.Conn); ok { // always
			t.begin(limited)
		}
	}
}

// begin has two goroutines serve a connection.
func (t *tcpMux) begin(socket *netlimit.Conn) {
	c := &tcpConn{t: t, socket: socket, from: tcpAddr(socket.RemoteAddr()), at: tcpAddr(socket.LocalAddr()).Addr(), out: make(chan []byte, tcpQueue), ended: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = socket.Close() // as all the others
		return
	}
	t.conns[c] = struct{}{}
	t.wg.Go(c.send)
	t.wg.Go(func() {
		c.receive()
		c.end()
		c.leave()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.conns, c)
	})
}

func tcpAddr(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// find is the part that the session with that user name has of the UDP socket at
// an address, or else of any other.
func (t *tcpMux) find(name string, at netip.Addr) (found *muxConn) {
	for _, m := range t.muxes {
		c := m.named(name)
		if c != nil && m.at.Addr() == at {
			return c
		}
		if c != nil && (found == nil || m.at.Addr().Is4() == at.Is4()) {
			found = c
		}
	}
	return found
}

// Close ends all connections and waits for the goroutines.
func (t *tcpMux) Close() (err error) {
	for _, l := range t.listeners {
		if cerr := l.Close(); !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		c.end()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

// tcpConn is one connection.
type tcpConn struct {
	t      *tcpMux
	socket *netlimit.Conn
	from   netip.AddrPort
	at     netip.Addr // ours
	out    chan []byte
	ended  chan struct{} // closed by the first call of end
	once   sync.Once

	to *muxConn // where it belongs; of the goroutine that reads
}

// end has both goroutines end.
func (c *tcpConn) end() {
	c.once.Do(func() {
		close(c.ended)
		_ = c.socket.Close() // whatever becomes of it
	})
}

// receive reads until there is nothing more of use.
func (c *tcpConn) receive() {
	in := bufio.NewReaderSize(c.socket, tcpReadBuffer)
	var buf [receiveMTU]byte
	var msg stun.Message
	for {
		b, err := readFrame(in, buf[:])
		if err != nil || !c.route(b, &msg) {
			return
		}
		if c.to.s == nil || !c.to.s.take(b) {
			c.to.put(b, c.from)
		}
		if err := c.socket.SetReadDeadline(time.Now().Add(tcpIdle)); err != nil {
			return
		}
	}
}

var errFrame = errors.New("a frame is longer than any datagram")

// readFrame reads a message behind its length (RFC 4571, 2).
func readFrame(in *bufio.Reader, buf []byte) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n >= len(buf) {
		return nil, errFrame
	}
	_, err := io.ReadFull(in, buf[:n])
	return buf[:n], err
}

// route finds out where a message belongs, which a STUN request says; it must be
// the first one, and signed with the session's password: the user name stands in every
// check, for all to read. It reports whether the connection is of use.
func (c *tcpConn) route(b []byte, msg *stun.Message) bool {
	if stunType(b) != stunRequest {
		return c.to != nil
	}
	to := c.t.find(userOf(b, msg), c.at)
	if to == nil || to == c.to || to.s == nil || !to.s.knows(to.name, msg) {
		return c.to != nil
	}
	c.leave()
	if !to.m.attach(to, c) {
		return false
	}
	if c.to == nil {
		c.t.begun.Add(1)
	}
	c.to = to
	return c.socket.Known() == nil
}

// leave takes the connection from the session that has it.
func (c *tcpConn) leave() {
	if c.to != nil {
		c.to.m.detach(c.to, c)
	}
}

// write queues a message to be sent. What finds no room is dropped, as a network
// does it.
func (c *tcpConn) write(b []byte) (int, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b)))
	select {
	case c.out <- append(framed, b...):
	case <-c.ended:
		return 0, net.ErrClosed
	default:
		c.t.dropped.Add(1)
	}
	return len(b), nil
}

// send is the goroutine that writes.
func (c *tcpConn) send() {
	for {
		select {
		case b := <-c.out:
			if err := c.socket.SetWriteDeadline(time.Now().Add(tcpStall)); err != nil {
				c.end()
				return
			}
			if _, err := c.socket.Write(b); err != nil {
				c.end()
				return
			}
		case <-c.ended:
			return
		}
	}
}
