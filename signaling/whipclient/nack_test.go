package whipclient

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
)

// Requests are answered as libwebrtc does it.
func TestAnswer(t *testing.T) {
	var r resender
	r.ssrc, r.rtt = 7, 100*time.Millisecond
	at := time.Unix(1000, 0)
	for seq := range uint16(historySize + 10) { // 0 to 9 are forgotten
		r.remember(at, &rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: uint32(seq) * 960}, Payload: []byte{byte(seq)}})
	}
	for _, c := range []struct {
		name  string
		after time.Duration
		ask   []uint16
		want  []uint16
	}{
		{"at once", 0, []uint16{20, 21, 40}, []uint16{20, 21, 40}},
		{"under way, but for a new one", 50 * time.Millisecond, []uint16{20, 21, 22, 40}, []uint16{22}},
		{"a round trip is not enough", 104 * time.Millisecond, []uint16{20}, nil},
		{"after a round trip", 105 * time.Millisecond, []uint16{20, 22}, []uint16{20}},
		{"the second time counts", 205 * time.Millisecond, []uint16{20, 21, 22}, []uint16{21, 22}},
		{"forgotten", time.Second, []uint16{9, 10}, []uint16{10}},
		{"not sent yet", time.Second, []uint16{historySize + 10}, nil},
	} {
		var got []uint16
		for _, p := range r.answer(at.Add(c.after), rtcp.NackPairsFromSequenceNumbers(c.ask)) {
			got = append(got, p.SequenceNumber)
			if p.Timestamp != uint32(p.SequenceNumber)*960 || p.Payload[0] != byte(p.SequenceNumber) {
				t.Errorf("%s: packet %d has another's timestamp or payload", c.name, p.SequenceNumber)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %d sent again, want %d", c.name, got, c.want)
		}
	}
}

// Over a connection: a packet that is asked for comes back unchanged, and the
// receiver's reports tell the round trip.
func TestResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const oneWay = 40 * time.Millisecond
		router, err := vnet.NewRouter(&vnet.RouterConfig{
			CIDR: "10.0.0.0/24", MinDelay: oneWay, LoggerFactory: logging.NewDefaultLoggerFactory(),
		})
		if err != nil {
			t.Fatal(err)
		}
		lost := map[uint16]bool{}
		router.AddChunkFilter(func(c vnet.Chunk) bool { // every tenth packet is lost, once
			b := c.UserData()
			if len(b) < 12 || b[0]>>6 != 2 || b[1]&0x7f != 111 {
				return true
			}
			seq := binary.BigEndian.Uint16(b[2:])
			if seq%10 != 5 || lost[seq] {
				return true
			}
			lost[seq] = true
			return false
		})
		var nets [2]*vnet.Net
		for i, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			if nets[i], err = vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}}); err != nil {
				t.Fatal(err)
			}
			if err := router.AddNet(nets[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := router.Start(); err != nil {
			t.Fatal(err)
		}
		r := newReceiver(t, nets[0])
		c, err := Connect(t.Context(), Options{Net: nets[1], Sequence: 65534}, r.answer)
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(100) { // 6 s
			if err := c.Send([]byte{i}, 2880); err != nil {
				t.Fatal(err)
			}
			time.Sleep(60 * time.Millisecond)
		}
		time.Sleep(time.Second)
		c.again.mu.Lock()
		rtt := c.again.rtt
		c.again.mu.Unlock()
		// vnet delays a packet by a little more.
		if rtt < 2*oneWay || rtt > 2*oneWay+5*time.Millisecond {
			t.Errorf("the round trip is %v, want %v", rtt, 2*oneWay)
		}
		if err := errors.Join(c.Close(), r.pc.Close(), router.Stop()); err != nil {
			t.Error(err)
		}
		if len(lost) != 11 { // 65535, 5, 15, …, 95
			t.Errorf("%d packets were lost, want 11", len(lost))
		}
		for i, copies := range r.copies() {
			if copies != 1 {
				t.Errorf("packet %d came %d times", i, copies)
			}
		}
	})
}

// receiver is another WebRTC endpoint. It asks once for a packet that is missing
// before the one that came, and reports.
type receiver struct {
	pc *webrtc.PeerConnection

	mu  sync.Mutex
	got [100]int
}

func newReceiver(t *testing.T, n *vnet.Net) *receiver {
	var s webrtc.SettingEngine
	s.SetNet(n)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{pc: pc}
	pc.OnTrack(func(track *webrtc.TrackRemote, from *webrtc.RTPReceiver) {
		go r.reports(from)
		r.packets(track)
	})
	return r
}

func (r *receiver) packets(track *webrtc.TrackRemote) {
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		i := p.Payload[0]
		r.mu.Lock()
		r.got[i]++
		missing := i > 0 && r.got[i-1] == 0
		r.mu.Unlock()
		if missing {
			_ = r.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{
				MediaSSRC: p.SSRC, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{p.SequenceNumber - 1}),
			}})
		}
	}
}

func (r *receiver) reports(from *webrtc.RTPReceiver) {
	for {
		packets, _, err := from.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			if sr, ok := p.(*rtcp.SenderReport); ok {
				const held = 20 * time.Millisecond
				time.Sleep(held)
				_ = r.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{
					SSRC: sr.SSRC, LastSenderReport: uint32(sr.NTPTime >> 16), Delay: uint32(held << 16 / time.Second),
				}}}})
			}
		}
	}
}

func (r *receiver) copies() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[:])
}

// answer is the Exchange of the connection under test.
func (r *receiver) answer(_ context.Context, offer string) (string, error) {
	if err := r.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := r.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(r.pc)
	if err := r.pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return r.pc.LocalDescription().SDP, nil
}
