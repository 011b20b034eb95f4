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
	// rtpPackets bounds what the buffer needs beside the bytes, 24 for each.
	rtpPackets = maxPackets
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
	// transport is that of pc; set before the session runs.
	transport *webrtc.ICETransport

	// payloads are set before the session runs.
	payloads payloadTypes
	// ssrc is ours, in the RTCP that we send.
	ssrc uint32

	// rtp is what arrived and was not read yet: SRTP from the socket if direct
	// is set, else RTP that pion decrypted.
	rtp     *packetio.Buffer
	direct  atomic.Bool
	keys    keys
	decrypt decryption // of the session's goroutine

	ssrcs    atomic.Int32  // of RTP that pion decrypted
	reported atomic.Int32  // SSRCs that RTCP named
	dropped  atomic.Uint64 // packets that came faster than they were read
	replayed atomic.Uint64 // packets that SRTP had seen before
	forged   atomic.Uint64 // packets that SRTP found not to be the client's
	reports  senderReports
	packets  *rate.Limiter // of RTP and RTCP
	bytes    *rate.Limiter

	connected chan struct{} // closed when ICE and DTLS have connected for the first time
	connect   sync.Once
	ended     chan struct{} // closed by the first call of end

	ice iceSession

	mu     sync.Mutex // guards what follows, and the read deadline of rtp
	reason audio.Reason
}

func newSession(e *Engine) *Session {
	s := &Session{
		engine: e, ssrc: mrand.Uint32(), rtp: packetio.NewBuffer(),
		packets: rate.NewLimiter(maxPackets, packetBurst),
		bytes:   rate.NewLimiter(maxBytes, byteBurst),
		ended:   make(chan struct{}), connected: make(chan struct{}),
	}
	s.rtp.SetLimitSize(rtpBuffer)
	s.rtp.SetLimitCount(rtpPackets)
	s.keys.found = func() { s.direct.Store(true) }
	return s
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
	s.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateFailed:
			s.end(audio.ReasonTimeout)
		case webrtc.PeerConnectionStateClosed:
			s.end(audio.ReasonLeft) // the client's DTLS said good-bye: nothing more comes
			_ = s.rtp.Close()       // never fails
		case webrtc.PeerConnectionStateConnected:
			s.connect.Do(func() { close(s.connected) })
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
	s.payloads, s.transport = payloads, s.pc.GetReceivers()[0].Transport().ICETransport()
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

// interrupt ends a read that is under way, with s.mu held.
func (s *Session) interrupt() { _ = s.rtp.SetReadDeadline(time.Unix(1, 0)) } // never fails

// run is the session's goroutine: it waits for the client's audio, takes it in
// until the session is ended, and frees everything.
func (s *Session) run() {
	silent := time.Now().Add(s.engine.cfg.ConnectTimeout)
	timer := time.NewTimer(time.Until(silent))
	defer timer.Stop()
	select {
	case <-s.connected:
	case <-s.ended:
	case <-timer.C:
		s.end(audio.ReasonTimeout)
	}
	select {
	case <-s.connected: // also if it has ended by now: something may wait
		if s.engine.cfg.Connected != nil {
			s.engine.cfg.Connected(s.id)
		}
		if s.decrypt.context = s.keys.decrypter(); s.decrypt.context == nil && !s.engine.cfg.NoDirect {
			s.engine.log.Info("a session's RTP goes through pion: its keys are not to be had")
		}
		t := newTrack(s)
		if err := t.run(s.engine.ctx, silent); err != nil {
			s.engine.log.Error("a track was cut off", "err", err)
			s.end(audio.ReasonServer)
		}
	default:
	}
	s.restarted()
	if err := s.pc.Close(); err != nil {
		s.engine.log.Warn("close a peer connection", "err", err)
	}
	if n := s.ice.ignored.Load(); n > 0 {
		s.engine.log.Debug("ICE candidates of a client that were not used", "count", n)
	}
}

// take queues SRTP as it came from the socket. It reports whether the session
// wants it; else it is for pion.
func (s *Session) take(b []byte) bool {
	if !s.direct.Load() || !isRTP(b) {
		return false
	}
	s.queue(b)
	return true
}

// queue keeps a packet for the session's goroutine.
func (s *Session) queue(b []byte) {
	if _, err := s.rtp.Write(b, nil); err != nil {
		s.dropped.Add(1)
	}
}

// read reads the next RTP packet into b.
func (s *Session) read(b []byte) (int, error) {
	for {
		n, _, err := s.rtp.Read(b, nil)
		if err != nil || s.decrypt.context == nil {
			return n, err
		}
		n, err = s.decrypt.open(b[:n])
		switch {
		case err == nil && s.allow(time.Now(), n):
			return n, nil
		case err == nil:
			s.dropped.Add(1)
		case errors.Is(err, errTooManySSRCs):
			s.dropped.Add(1)
			s.refuse("it sends too many SSRCs")
		default:
			s.refused(err.Error())
		}
	}
}

// refused counts a packet that SRTP refused.
func (s *Session) refused(why string) {
	if replayed(why) {
		s.replayed.Add(1)
	} else {
		s.forged.Add(1)
	}
}

// roundTrip is the path's round trip time as ICE last measured it (it does every
// 2 s), 0 if it has not.
func (s *Session) roundTrip() time.Duration {
	stats, _ := s.transport.GetSelectedCandidatePairStats()
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
		return newSink(s.receiveRTCP)
	}
	if s.ssrcs.Add(1) > maxSSRCs {
		s.refuse("it sends too many SSRCs")
	}
	return newSink(s.receive)
}

// receive takes RTP that pion has decrypted.
func (s *Session) receive(now time.Time, p []byte) {
	if s.direct.Load() || !s.allow(now, len(p)) {
		s.dropped.Add(1)
		return
	}
	s.queue(p)
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

// sink is what pion writes the packets of one SSRC to, RTP or RTCP. They go on at
// once: there is nothing to be read from it.
type sink struct {
	write  func(now time.Time, p []byte)
	once   sync.Once
	closed chan struct{}
}

func newSink(write func(now time.Time, p []byte)) *sink {
	return &sink{write: write, closed: make(chan struct{})}
}

func (k *sink) Write(p []byte) (int, error) {
	k.write(time.Now(), p)
	return len(p), nil
}

// Read waits for Close.
func (k *sink) Read([]byte) (int, error) {
	<-k.closed
	return 0, io.EOF
}

func (k *sink) Close() error {
	k.once.Do(func() { close(k.closed) })
	return nil
}
