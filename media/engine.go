// Package media takes in audio over WebRTC. One Engine owns the UDP port; each
// client has a Session, whose one goroutine reads the RTP of its one audio
// track, puts it in order, and appends it as audio.Packets to a Log.
//
//	RTP → reorder.Buffer → audio.Timeline → Log
//
// The package knows nothing of what the Log is for; it declares the interfaces
// that it calls (Log, Sink) and its user provides them.
package media

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"

	"verbatim/media/audio"
)

// Log takes the packets of one track, in order, the last one an audio.End.
// Append does not keep the payloads; it must not wait for anything slow.
type Log interface {
	Append(ctx context.Context, p ...audio.Packet) error
}

// Sink is told what becomes of sessions. It is called from the sessions'
// goroutines, for one session never twice at a time.
type Sink interface {
	// OpenTrack begins the session's track; at is the wall time of its first
	// sample. It is called when the first audio arrived, once per session.
	OpenTrack(ctx context.Context, session string, at time.Time) (Log, error)
	// SessionClosed says that nothing more comes of the session. Its track, if
	// it had one, has got its End.
	SessionClosed(session string, reason audio.Reason)
}

// Config of an Engine. The zero value of a duration means its default.
type Config struct {
	// Listen is the UDP address for all media, host:port. Without a host the
	// port is opened on every interface by itself: browsers pair their
	// candidates with a particular address (Firefox never with loopback).
	Listen string
	// ListenTCP is the TCP address for clients that cannot send UDP: host:port,
	// again without a host for each interface by itself, SamePort, or "" for none.
	ListenTCP string
	// PublicIPs are told to clients in place of what this machine's interfaces
	// have.
	PublicIPs []PublicIP
	Sink      Sink
	Logger    *slog.Logger

	// PreferRED asks clients that offer it for redundant audio (RFC 2198):
	// twice the bandwidth, and what is lost need not be sent again. Without
	// it, RED is taken but not asked for.
	PreferRED bool

	// ConnectTimeout closes sessions that have not connected and sent audio by
	// then (default 30 s); DTLSTimeout bounds the handshake (default 15 s).
	ConnectTimeout, DTLSTimeout time.Duration
	// TCPTimeout closes TCP connections that have not shown by then which session
	// they are for (default 5 s).
	TCPTimeout time.Duration
	// SilentAfter and FailedAfter are how long a transport may be silent until
	// it counts as disconnected, and then as failed, which closes the session
	// (defaults 5 s and 15 s).
	SilentAfter, FailedAfter time.Duration

	// MaxSessions bounds the sessions, with those that are being set up (default
	// 5,000; each needs 0.2 to 0.4 MB). More are refused: ErrFull.
	MaxSessions int

	// NoDirect has RTP go through pion like all else, instead of being decrypted
	// by the session's own goroutine: slower, and the same otherwise.
	NoDirect bool

	// Connected is told, from the session's goroutine, when ICE and DTLS have
	// connected for the first time. nil: nobody is.
	Connected func(session string)

	// Now is the clock of all timelines (default time.Now). It must go on by the
	// time that passes and by nothing else, and is read only once.
	Now func() time.Time

	// Net replaces the network, for tests.
	Net transport.Net
}

// SamePort is a Config.ListenTCP: the number of the UDP port, at each of its
// addresses where nothing else has it.
const SamePort = "same"

const (
	srtpReplayWindow = 1024 // pion's 64 drops what is 65 packets late
	// startHold is how long the first packets of a stream are held for one that
	// they may have overtaken.
	startHold = 100 * time.Millisecond
)

// Engine owns the media port and all sessions. Make it with Listen, end it with
// Close.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	muxes []*mux
	tcp   *tcpMux // nil for none
	cert  webrtc.Certificate
	base  webrtc.SettingEngine

	udp        []address // of the muxes
	candidates []sdp.Attribute

	// zero is what Config.Now showed when the engine was started.
	zero, started time.Time

	// dropped counts datagrams that came faster than their sessions took them.
	dropped atomic.Uint64

	ctx    context.Context // of Sink and Log calls; ends when Close gives up
	cancel context.CancelFunc

	admitted atomic.Int64  // sessions, and those that are being set up
	begun    atomic.Uint64 // sessions, since the start
	refused  atomic.Uint64 // clients, because there were too many sessions

	mu       sync.Mutex // guards sessions and closed
	sessions map[string]*Session
	closed   bool
	wg       sync.WaitGroup // one per session goroutine
}

// The ways in which an engine can refuse a client for now.
var (
	// ErrClosed is returned for calls of an engine that was closed.
	ErrClosed = errors.New("the media engine is closed")
	// ErrFull is returned for one session too many.
	ErrFull = errors.New("there are too many sessions")
)

// Listen opens the media port.
func Listen(cfg Config) (*Engine, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 5000
	}
	def(&cfg.ConnectTimeout, 30*time.Second)
	def(&cfg.DTLSTimeout, 15*time.Second)
	def(&cfg.TCPTimeout, 5*time.Second)
	def(&cfg.SilentAfter, 5*time.Second)
	def(&cfg.FailedAfter, 15*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a DTLS key: %w", err)
	}
	cert, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return nil, fmt.Errorf("make a DTLS certificate: %w", err)
	}
	e := &Engine{cfg: cfg, log: cfg.Logger, cert: *cert, sessions: map[string]*Session{}}
	if e.started = time.Now(); cfg.Now != nil {
		e.zero = cfg.Now()
	}
	if err := e.listen(); err != nil {
		return nil, fmt.Errorf("open the media port %s: %w", cfg.Listen, err)
	}
	if err := e.address(); err != nil {
		return nil, errors.Join(err, e.closeSockets())
	}
	if e.cfg.Net == nil { // else pion makes one for each session, asking the system for all interfaces
		if e.cfg.Net, err = stdnet.NewNet(); err != nil {
			return nil, errors.Join(fmt.Errorf("list the network interfaces: %w", err), e.closeSockets())
		}
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.settings()
	return e, nil
}

// onTimeline is t, which comes from time.Now, by the clock of timelines.
func (e *Engine) onTimeline(t time.Time) time.Time {
	if e.zero.IsZero() {
		return t
	}
	return e.zero.Add(t.Sub(e.started))
}

func (e *Engine) listen() error {
	host, port, err := net.SplitHostPort(e.cfg.Listen)
	if err != nil {
		return err
	}
	if host == "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("port %q is not a number", port)
		}
		e.muxes, err = newMuxes(uint16(n), false, &e.dropped)
		return err
	}
	addr, err := netip.ParseAddrPort(e.cfg.Listen)
	if err != nil {
		return fmt.Errorf("want an IP address and a port: %w", err)
	}
	if addr.Addr().IsUnspecified() {
		e.muxes, err = newMuxes(addr.Port(), addr.Addr().Is4(), &e.dropped)
		return err
	}
	var conn net.PacketConn
	if e.cfg.Net != nil {
		conn, err = e.cfg.Net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	} else {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	}
	if err != nil {
		return err
	}
	e.muxes = []*mux{newMux(conn, &e.dropped)}
	return nil
}

// address opens the TCP ports, and finds out what clients are told of all ports.
func (e *Engine) address() error {
	var sockets []netip.AddrPort
	for _, m := range e.muxes {
		sockets = append(sockets, m.at)
	}
	var tcp []address
	var vain []PublicIP
	var err error
	if e.udp, vain = addresses(sockets, e.cfg.PublicIPs); len(vain) > 0 {
		return fmt.Errorf("the public address %v can lead to none of the addresses that media is listened for on (%v)", vain[0], sockets)
	}
	if e.cfg.ListenTCP != "" {
		if e.tcp, err = listenTCP(e.muxes, e.cfg.ListenTCP, 2*e.cfg.MaxSessions, e.cfg.TCPTimeout, &e.dropped); err != nil {
			return fmt.Errorf("open the media port %s for TCP: %w", e.cfg.ListenTCP, err)
		}
		if len(e.tcp.sockets) < len(e.muxes) && e.cfg.ListenTCP == SamePort {
			e.log.Info("another program, or HTTP, has the media port's number for TCP at some addresses: there, only UDP is taken")
		}
		tcp, _ = addresses(e.tcp.sockets, e.cfg.PublicIPs) // it may be on fewer
	}
	e.candidates, err = candidates(e.udp, tcp)
	return err
}

func (e *Engine) closeSockets() error {
	err := closeMuxes(e.muxes)
	if e.tcp != nil {
		err = errors.Join(err, e.tcp.Close())
	}
	return err
}

// settings are those that all sessions share.
func (e *Engine) settings() {
	s := &e.base
	s.SetNet(e.cfg.Net)
	s.LoggerFactory = quiet{}
	s.SetIncludeLoopbackCandidate(true)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.DisableActiveTCP(true)
	s.SetICETimeouts(e.cfg.SilentAfter, e.cfg.FailedAfter, 2*time.Second)
	s.SetSRTPReplayProtectionWindow(srtpReplayWindow)
	s.SetDTLSConnectContextMaker(func() (context.Context, func()) {
		return context.WithTimeout(e.ctx, e.cfg.DTLSTimeout)
	})
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		panic(err) // refuses only roles that do not exist
	}
}

// api makes pion's entry point for one session: cheap, and it lets the session
// bound its own buffers.
func (e *Engine) api(s *Session) (*webrtc.API, error) {
	m := &webrtc.MediaEngine{}
	if err := register(m); err != nil {
		return nil, err
	}
	settings := e.base
	settings.BufferFactory = s.newBuffer
	settings.LoggerFactory = refusals{s}
	settings.SetICEUDPMux(sessionMux{e.muxes, s})
	if !e.cfg.NoDirect {
		settings.SetDTLSServerHelloMessageHook(s.keys.hello)
		settings.SetDTLSKeyLogWriter(&s.keys)
	}
	settings.SetICEBindingRequestHandler(s.seen)
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(m),
		webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}),
	), nil
}

// Accept answers an offer. Once the answer is there, and only then, it calls
// join for the id of the session, which begins with that. The session's
// goroutine runs until the client is gone, CloseSession, or Close.
func (e *Engine) Accept(ctx context.Context, o Offer, join func() (id string, err error)) (Answer, error) {
	if n := e.admitted.Add(1); n > int64(e.cfg.MaxSessions) {
		e.admitted.Add(-1)
		e.refused.Add(1)
		return Answer{}, ErrFull
	}
	answer, err := e.accept(ctx, o, join)
	if err != nil {
		e.admitted.Add(-1)
	}
	return answer, err
}

func (e *Engine) accept(ctx context.Context, o Offer, join func() (id string, err error)) (Answer, error) {
	s := newSession(e)
	answer, err := s.negotiate(ctx, o)
	if err != nil {
		return Answer{}, errors.Join(err, s.discard())
	}
	if e.isClosed() {
		return Answer{}, errors.Join(ErrClosed, s.discard())
	}
	if s.id, err = join(); err != nil {
		return Answer{}, errors.Join(err, s.discard())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.sessions[s.id] != nil {
		return Answer{}, errors.Join(ErrClosed, s.discard())
	}
	e.sessions[s.id] = s
	e.begun.Add(1)
	e.wg.Go(func() {
		s.run()
		e.mu.Lock()
		delete(e.sessions, s.id)
		e.mu.Unlock()
		e.admitted.Add(-1)
		e.cfg.Sink.SessionClosed(s.id, s.endReason())
	})
	return answer, nil
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// CloseSession ends a session. What the client had sent before is still taken
// in; that goes on after the call has returned. It reports whether this call ended
// it: there is no such session any more from then on, for those who ask next.
func (e *Engine) CloseSession(id string, reason audio.Reason) bool {
	e.mu.Lock()
	s := e.sessions[id]
	e.mu.Unlock()
	return s != nil && s.end(reason)
}

// Has reports whether there is such a session, or one that was ended and is still
// being taken in.
func (e *Engine) Has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[id] != nil
}

// Sessions is the number of sessions that there are.
func (e *Engine) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// maxFailed is how many reads of a socket may fail in a row; there is a
// millisecond between them.
const maxFailed = 1000

// Alive says if the media port cannot be read any more.
func (e *Engine) Alive() error {
	for _, m := range e.muxes {
		if n := m.failed.Load(); n > maxFailed {
			return fmt.Errorf("%s: %d reads failed in a row", m.socket.LocalAddr(), n)
		}
	}
	return nil
}

// Stats are the numbers of an Engine. All but Sessions count since Listen.
type Stats struct {
	Sessions int
	Begun    uint64 // sessions
	Refused  uint64 // clients, because there were MaxSessions
	Dropped  uint64 // datagrams, and messages over TCP, that came faster than they were taken
	// TCPConnections are those that there are for media, TCPBegun how many were for
	// a session, TCPRefused how many were closed at once because there were too many.
	TCPConnections       int
	TCPBegun, TCPRefused uint64
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	s := Stats{Sessions: e.Sessions(), Begun: e.begun.Load(), Refused: e.refused.Load(), Dropped: e.dropped.Load()}
	if e.tcp != nil {
		s.TCPConnections, s.TCPBegun, s.TCPRefused = e.tcp.limiter.Open(), e.tcp.begun.Load(), e.tcp.limiter.Refused()
	}
	return s
}

// Close ends all sessions (audio.ReasonServer), waits until each has taken in
// what had arrived, and frees the port. When ctx ends first it cuts them off.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	for _, s := range e.sessions {
		s.end(audio.ReasonServer)
	}
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("close the media sessions: %w", ctx.Err())
		e.cancel()
		<-done
	}
	e.cancel()
	err = errors.Join(err, e.closeSockets())
	if n := e.dropped.Load(); n > 0 {
		e.log.Info("datagrams that came faster than their sessions took them", "dropped", n)
	}
	return err
}

// quiet drops pion's own logs: they are about transports, name addresses, and
// can be caused by strangers without end.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger { return silent }

var silent = logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)

// refusals is quiet, but counts the packets that SRTP refuses, which pion tells
// of nowhere else than in its log: they came before (RFC 3711, 3.3.2), or are not
// the client's.
type refusals struct{ s *Session }

func (r refusals) NewLogger(scope string) logging.LeveledLogger {
	if scope == "srtp" {
		return refusalLog{LeveledLogger: silent, s: r.s}
	}
	return silent
}

type refusalLog struct {
	logging.LeveledLogger
	s *Session
}

func (l refusalLog) Info(msg string) { l.s.refused(msg) }
