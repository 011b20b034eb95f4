package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/net/ipv4"
	"golang.org/x/time/rate"
)

const (
	// muxQueue is how many datagrams wait for one ICE session, which takes them
	// in within microseconds: 100 KB at most.
	muxQueue = 64
	// socketBuffer is what the system is asked to keep of datagrams while the
	// process is busy, half a second of 1,000 sessions. Linux counts a kilobyte or
	// so for each, and gives at most net.core.rmem_max.
	socketBuffer = 8 << 20
	// kept is for how long an address stays with the session that has answered a check
	// from it. Clients check what they use every 2 to 6 s (RFC 7675, 5.1), and one that
	// is started anew at an old port replaces its session, or waits that long.
	kept = 10 * time.Second
	// What an ICE session may get of STUN for long, and at once. Each costs a
	// signature or two; browsers send one per 50 ms, and a few later on.
	maxSTUN, stunBurst = 100, 300
)

// mux shares one UDP socket among all sessions. It stands in for pion's, whose
// queues have no end: a client that sent 670,000 packets in 5 s made 720 MB of
// them (measured). Here, what does not fit into a session's queue is dropped, as
// a full socket does it. RTP goes straight to its Session once that wants it.
//
// ICE checks find their session by the user name in them (RFC 8445, 7.2.2), all
// else by the address that it comes from. An address belongs to the session
// that first sent something there, until another one answers a check from it,
// whose password was right then: naming another client's address as a candidate
// takes nothing away from it. Nor does sending checks from there, which takes no more
// than a forged source: who has answered one from an address lately keeps it.
//
// One goroutine reads the socket; Close ends it.
type mux struct {
	socket  net.PacketConn
	at      netip.AddrPort // of the socket
	dropped *atomic.Uint64 // datagrams that came faster than their session takes them
	buffers sync.Pool      // of *[receiveMTU]byte
	done    chan struct{}  // closed when the goroutine has ended
	failed  atomic.Int64   // reads in a row

	mu     sync.Mutex // guards what follows
	byName map[string]*muxConn
	byAddr map[netip.AddrPort]*muxConn
	closed bool
}

// newMux makes one that owns the socket.
func newMux(socket net.PacketConn, dropped *atomic.Uint64) *mux {
	m := &mux{
		socket: socket, at: addrPort(socket.LocalAddr()), dropped: dropped, done: make(chan struct{}),
		buffers: sync.Pool{New: func() any { return new([receiveMTU]byte) }},
		byName:  map[string]*muxConn{}, byAddr: map[netip.AddrPort]*muxConn{},
	}
	if udp, ok := socket.(*net.UDPConn); ok {
		_ = udp.SetReadBuffer(socketBuffer) // it works with what there is
	}
	go m.run()
	return m
}

// newMuxes opens a port on every address of this machine, or on those of IPv4.
func newMuxes(port uint16, only4 bool, dropped *atomic.Uint64) (muxes []*mux, err error) {
	addrs, err := localAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if only4 && !a.Is4() || a.Is6() && a.IsLinkLocalUnicast() { // clients are not told of those (RFC 8445, 5.1.1.1)
			continue
		}
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		if err != nil {
			return nil, errors.Join(err, closeMuxes(muxes))
		}
		muxes = append(muxes, newMux(c, dropped))
	}
	if len(muxes) == 0 {
		return nil, errors.New("this machine has no address")
	}
	return muxes, nil
}

func closeMuxes(muxes []*mux) (err error) {
	for _, m := range muxes {
		err = errors.Join(err, m.Close())
	}
	return err
}

// sessionMux is the sockets of an engine for one session: an ice.UDPMux.
type sessionMux struct {
	muxes []*mux
	s     *Session
}

// GetConn implements ice.UDPMux: it is the connection of the ICE session with
// that user name of ours, at one of our addresses.
func (m sessionMux) GetConn(ufrag string, at net.Addr) (net.PacketConn, error) {
	for _, mux := range m.muxes {
		if mux.socket.LocalAddr().String() == at.String() {
			return mux.conn(ufrag, m.s)
		}
	}
	return nil, fmt.Errorf("there is no socket at %v", at)
}

// RemoveConnByUfrag implements ice.UDPMux.
func (m sessionMux) RemoveConnByUfrag(ufrag string) {
	for _, mux := range m.muxes {
		mux.remove(ufrag)
	}
}

// GetListenAddresses implements ice.UDPMux.
func (m sessionMux) GetListenAddresses() (addrs []net.Addr) {
	for _, mux := range m.muxes {
		addrs = append(addrs, mux.socket.LocalAddr())
	}
	return addrs
}

// Close implements ice.UDPMux. The sockets are the engine's.
func (m sessionMux) Close() error { return nil }

// localAddrs are the addresses of all interfaces that are up.
func localAddrs() (addrs []netip.Addr, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		of, err := i.Addrs()
		if err != nil {
			continue // it has just gone away
		}
		for _, a := range of {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs, nil
}

// run is the goroutine that reads the socket.
func (m *mux) run() {
	defer close(m.done)
	var msg stun.Message
	in := newReader(m.socket)
	for {
		n, err := in.read()
		for i := range n {
			b, from := in.datagram(i)
			if len(b) == receiveMTU {
				continue // it was cut, and is nothing of ours
			}
			if c := m.route(b, from, &msg); c != nil && (c.s == nil || !c.s.take(b)) {
				c.put(b, from)
			}
		}
		switch {
		case err != nil && m.isClosed():
			return
		case err != nil:
			m.failed.Add(1)
			time.Sleep(time.Millisecond) // of one datagram, on some systems; it may also stay
		case m.failed.Load() > 0:
			m.failed.Store(0)
		}
	}
}

// readBatch is how many datagrams are read at once, if that many have come.
const readBatch = 32

// reader reads a socket, many datagrams with one call where the system can.
type reader struct {
	socket net.PacketConn
	many   *ipv4.PacketConn // nil: one at a time
	got    []ipv4.Message
}

func newReader(socket net.PacketConn) *reader {
	r := &reader{socket: socket, got: make([]ipv4.Message, 1)}
	if udp, ok := socket.(*net.UDPConn); ok {
		r.many = ipv4.NewPacketConn(udp) // what is used of it is the same for IPv6
		r.got = make([]ipv4.Message, readBatch)
	}
	for i := range r.got {
		r.got[i].Buffers = [][]byte{make([]byte, receiveMTU)}
	}
	return r
}

// read waits for datagrams and returns how many it has read.
func (r *reader) read() (n int, err error) {
	if r.many != nil {
		n, err = r.many.ReadBatch(r.got, 0)
		return max(n, 0), err
	}
	r.got[0].N, r.got[0].Addr, err = r.socket.ReadFrom(r.got[0].Buffers[0])
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// datagram is one that was read, valid until the next read.
func (r *reader) datagram(i int) (b []byte, from netip.AddrPort) {
	return r.got[i].Buffers[0][:r.got[i].N], addrPort(r.got[i].Addr)
}

func addrPort(a net.Addr) netip.AddrPort {
	udp, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := udp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

const (
	stunRequest  = 0x0001 // Binding (RFC 8489, 5)
	stunResponse = 0x0101
)

// stunType is the type of a STUN message, 0 for anything else.
func stunType(b []byte) uint16 {
	if !stun.IsMessage(b) {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// route finds who a datagram is for; msg is for its own use.
func (m *mux) route(b []byte, from netip.AddrPort, msg *stun.Message) *muxConn {
	if stunType(b) == stunRequest {
		if name := userOf(b, msg); name != "" {
			return m.named(name)
		}
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byAddr[from]
}

// userOf is our part of the user name in a STUN request, "" if it has none.
func userOf(b []byte, msg *stun.Message) string {
	msg.Raw = append(msg.Raw[:0], b...)
	if msg.Decode() != nil {
		return ""
	}
	user, err := msg.Get(stun.AttrUsername)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(user), ":")
	return name
}

func (m *mux) named(name string) *muxConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byName[name]
}

// claim notes that c is about to send b to an address. It returns the connection
// that this has to take, if there is one to that address.
func (m *mux) claim(c *muxConn, to netip.AddrPort, b []byte) *tcpConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if tcp := c.tcp[to]; tcp != nil {
		return tcp
	}
	owner, answer := m.byAddr[to], stunType(b) == stunResponse
	if c.isClosed() || owner != nil && !answer {
		return nil
	}
	if owner != nil && owner != c {
		if owner.s != c.s && time.Since(owner.addrs[to]) < kept {
			return nil
		}
		delete(owner.addrs, to)
	}
	m.byAddr[to], c.addrs[to] = c, time.Time{}
	if answer {
		c.addrs[to] = time.Now()
	}
	return nil
}

// attach gives c a connection of its client's, and reports whether it takes one
// more.
func (m *mux) attach(c *muxConn, t *tcpConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.isClosed() || len(c.tcp) == maxTCPPerSession || c.tcp[t.from] != nil {
		return false
	}
	if c.tcp == nil {
		c.tcp = map[netip.AddrPort]*tcpConn{}
	}
	c.tcp[t.from] = t
	return true
}

func (m *mux) detach(c *muxConn, t *tcpConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.tcp[t.from] == t {
		delete(c.tcp, t.from)
	}
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// conn is the connection of the ICE session with that user name of ours.
func (m *mux) conn(ufrag string, s *Session) (*muxConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, net.ErrClosed
	}
	c := m.byName[ufrag]
	if c == nil {
		c = &muxConn{
			m: m, s: s, name: ufrag, queue: make(chan datagram, muxQueue), stun: rate.NewLimiter(maxSTUN, stunBurst),
			closed: make(chan struct{}), addrs: map[netip.AddrPort]time.Time{},
		}
		m.byName[ufrag] = c
	}
	return c, nil
}

func (m *mux) remove(ufrag string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.byName[ufrag]; c != nil {
		m.forget(c)
	}
}

// forget takes c out of the maps, with m.mu held.
func (m *mux) forget(c *muxConn) {
	if m.byName[c.name] == c {
		delete(m.byName, c.name)
	}
	for a := range c.addrs {
		delete(m.byAddr, a)
	}
	clear(c.addrs)
	for _, t := range c.tcp {
		t.end()
	}
	clear(c.tcp)
}

// Close closes the socket and waits for the goroutine.
func (m *mux) Close() error {
	m.mu.Lock()
	m.closed = true
	conns := make([]*muxConn, 0, len(m.byName))
	for _, c := range m.byName {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // never fails
	}
	err := m.socket.Close()
	<-m.done
	if errors.Is(err, net.ErrClosed) {
		return nil // closed twice
	}
	return err
}

// datagram is one in a queue.
type datagram struct {
	from netip.AddrPort
	n    int
	buf  *[receiveMTU]byte
}

// muxConn is the part of a mux that belongs to one ICE session. pion reads it in
// one goroutine, writes in others, and closes it.
type muxConn struct {
	m      *mux
	s      *Session // takes RTP
	name   string   // ours
	queue  chan datagram
	stun   *rate.Limiter
	closed chan struct{}
	once   sync.Once
	addrs  map[netip.AddrPort]time.Time // of the last check from it that was answered; guarded by m.mu, as tcp
	tcp    map[netip.AddrPort]*tcpConn  // by the client's address; nil for none
}

// put queues what was read for c.
func (c *muxConn) put(b []byte, from netip.AddrPort) {
	if stunType(b) != 0 && !c.stun.Allow() {
		c.m.dropped.Add(1)
		return
	}
	buf, ok := c.m.buffers.Get().(*[receiveMTU]byte)
	if !ok {
		return // nothing else is ever in it
	}
	select {
	case c.queue <- datagram{from, copy(buf[:], b), buf}:
	default:
		c.m.buffers.Put(buf)
		c.m.dropped.Add(1)
	}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (c *muxConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.queue:
		n := copy(b, d.buf[:d.n])
		c.m.buffers.Put(d.buf)
		return n, d.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, io.EOF
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (c *muxConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if tcp := c.m.claim(c, to, b); tcp != nil {
		return tcp.write(b)
	}
	if udp, ok := c.m.socket.(*net.UDPConn); ok {
		return udp.WriteToUDPAddrPort(b, to)
	}
	return c.m.socket.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// ReadFrom implements net.PacketConn.
func (c *muxConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

// WriteTo implements net.PacketConn.
func (c *muxConn) WriteTo(b []byte, to net.Addr) (int, error) {
	return c.WriteToAddrPort(b, addrPort(to))
}

// Close implements net.PacketConn.
func (c *muxConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.m.forget(c)
	})
	return nil
}

func (c *muxConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// LocalAddr implements net.PacketConn.
func (c *muxConn) LocalAddr() net.Addr { return c.m.socket.LocalAddr() }

// SetDeadline, SetReadDeadline and SetWriteDeadline implement net.PacketConn.
// pion closes what it wants to interrupt.
func (c *muxConn) SetDeadline(time.Time) error      { return nil }
func (c *muxConn) SetReadDeadline(time.Time) error  { return nil }
func (c *muxConn) SetWriteDeadline(time.Time) error { return nil }
