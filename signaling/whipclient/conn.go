package whipclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
)

const (
	clockRate = 48000
	// connectTimeout bounds ICE and DTLS.
	connectTimeout = 15 * time.Second
	// gatherTimeout is for TURN servers, some of which may not be reached.
	gatherTimeout = 2 * time.Second
	dialTimeout   = 5 * time.Second
	// maxHeld is how many packets are kept while ICE is restarted: 20 s of the
	// usual ones.
	maxHeld = 1000
)

// Exchange takes an SDP offer to the server and brings back the answer.
type Exchange func(ctx context.Context, offer string) (answer string, err error)

// Patch takes an SDP fragment to the server. If restart is set it has the
// credentials of a new ICE session, and answer is the server's fragment.
type Patch func(ctx context.Context, fragment string, restart bool) (answer string, err error)

// Via is a way to the server's media port.
type Via string

// The ways: UDP, TCP to the same port (RFC 6544), a TURN server that the server
// has named.
const (
	ByUDP  Via = ""
	ByTCP  Via = "tcp"
	ByTURN Via = "turn"
)

// Options of a connection.
type Options struct {
	// Trickle sends the offer before candidates are known, and those later.
	// Client.Join brings the Patch for it; Connect needs one.
	Trickle bool
	// Patch is for Trickle and Restart.
	Patch Patch
	// Loopback uses one UDP socket, on 127.0.0.1, and no other addresses: for a
	// server on the same machine.
	Loopback bool
	// Via is the way that media takes; the zero value is UDP.
	Via Via
	// ICEServers are for ByTURN; Client.Join asks the server for them.
	ICEServers []webrtc.ICEServer
	// Net replaces the network, for tests.
	Net transport.Net
	// Interceptors see what is sent, for tests; nil for none.
	Interceptors *interceptor.Registry
	// Sequence and Timestamp are where the RTP numbering begins.
	Sequence  uint16
	Timestamp uint32
	// OnReport is told what the server says of its reception, from a goroutine
	// of the connection. It may be nil.
	OnReport func(rtcp.ReceptionReport)
}

// Conn is a connected session that sends one Opus track. One goroutine sends,
// another may call Restart; whoever made it closes it.
type Conn struct {
	pc    *webrtc.PeerConnection
	track *webrtc.TrackLocalStaticRTP
	lost  chan struct{} // closed when the transport has failed
	patch Patch
	// selected has an element when ICE has found a way.
	selected chan struct{}
	answer   string // the server's, with its present ICE session
	// gatherFor is how long candidates are waited for; 0: until all are there.
	gatherFor time.Duration

	again *resender

	mu      sync.Mutex // guards what follows
	packet  rtp.Packet
	holding bool // while ICE is restarted
	held    []rtp.Packet
}

// patientNet gives up a TCP connection to a TURN server before the system does,
// which takes two minutes, and which pion waits for when it is closed.
type patientNet struct{ transport.Net }

func newPatientNet() (transport.Net, error) {
	n, err := stdnet.NewNet()
	return patientNet{n}, err
}

// DialTCP implements transport.Net.
func (patientNet) DialTCP(network string, from, to *net.TCPAddr) (transport.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if from != nil {
		d.LocalAddr = from
	}
	c, err := d.Dial(network, to.String()) // pion has no context for it
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%v is no TCP address", to), c.Close())
	}
	return tcp, nil
}

// Connect makes the peer connection: offer, exchange, and ICE and DTLS up to the
// point where media can be sent.
func Connect(ctx context.Context, o Options, exchange Exchange) (_ *Conn, err error) {
	m := &webrtc.MediaEngine{}
	codec := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: clockRate, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
	}
	err = m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: codec, PayloadType: 111}, webrtc.RTPCodecTypeAudio)
	if err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetIncludeLoopbackCandidate(true)
	s.DisableActiveTCP(o.Via != ByTCP)
	if o.Via == ByTCP {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6})
	}
	if o.Loopback {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		s.SetIPFilter(net.IPv4(127, 0, 0, 1).Equal)
	}
	if o.Via == ByTURN {
		if o.Net, err = newPatientNet(); err != nil {
			return nil, err
		}
	}
	if o.Net != nil {
		s.SetNet(o.Net)
	}
	if o.Interceptors == nil {
		o.Interceptors = &interceptor.Registry{}
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s), webrtc.WithInterceptorRegistry(o.Interceptors))
	c := &Conn{lost: make(chan struct{}), patch: o.Patch, selected: make(chan struct{}, 1)}
	c.packet.Header = rtp.Header{Version: 2, SequenceNumber: o.Sequence, Timestamp: o.Timestamp}
	var cfg webrtc.Configuration
	if o.Via == ByTURN {
		cfg = webrtc.Configuration{ICEServers: o.ICEServers, ICETransportPolicy: webrtc.ICETransportPolicyRelay}
		c.gatherFor = gatherTimeout
	}
	pc, err := api.NewPeerConnection(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, pc.Close())
			if c.again != nil {
				c.again.wg.Wait()
			}
		}
	}()
	c.pc = pc
	if c.track, err = webrtc.NewTrackLocalStaticRTP(codec, "audio", "verbatim"); err != nil {
		return nil, err
	}
	sending, err := c.pc.AddTransceiverFromTrack(c.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, err
	}
	c.again = newResender(pc, c.track, o.OnReport, sending.Sender())
	c.transport().OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) {
		select {
		case c.selected <- struct{}{}:
		default:
		}
	})
	connected := make(chan struct{})
	var up, down sync.Once
	c.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateConnected:
			up.Do(func() { close(connected) })
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			down.Do(func() { close(c.lost) })
		default:
		}
	})
	if err = c.negotiate(ctx, o.Trickle, exchange); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(connectTimeout)
	defer timeout.Stop()
	select {
	case <-connected:
		return c, nil
	case <-c.lost:
		return nil, errors.New("the media connection failed; is the server's media port reachable?")
	case <-timeout.C:
		return nil, errors.New("the media connection did not come up in time; is the server's media port reachable?")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Conn) negotiate(ctx context.Context, trickle bool, exchange Exchange) error {
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	if trickle {
		if err := c.pc.SetLocalDescription(offer); err != nil {
			return err
		}
		if err := c.exchange(ctx, offer.SDP, exchange); err != nil {
			return err
		}
		return c.trickle(ctx)
	}
	if err := c.gather(ctx, offer); err != nil {
		return err
	}
	return c.exchange(ctx, c.pc.LocalDescription().SDP, exchange)
}

func (c *Conn) exchange(ctx context.Context, offer string, exchange Exchange) (err error) {
	if c.answer, err = exchange(ctx, offer); err != nil {
		return err
	}
	return c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: c.answer})
}

// gather makes an offer the present one and waits for all its candidates.
func (c *Conn) gather(ctx context.Context, offer webrtc.SessionDescription) error {
	if err := c.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	return c.gathered(ctx)
}

func (c *Conn) gathered(ctx context.Context) error {
	var enough <-chan time.Time
	if c.gatherFor > 0 {
		timer := time.NewTimer(c.gatherFor)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-webrtc.GatheringCompletePromise(c.pc):
		return nil
	case <-enough:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Lost is closed when the connection has failed.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// Send sends one Opus packet, again when the receiver asks for it. The next one
// follows after that many ticks (48 kHz): what this one lasts, and in DTX the
// silence behind it. While ICE is restarted it keeps the packet for later.
func (c *Conn) Send(payload []byte, ticks int64) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packet.Payload = payload
	switch {
	case !c.holding:
		err = c.write(&c.packet)
	case len(c.held) == maxHeld:
		err = errors.New("the media connection has not come back")
	default:
		p := c.packet
		p.Payload = slices.Clone(payload)
		c.held = append(c.held, p)
	}
	c.packet.SequenceNumber++
	c.packet.Timestamp += uint32(ticks)
	return err
}

// write sends a packet that may be asked for again, with c.mu held.
func (c *Conn) write(p *rtp.Packet) error {
	return errors.Join(c.again.keep(time.Now(), p), c.track.WriteRTP(p))
}

// Report sends an RTCP receiver report about a source, as an endpoint does that
// receives it.
func (c *Conn) Report(ssrc uint32) error {
	return c.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{
		SSRC: ssrc, Reports: []rtcp.ReceptionReport{{SSRC: ssrc}},
	}})
}

// Close ends the connection.
func (c *Conn) Close() error {
	err := c.pc.Close()
	c.again.wg.Wait()
	return err
}
