package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"

	"verbatim/media/audio"
)

const (
	// rtpBuffer holds what arrives while the session's goroutine is busy: 2 s of
	// the fastest audio. pion's own bound is 1 MB.
	rtpBuffer = 128 << 10
	// What a client may send for long, and at once after a stall. The most that
	// audio needs is 400 packets a second (2.5 ms each) and 64 KB/s (Opus at
	// 510 kb/s), a few times that with redundancy and what is sent again.
	maxPackets, packetBurst = 2000, 10000
	maxBytes, byteBurst     = 512 << 10, 1 << 20
	// maxSSRCs is how many SSRCs a client may use in the life of a session; each
	// costs memory. Browsers use one or two.
	maxSSRCs = 16
)

// Session is one WebRTC connection. It is made by Engine.Accept; its goroutine
// closes it.
type Session struct {
	engine *Engine
	id     string // set before its goroutine begins
	pc     *webrtc.PeerConnection

	// payloads are set before the session runs.
	payloads payloadTypes
	// ssrc is ours, in the RTCP that we send.
	ssrc uint32

	ssrcs    atomic.Int32  // of RTP
	reported atomic.Int32  // SSRCs that RTCP named
	dropped  atomic.Uint64 // packets that came faster than they were read
	replayed atomic.Uint64 // packets that SRTP had seen before
	reports  senderReports
	packets  *rate.Limiter // of RTP and RTCP
	bytes    *rate.Limiter

	ended chan struct{} // closed by the first call of end

	ice iceSession

	mu     sync.Mutex // guards what follows, and the read deadline of remote
	reason audio.Reason
	// remote is the RTP stream that is being read, newest the one to be read:
	// a client may change its SSRC.
	remote, newest *webrtc.TrackRemote
	transport      *webrtc.ICETransport
	arrived        chan struct{} // closed when newest is set for the first time
}

func newSession(e *Engine) *Session {
	return &Session{
		engine: e, ssrc: mrand.Uint32(),
		packets: rate.NewLimiter(maxPackets, packetBurst),
		bytes:   rate.NewLimiter(maxBytes, byteBurst),
		ended:   make(chan struct{}), arrived: make(chan struct{}),
	}
}

// negotiate makes the connection and its answer.
func (s *Session) negotiate(ctx context.Context, o Offer) (Answer, error) {
	api, err := s.engine.api(s)
	if err != nil {
		return Answer{}, fmt.Errorf("set up a session: %w", err)
	}
	s.pc, err = api.NewPeerConnection(webrtc.Configuration{
		Certificates: []webrtc.Certificate{s.engine.cert},
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
	})
	if err != nil {
		return Answer{}, fmt.Errorf("set up a session: %w", err)
	}
	s.pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) { s.read(t, r) })
	s.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateFailed:
			s.end(audio.ReasonTimeout)
		case webrtc.PeerConnectionStateClosed:
			s.end(audio.ReasonLeft) // the client's DTLS said good-bye
		case webrtc.PeerConnectionStateConnected:
			s.restarted()
		default:
		}
	})
	err = s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: o.sdp})
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	answer, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	if err := s.pc.SetLocalDescription(answer); err != nil {
		return Answer{}, fmt.Errorf("answer the offer: %w", err)
	}
	if err := s.gathered(ctx); err != nil {
		return Answer{}, err
	}
	text, payloads, err := tuneAnswer(s.pc.LocalDescription().SDP, s.engine.cfg.PreferRED)
	if err != nil {
		return Answer{}, err
	}
	s.payloads = payloads
	return s.begin(o, text)
}

// gathered waits until all our candidates are known.
func (s *Session) gathered(ctx context.Context) error {
	select {
	case <-webrtc.GatheringCompletePromise(s.pc):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("gather candidates: %w", ctx.Err())
	}
}

// discard frees a session that never ran.
func (s *Session) discard() error {
	if s.pc == nil {
		return nil
	}
	return s.pc.Close()
}

// end asks the session's goroutine to finish. The first reason counts; it
// reports whether this was it.
func (s *Session) end(r audio.Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != 0 {
		return false
	}
	s.reason = r
	close(s.ended)
	s.interrupt()
	return true
}

func (s *Session) endReason() audio.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// read makes t the stream that the session's goroutine reads.
func (s *Session) read(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		close(s.arrived)
	}
	s.newest, s.transport = t, r.Transport().ICETransport()
	s.interrupt()
}

// interrupt ends a Read that is under way, with s.mu held.
func (s *Session) interrupt() {
	if s.remote != nil {
		_ = s.remote.SetReadDeadline(time.Unix(1, 0)) // fails only once it is closed
	}
}

// run is the session's goroutine: it waits for the client's audio, takes it in
// until the session is ended, and frees everything.
func (s *Session) run() {
	timer := time.NewTimer(s.engine.cfg.ConnectTimeout)
	defer timer.Stop()
	select {
	case <-s.arrived:
		t := newTrack(s)
		if err := t.run(s.engine.ctx); err != nil {
			s.engine.log.Error("a track was cut off", "err", err)
			s.end(audio.ReasonServer)
		}
	case <-s.ended:
	case <-timer.C:
		s.end(audio.ReasonTimeout)
	}
	s.restarted()
	if err := s.pc.Close(); err != nil {
		s.engine.log.Warn("close a peer connection", "err", err)
	}
	if n := s.ice.ignored.Load(); n > 0 {
		s.engine.log.Debug("ICE candidates of a client that were not used", "count", n)
	}
}

// roundTrip is the path's round trip time as ICE last measured it (it does every
// 2 s), 0 if it has not.
func (s *Session) roundTrip() time.Duration {
	s.mu.Lock()
	transport := s.transport
	s.mu.Unlock()
	stats, _ := transport.GetSelectedCandidatePairStats()
	return time.Duration(stats.CurrentRoundTripTime * float64(time.Second))
}

// send sends RTCP. What is not sent is no matter: all of it is said again.
func (s *Session) send(p rtcp.Packet) {
	_ = s.pc.WriteRTCP([]rtcp.Packet{p})
}

// newBuffer is pion's BufferFactory: it bounds what waits to be read, and the
// number of streams.
func (s *Session) newBuffer(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	if kind == packetio.RTCPBufferPacket {
		if s.reported.Add(1) > 2*maxSSRCs {
			s.refuse("it sends RTCP about too many SSRCs")
		}
		return newRTCPStream(s)
	}
	b := &buffer{Buffer: packetio.NewBuffer(), s: s}
	b.SetLimitSize(rtpBuffer)
	if s.ssrcs.Add(1) > maxSSRCs {
		b.SetLimitSize(1)
		s.refuse("it sends too many SSRCs")
	}
	return b
}

// refuse ends a session that asks for more than any honest one.
func (s *Session) refuse(why string) {
	if s.end(audio.ReasonServer) {
		s.engine.log.Warn("a session is closed", "why", why)
	}
}

// allow bounds what a session may send in all.
func (s *Session) allow(now time.Time, n int) bool {
	if s.packets.AllowN(now, 1) && s.bytes.AllowN(now, n) {
		return true
	}
	s.refuse("it sends more than audio needs")
	return false
}

// buffer is packetio.Buffer as an io.ReadWriteCloser that counts what it drops.
type buffer struct {
	*packetio.Buffer
	s *Session
}

func (b *buffer) Read(p []byte) (int, error) {
	n, _, err := b.Buffer.Read(p, nil)
	return n, err
}

func (b *buffer) Write(p []byte) (int, error) {
	if !b.s.allow(time.Now(), len(p)) {
		b.s.dropped.Add(1)
		return len(p), nil
	}
	n, err := b.Buffer.Write(p, nil)
	if errors.Is(err, packetio.ErrFull) {
		b.s.dropped.Add(1)
	}
	return n, err
}
