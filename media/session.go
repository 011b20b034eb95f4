package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"

	"verbatim/media/audio"
)

const (
	// rtpBuffer holds what arrives while the session's goroutine is busy: 2 s of
	// the fastest audio. pion's own bound is 1 MB.
	rtpBuffer  = 128 << 10
	rtcpBuffer = 16 << 10
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

	ssrcs   atomic.Int32  // of RTP
	reports atomic.Int32  // SSRCs that RTCP named
	dropped atomic.Uint64 // packets that came faster than they were read

	ended chan struct{} // closed by the first call of end

	ice iceSession

	mu     sync.Mutex // guards what follows, and the read deadline of remote
	reason audio.Reason
	// remote is the RTP stream that is being read, newest the one to be read:
	// a client may change its SSRC.
	remote, newest *webrtc.TrackRemote
	arrived        chan struct{} // closed when newest is set for the first time
}

func newSession(e *Engine) *Session {
	return &Session{engine: e, ended: make(chan struct{}), arrived: make(chan struct{})}
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
	s.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { s.read(t) })
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
	text, err := tuneAnswer(s.pc.LocalDescription().SDP)
	if err != nil {
		return Answer{}, err
	}
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

// end asks the session's goroutine to finish. The first reason counts.
func (s *Session) end(r audio.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != 0 {
		return
	}
	s.reason = r
	close(s.ended)
	s.interrupt()
}

func (s *Session) endReason() audio.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// read makes t the stream that the session's goroutine reads.
func (s *Session) read(t *webrtc.TrackRemote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		close(s.arrived)
	}
	s.newest = t
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

// newBuffer is pion's BufferFactory: it bounds what waits to be read, and the
// number of streams.
func (s *Session) newBuffer(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	b := &buffer{Buffer: packetio.NewBuffer(), dropped: &s.dropped}
	switch {
	case kind == packetio.RTCPBufferPacket && s.reports.Add(1) <= 2*maxSSRCs:
		b.SetLimitSize(rtcpBuffer)
	case kind == packetio.RTCPBufferPacket:
		b.SetLimitSize(1)
		s.end(audio.ReasonServer)
	case s.ssrcs.Add(1) > maxSSRCs:
		b.SetLimitSize(1)
		s.end(audio.ReasonServer)
	default:
		b.SetLimitSize(rtpBuffer)
	}
	return b
}

// buffer is packetio.Buffer as an io.ReadWriteCloser that counts what it drops.
type buffer struct {
	*packetio.Buffer
	dropped *atomic.Uint64
}

func (b *buffer) Read(p []byte) (int, error) {
	n, _, err := b.Buffer.Read(p, nil)
	return n, err
}

func (b *buffer) Write(p []byte) (int, error) {
	n, err := b.Buffer.Write(p, nil)
	if errors.Is(err, packetio.ErrFull) {
		b.dropped.Add(1)
	}
	return n, err
}
