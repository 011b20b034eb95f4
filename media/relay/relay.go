// Package relay is a TURN server (RFC 8656) for clients whose network lets them
// reach little else, over UDP, TCP and TLS. It relays to our own media port and
// to nothing else: whatever peer a client names, what is not for that port is
// dropped.
//
// Clients get credentials that are good for a few minutes: a user name with the
// time at which they end, and as password an HMAC of it, as coturn has it
// (use-auth-secret). What is begun with them goes on for as long as it is
// refreshed.
//
// A Server's goroutines are those of pion's server: one for each UDP socket,
// listener, connection and allocation. Close ends them and waits until all sockets
// are closed.
package relay

import (
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- the mechanism has no other
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"

	"verbatim/internal/netlimit"
)

// Config of a Server. The zero value of a number means its default.
type Config struct {
	// Listen is the address for UDP and TCP, ListenTLS that for TLS, host:port;
	// "" for none. Without a host: on every interface.
	Listen, ListenTLS string
	TLS               *tls.Config // for ListenTLS
	Realm             string
	Secret            []byte // of the credentials
	// Peers are the addresses that clients may name, and where each leads: a
	// socket of this machine.
	Peers map[netip.AddrPort]netip.AddrPort

	// MaxAllocations bounds the allocations in all (default 2,000; each has a
	// socket), PerCredential those of one credential (default 24: a browser
	// makes one from each of its addresses to each address of ours), PerAddress
	// those from one address (default 240).
	MaxAllocations, PerCredential, PerAddress int
	// Patience is how long a TCP connection may be without an allocation (default
	// 10 s).
	Patience time.Duration
}

const (
	// What an allocation may relay each way, for long and at once, in bytes: as
	// much as a session takes.
	maxRate, maxBurst = 512 << 10, 1 << 20
	// Of TCP connections, those without an allocation.
	maxStrangers, strangersPerAddress = 500, 100
	// stall is how long a client may take nothing of what is sent over TCP.
	stall = 10 * time.Second
	// maxMessage is the length of the longest message that is taken in.
	maxMessage = 1600
)

// Stats are the numbers of a Server. All but Allocations and Connections count
// since Listen.
type Stats struct {
	Allocations int    // that there are
	Connections int    // over TCP and TLS, that there are
	Begun       uint64 // allocations
	// Refused are allocations that were too many, and connections that were closed
	// at once for that.
	Refused uint64
	// Denied are requests and packets for addresses other than the media port's.
	Denied uint64
	// Throttled are packets that were dropped because an allocation had relayed
	// too much.
	Throttled uint64
	// Unheard are packets over UDP that were dropped because those who have no
	// allocation had sent too many.
	Unheard uint64
	// Up and Down are the bytes that were relayed from clients and to them.
	Up, Down uint64
}

// Server is a TURN server. Make it with Listen, end it with Close.
type Server struct {
	cfg     Config
	limiter *netlimit.Limiter
	server  *turn.Server
	at      map[string]net.Addr // "udp", "tcp", "tls"

	crowd *crowd

	begun, refused, denied, throttled, unheard, up, down atomic.Uint64

	wg sync.WaitGroup // one per UDP socket, listener, connection and allocation

	mu      sync.Mutex // guards what follows
	live    int        // allocations
	users   map[string]int
	from    map[netip.Prefix]int
	clients map[netip.AddrPort]int
	conns   map[way]*conn
	closed  bool
}

// way is a TCP connection by its ends.
type way struct{ from, to string }

// Listen starts a server.
func Listen(cfg Config) (*Server, error) {
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&cfg.MaxAllocations, 2000)
	def(&cfg.PerCredential, 24)
	def(&cfg.PerAddress, 240)
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if len(cfg.Secret) == 0 {
		return nil, errors.New("a TURN server needs a secret")
	}
	s := &Server{
		cfg: cfg, at: map[string]net.Addr{}, crowd: newCrowd(), users: map[string]int{}, from: map[netip.Prefix]int{}, clients: map[netip.AddrPort]int{}, conns: map[way]*conn{},
		limiter: netlimit.New(netlimit.Limits{
			Max: cfg.MaxAllocations + maxStrangers, Strangers: maxStrangers, PerAddress: strangersPerAddress, Patience: cfg.Patience,
		}),
	}
	c := turn.ServerConfig{
		LoggerFactory: quiet{}, Realm: cfg.Realm, AuthHandler: s.authenticate, QuotaHandler: s.allow, InboundMTU: maxMessage,
		EventHandler: turn.EventHandler{OnAllocationCreated: s.created, OnAllocationDeleted: s.deleted},
	}
	var err error
	if cfg.Listen != "" {
		err = errors.Join(s.listenUDP(&c), s.listenTCP(&c, cfg.Listen, "tcp", nil))
	}
	if err == nil && cfg.ListenTLS != "" {
		err = s.listenTCP(&c, cfg.ListenTLS, "tls", cfg.TLS)
	}
	if err == nil {
		s.server, err = turn.NewServer(c)
	}
	if err != nil {
		for _, p := range c.PacketConnConfigs {
			_ = p.PacketConn.Close() // the first error tells
		}
		for _, l := range c.ListenerConfigs {
			_ = l.Listener.Close()
		}
		return nil, fmt.Errorf("open the TURN ports: %w", err)
	}
	s.wg.Add(len(c.PacketConnConfigs) + len(c.ListenerConfigs))
	return s, nil
}

// networks are those that host:port is opened for: a socket for both families
// would not tell them apart.
func networks(at, proto string) []string {
	host, _, err := net.SplitHostPort(at)
	ip, perr := netip.ParseAddr(host)
	switch {
	case err != nil, host != "" && perr != nil:
		return []string{proto}
	case host == "":
		return []string{proto + "4", proto + "6"}
	case ip.Unmap().Is4():
		return []string{proto + "4"}
	}
	return []string{proto + "6"}
}

func (s *Server) listenUDP(c *turn.ServerConfig) error {
	at := s.cfg.Listen
	for i, network := range networks(at, "udp") {
		socket, err := net.ListenPacket(network, at) //nolint:noctx // it ends at once
		if err != nil && i > 0 {
			continue // a machine without IPv6
		}
		if err != nil {
			return err
		}
		if i == 0 {
			s.at["udp"], at = socket.LocalAddr(), samePort(at, socket.LocalAddr())
		}
		c.PacketConnConfigs = append(c.PacketConnConfigs, turn.PacketConnConfig{
			PacketConn: &packetConn{socket, s, sync.Once{}}, RelayAddressGenerator: generator{s}, PermissionHandler: s.permit,
		})
	}
	return nil
}

func (s *Server) listenTCP(c *turn.ServerConfig, at, name string, tlsConfig *tls.Config) error {
	for i, network := range networks(at, "tcp") {
		l, err := net.Listen(network, at) //nolint:noctx // it ends at once
		if err != nil && i > 0 {
			continue // a machine without IPv6
		}
		if err != nil {
			return err
		}
		if i == 0 {
			s.at[name], at = l.Addr(), samePort(at, l.Addr())
		}
		c.ListenerConfigs = append(c.ListenerConfigs, turn.ListenerConfig{
			Listener: &listener{s.limiter.Listener(l), s, tlsConfig}, RelayAddressGenerator: generator{s}, PermissionHandler: s.permit,
		})
	}
	return nil
}

// samePort is an address with the port that was opened for it, should it say 0.
func samePort(at string, opened net.Addr) string {
	host, _, err := net.SplitHostPort(at)
	_, port, err2 := net.SplitHostPort(opened.String())
	if err != nil || err2 != nil {
		return at
	}
	return net.JoinHostPort(host, port)
}

// Port is that of "udp", "tcp" or "tls", 0 if it is not listened on.
func (s *Server) Port(name string) uint16 {
	if s.at[name] == nil {
		return 0
	}
	p, _ := netip.ParseAddrPort(s.at[name].String()) // it is one
	return p.Port()
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Allocations: s.live, Connections: s.limiter.Open(), Begun: s.begun.Load(), Refused: s.refused.Load() + s.limiter.Refused(),
		Denied: s.denied.Load(), Throttled: s.throttled.Load(), Unheard: s.unheard.Load(), Up: s.up.Load(), Down: s.down.Load(),
	}
}

// Close ends all allocations and connections.
func (s *Server) Close() error {
	err := s.server.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.socket.Close() // whatever becomes of it
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// authenticate is pion's AuthHandler. A credential that has ended still serves
// what was begun with it.
func (s *Server) authenticate(r *turn.RequestAttributes) (user string, key []byte, ok bool) {
	until, _, _ := strings.Cut(r.Username, ":")
	end, err := strconv.ParseInt(until, 10, 64)
	if err != nil || time.Now().Unix() > end && (r.Method == stun.MethodAllocate || !s.has(r.Username)) {
		return "", nil, false
	}
	mac := hmac.New(sha1.New, s.cfg.Secret)
	mac.Write([]byte(r.Username))
	password := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return r.Username, turn.GenerateAuthKey(r.Username, r.Realm, password), true
}

func (s *Server) has(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[user] > 0
}

// allow is pion's QuotaHandler.
func (s *Server) allow(user, _ string, from net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live < s.cfg.MaxAllocations && s.users[user] < s.cfg.PerCredential && s.from[network(from)] < s.cfg.PerAddress {
		return true
	}
	s.refused.Add(1)
	return false
}

// network is what counts as one address.
func network(a net.Addr) netip.Prefix { return netlimit.Network(addrPort(a).Addr()) }

func (s *Server) created(from, to net.Addr, _, user, _ string, _ net.Addr, _ int) {
	s.begun.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[user]++
	s.from[network(from)]++
	s.clients[addrPort(from)]++
	if c := s.conns[way{from.String(), to.String()}]; c != nil {
		_ = c.limited.Known() // else it ends
	}
}

func (s *Server) deleted(from, to net.Addr, _, user, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[user]--; s.users[user] == 0 {
		delete(s.users, user)
	}
	n := network(from)
	if s.from[n]--; s.from[n] == 0 {
		delete(s.from, n)
	}
	at := addrPort(from)
	if s.clients[at]--; s.clients[at] == 0 {
		delete(s.clients, at)
	}
	if c := s.conns[way{from.String(), to.String()}]; c != nil {
		_ = c.socket.SetReadDeadline(time.Now().Add(s.cfg.Patience)) // else it ends
	}
}

// permit is pion's PermissionHandler. It knows no port: relayConn looks at that.
func (s *Server) permit(_ net.Addr, peer net.IP) bool {
	ip, _ := netip.AddrFromSlice(peer)
	ip = ip.Unmap()
	for p := range s.cfg.Peers {
		if p.Addr() == ip {
			return true
		}
	}
	s.denied.Add(1)
	return false
}

// generator makes the sockets of allocations.
type generator struct{ s *Server }

// Validate implements turn.RelayAddressGenerator.
func (g generator) Validate() error { return nil }

var errNotThis = errors.New("neither TCP nor a particular port is relayed")

// AllocateListener implements turn.RelayAddressGenerator.
func (g generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNotThis
}

// AllocateConn implements turn.RelayAddressGenerator.
func (g generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNotThis }

// AllocatePacketConn implements turn.RelayAddressGenerator. The client is told of
// an address that it knows of us already, with the port of the new socket.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if c.RequestedPort != 0 {
		return nil, nil, errNotThis
	}
	shown, socket, ok := g.s.home(c.Network == "udp4")
	if !ok {
		return nil, nil, errors.New("the media port has no address of that family")
	}
	if !g.s.begin() {
		return nil, nil, errors.New("there are too many allocations")
	}
	conn, err := net.ListenUDP(c.Network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(socket.Addr(), 0)))
	if err != nil {
		g.s.end()
		return nil, nil, err
	}
	r := &relayConn{
		UDPConn: conn, s: g.s, as: map[netip.AddrPort]netip.AddrPort{},
		up: rate.NewLimiter(maxRate, maxBurst), down: rate.NewLimiter(maxRate, maxBurst),
	}
	port, _ := netip.ParseAddrPort(conn.LocalAddr().String()) // it is one
	return r, net.UDPAddrFromAddrPort(netip.AddrPortFrom(shown.Addr(), port.Port())), nil
}

// home is an address of the media port, rather not loopback, and its socket's.
func (s *Server) home(ip4 bool) (shown, socket netip.AddrPort, ok bool) {
	for a, at := range s.cfg.Peers {
		if a.Addr().Is4() != ip4 {
			continue
		}
		better := !ok || socket.Addr().IsLoopback() && !at.Addr().IsLoopback() ||
			socket.Addr().IsLoopback() == at.Addr().IsLoopback() && a.Compare(shown) < 0 // one and the same each time
		if better {
			shown, socket, ok = a, at, true
		}
	}
	return shown, socket, ok
}

func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live >= s.cfg.MaxAllocations {
		s.refused.Add(1)
		return false
	}
	s.live++
	s.wg.Add(1) // who asks for it is a socket or connection that Close waits for
	return true
}

func (s *Server) end() {
	s.mu.Lock()
	s.live--
	s.mu.Unlock()
	s.wg.Done()
}

// relayConn is the socket of an allocation. It sends to the media port and
// nowhere else, and takes nothing from elsewhere. pion reads it in one goroutine,
// writes in another.
type relayConn struct {
	*net.UDPConn
	s        *Server
	up, down *rate.Limiter
	once     sync.Once

	mu sync.Mutex // guards as
	// as is what the client calls the sockets that it has sent to.
	as map[netip.AddrPort]netip.AddrPort
}

func addrPort(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// WriteTo implements net.PacketConn. What must not go is dropped.
func (r *relayConn) WriteTo(b []byte, to net.Addr) (int, error) {
	shown := addrPort(to)
	socket, ok := r.s.cfg.Peers[shown]
	switch {
	case !ok:
		r.s.denied.Add(1)
		return len(b), nil
	case !r.up.AllowN(time.Now(), len(b)):
		r.s.throttled.Add(1)
		return len(b), nil
	}
	r.mu.Lock()
	r.as[socket] = shown
	r.mu.Unlock()
	r.s.up.Add(uint64(len(b)))
	return r.WriteToUDPAddrPort(b, socket)
}

// ReadFrom implements net.PacketConn.
func (r *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		r.mu.Lock()
		shown, ok := r.as[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		r.mu.Unlock()
		switch {
		case !ok: // a stranger's
		case !r.down.AllowN(time.Now(), n):
			r.s.throttled.Add(1)
		default:
			r.s.down.Add(uint64(n))
			return n, net.UDPAddrFromAddrPort(shown), nil
		}
	}
}

// Close implements net.PacketConn.
func (r *relayConn) Close() error {
	err := r.UDPConn.Close()
	r.once.Do(r.s.end)
	return err
}

// quiet drops pion's logs: strangers can cause them without end.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)
}
