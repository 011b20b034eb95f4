package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"

	"verbatim/signaling/whipclient"
)

// peer is a WebRTC client that keeps to no rule: it sends what RTP and RTCP it
// is told to, under any SSRC. It is the webrtc.TrackLocal that it sends.
type peer struct {
	pc   *webrtc.PeerConnection
	out  webrtc.TrackLocalWriter // set by Bind, before it is connected
	next rtp.Header              // of the next Send
	gone chan struct{}           // closed when the server has ended the connection
}

// connectPeer makes one; exchange takes its offer to the server.
func connectPeer(ctx context.Context, network transport.Net, exchange whipclient.Exchange) (_ *peer, err error) {
	m := &webrtc.MediaEngine{}
	for _, c := range []struct {
		mime     string
		rate     uint32
		channels uint16
		number   webrtc.PayloadType
	}{{webrtc.MimeTypeOpus, 48000, 2, 111}, {"audio/red", 48000, 2, 63}, {webrtc.MimeTypePCMU, 8000, 0, 0}, {webrtc.MimeTypePCMA, 8000, 0, 8}, {"audio/telephone-event", 8000, 0, 126}} {
		err := m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: c.mime, ClockRate: c.rate, Channels: c.channels},
			PayloadType:        c.number,
		}, webrtc.RTPCodecTypeAudio)
		if err != nil {
			return nil, err
		}
	}
	var s webrtc.SettingEngine
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetIncludeLoopbackCandidate(true)
	if network != nil {
		s.SetNet(network)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	p := &peer{pc: pc, next: rtp.Header{Version: 2, PayloadType: 111}, gone: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, pc.Close())
		}
	}()
	if _, err = pc.AddTransceiverFromTrack(p, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		return nil, err
	}
	connected := make(chan struct{})
	var up, down sync.Once
	pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateConnected:
			up.Do(func() { close(connected) })
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			down.Do(func() { close(p.gone) })
		default:
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err = pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	<-gathered
	answer, err := exchange(ctx, pc.LocalDescription().SDP)
	if err != nil {
		return nil, err
	}
	if err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case <-connected:
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Send sends a packet of Opus as whipclient.Conn does.
func (p *peer) Send(payload []byte, ticks int64) error {
	_, err := p.out.WriteRTP(&p.next, payload)
	p.next.SequenceNumber++
	p.next.Timestamp += uint32(ticks)
	return err
}

func (p *peer) Close() error { return p.pc.Close() }

// Bind implements webrtc.TrackLocal, as do those that follow.
func (p *peer) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	p.out, p.next.SSRC = c.WriteStream(), uint32(c.SSRC())
	return c.CodecParameters()[0], nil
}
func (p *peer) Unbind(webrtc.TrackLocalContext) error { return nil }
func (p *peer) ID() string                            { return "audio" }
func (p *peer) RID() string                           { return "" }
func (p *peer) StreamID() string                      { return "peer" }
func (p *peer) Kind() webrtc.RTPCodecType             { return webrtc.RTPCodecTypeAudio }
