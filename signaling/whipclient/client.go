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
	"slices"
	"strconv"
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
	// postAttempts is how often a server is asked that answers 503, and
	// maxRetryAfter how long it may ask to wait.
	postAttempts  = 4
	maxRetryAfter = 30 * time.Second
	// maxHeld is how many packets are kept while ICE is restarted: 20 s of the
	// usual ones.
	maxHeld = 1000
)

// Exchange takes an SDP offer to the server and brings back the answer.
type Exchange func(ctx context.Context, offer string) (answer string, err error)

// Patch takes an SDP fragment to the server. If restart is set it has the
// credentials of a new ICE session, and answer is the server's fragment.
type Patch func(ctx context.Context, fragment string, restart bool) (answer string, err error)

// Options of a connection.
type Options struct {
	// Trickle sends the offer before candidates are known, and those later.
	// Client.Join brings the Patch for it; Connect needs one.
	Trickle bool
	// Patch is for Trickle and Restart.
	Patch Patch
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

	again *resender

	mu      sync.Mutex // guards what follows
	packet  rtp.Packet
	holding bool // while ICE is restarted
	held    []rtp.Packet
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
	if o.Interceptors == nil {
		o.Interceptors = &interceptor.Registry{}
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s), webrtc.WithInterceptorRegistry(o.Interceptors))
	c := &Conn{lost: make(chan struct{}), patch: o.Patch, selected: make(chan struct{}, 1)}
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
		return nil, errors.New("the media connection failed; is the server's UDP port reachable?")
	case <-timeout.C:
		return nil, errors.New("the media connection did not come up in time; is the server's UDP port reachable?")
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
	select {
	case <-webrtc.GatheringCompletePromise(c.pc):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Lost is closed when the connection has failed.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// Send sends one Opus packet that lasts that many ticks (48 kHz), again when the
// receiver asks for it. While ICE is restarted it keeps the packet for later.
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

// Session is a WHIP session with a Verbatim server.
type Session struct {
	*Conn
	// Meeting is the id of the meeting that was joined.
	Meeting string
	// URL is the session's own.
	URL string

	client *Client
	tag    string // the ICE session's ETag
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

	retryAfter time.Duration
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
	o.Patch = s.patch
	conn, err := Connect(ctx, o, func(ctx context.Context, offer string) (string, error) {
		resp, err := c.post(ctx, endpoint, offer)
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
		s.URL, s.Meeting, s.tag = location.String(), resp.Header.Get("Verbatim-Meeting"), resp.Header.Get("ETag")
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

// post begins a session. A server that is busy or goes down says when to try
// again (RFC 9725, 4.5), and is tried again a few times.
func (c *Client) post(ctx context.Context, endpoint, offer string) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.do(ctx, http.MethodPost, endpoint, http.Header{"Content-Type": {"application/sdp"}}, strings.NewReader(offer))
		busy := new(Error)
		if !errors.As(err, &busy) || busy.Status != http.StatusServiceUnavailable || attempt == postAttempts {
			return resp, err
		}
		select {
		case <-time.After(busy.retryAfter):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// patch is the session's Patch.
func (s *Session) patch(ctx context.Context, fragment string, restart bool) (string, error) {
	h := http.Header{"Content-Type": {"application/trickle-ice-sdpfrag"}, "If-Match": {s.tag}}
	if restart {
		h.Set("If-Match", "*")
	}
	resp, err := s.client.do(ctx, http.MethodPatch, s.URL, h, strings.NewReader(fragment))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if restart {
		s.tag = resp.Header.Get("ETag")
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return string(answer), nil
}

// Leave ends the session on the server, which takes in what was sent before,
// and then the connection.
func (s *Session) Leave(ctx context.Context) error {
	return errors.Join(s.delete(ctx), s.Close())
}

func (s *Session) delete(ctx context.Context) error {
	resp, err := s.client.do(ctx, http.MethodDelete, s.URL, nil, nil)
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
	resp, err := c.do(ctx, http.MethodGet, c.URL+path, nil, nil)
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
func (c *Client) do(ctx context.Context, method, to string, h http.Header, body io.Reader) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	resp, err := c.open(ctx, method, to, h, body)
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
	client := http.DefaultClient
	if c.HTTP != nil {
		client = c.HTTP
	}
	follow := *client
	follow.CheckRedirect = sameMethod
	resp, err := follow.Do(req)
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
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		seconds = 1
	}
	e.retryAfter = min(time.Duration(seconds)*time.Second, maxRetryAfter)
	return nil, e
}

// sameMethod follows 307 and 308, which keep method and body; RFC 9725, 4.5,
// has no others. A 301 would make a GET of the POST.
func sameMethod(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return errors.New("the server redirects in a way that WHIP does not have")
	}
	if len(via) >= 10 {
		return errors.New("too many redirects")
	}
	return nil
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
