// Package whipclient is a WHIP client (RFC 9725) that sends Opus packets in real
// time. The publish and bench commands use it, and the tests.
package whipclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"
)

const (
	clockRate = 48000
	// connectTimeout bounds ICE and DTLS.
	connectTimeout = 15 * time.Second
	requestTimeout = 15 * time.Second
	maxAnswer      = 64 << 10
)

// Exchange takes an SDP offer to the server and brings back the answer.
type Exchange func(ctx context.Context, offer string) (answer string, err error)

// Options of a connection.
type Options struct {
	// Net replaces the network, for tests.
	Net transport.Net
	// Sequence and Timestamp are where the RTP numbering begins.
	Sequence  uint16
	Timestamp uint32
	// OnReport is told what the server says of its reception, from a goroutine
	// of the connection. It may be nil.
	OnReport func(rtcp.ReceptionReport)
}

// Conn is a connected session that sends one Opus track. One goroutine sends;
// whoever made it closes it.
type Conn struct {
	pc    *webrtc.PeerConnection
	track *webrtc.TrackLocalStaticRTP
	lost  chan struct{} // closed when the transport has failed

	packet rtp.Packet
	again  *resender
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
	s.DisableActiveTCP(true)
	if o.Net != nil {
		s.SetNet(o.Net)
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	c := &Conn{lost: make(chan struct{})}
	c.packet.Header = rtp.Header{Version: 2, SequenceNumber: o.Sequence, Timestamp: o.Timestamp}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
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
	if err = c.negotiate(ctx, exchange); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(connectTimeout)
	defer timeout.Stop()
	select {
	case <-connected:
		return c, nil
	case <-c.lost:
		return nil, errors.New("the media connection failed; is the server's UDP port reachable?")
	case <-timeout.C:
		return nil, errors.New("the media connection did not come up in time; is the server's UDP port reachable?")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Conn) negotiate(ctx context.Context, exchange Exchange) error {
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer, err := exchange(ctx, c.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	return c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

// Lost is closed when the connection has failed.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// Send sends one Opus packet that lasts that many ticks (48 kHz). It is sent
// again when the receiver asks for it.
func (c *Conn) Send(payload []byte, ticks int64) error {
	c.packet.Payload = payload
	err := errors.Join(c.again.keep(time.Now(), &c.packet), c.track.WriteRTP(&c.packet))
	c.packet.SequenceNumber++
	c.packet.Timestamp += uint32(ticks)
	return err
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

// Session is a WHIP session with a Verbatim server.
type Session struct {
	*Conn
	// Meeting is the id of the meeting that was joined.
	Meeting string
	// URL is the session's own.
	URL string

	client *Client
}

// Client talks to one server. Its zero value of HTTP means http.DefaultClient.
type Client struct {
	URL   string // the server's base URL
	Token string // bearer token, if the server wants one
	HTTP  *http.Client
}

// Error is an answer of the server that is not a success.
type Error struct {
	Status int
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return "the server says: " + e.Detail
	}
	return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
}

// Join begins a session in a room.
func (c *Client) Join(ctx context.Context, room, participant, name string, o Options) (*Session, error) {
	s := &Session{client: c}
	q := url.Values{"participant": {participant}, "name": {name}}
	endpoint := c.URL + "/v1/rooms/" + url.PathEscape(room) + "/whip?" + q.Encode()
	conn, err := Connect(ctx, o, func(ctx context.Context, offer string) (string, error) {
		resp, err := c.do(ctx, http.MethodPost, endpoint, "application/sdp", strings.NewReader(offer))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		location, err := resp.Location()
		if err != nil {
			return "", fmt.Errorf("the answer names no session: %w", err)
		}
		s.URL, s.Meeting = location.String(), resp.Header.Get("Verbatim-Meeting")
		return string(answer), nil
	})
	if err != nil {
		if s.URL != "" {
			err = errors.Join(err, s.delete(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	s.Conn = conn
	return s, nil
}

// Leave ends the session on the server, which takes in what was sent before,
// and then the connection.
func (s *Session) Leave(ctx context.Context) error {
	return errors.Join(s.delete(ctx), s.Close())
}

func (s *Session) delete(ctx context.Context) error {
	resp, err := s.client.do(ctx, http.MethodDelete, s.URL, "", nil)
	if gone := new(Error); errors.As(err, &gone) && gone.Status == http.StatusNotFound {
		return nil // it ended by itself
	}
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return resp.Body.Close()
}

// Get reads a JSON answer of the server's API.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, http.MethodGet, c.URL+path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// do sends a request; an answer that is not 2xx is an *Error. The body must be
// read within the time of one request.
func (c *Client) do(ctx context.Context, method, to, contentType string, body io.Reader) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	resp, err := c.open(ctx, method, to, http.Header{"Content-Type": {contentType}}, body)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, cancel}
	return resp, nil
}

// open is do without a deadline.
func (c *Client) open(ctx context.Context, method, to string, h http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return nil, err
	}
	for k, v := range h {
		if v[0] != "" {
			req.Header[k] = v
		}
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL may hold what is secret
		}
		return nil, fmt.Errorf("reach the server: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(e) // whatever it is, the status counts
	e.Status = resp.StatusCode
	return nil, e
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
