// Package whipclient is a WHIP client (RFC 9725) that sends Opus packets in real
// time. The publish and bench commands use it, and the tests.
package whipclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

const (
	requestTimeout = 15 * time.Second
	maxAnswer      = 64 << 10
	// postAttempts is how often a server is asked that answers 503, and
	// maxRetryAfter how long it may ask to wait.
	postAttempts  = 4
	maxRetryAfter = 30 * time.Second
)

// Session is a WHIP session with a Verbatim server.
type Session struct {
	*Conn
	// Meeting is the id of the meeting that was joined.
	Meeting string
	// Participant is who joined: with a token, who that is for.
	Participant string
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
	if o.Via == ByTURN {
		var err error
		if o.ICEServers, err = c.turnServers(ctx, endpoint); err != nil {
			return nil, err
		}
	}
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
		s.URL, s.tag = location.String(), resp.Header.Get("ETag")
		s.Meeting, s.Participant = resp.Header.Get("Verbatim-Meeting"), resp.Header.Get("Verbatim-Participant")
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

// turnServers are those that the server names, with their credentials (RFC 9725,
// 4.6).
func (c *Client) turnServers(ctx context.Context, endpoint string) (servers []webrtc.ICEServer, err error) {
	resp, err := c.do(ctx, http.MethodOptions, endpoint, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	for _, l := range resp.Header.Values("Link") {
		uri, rest, _ := strings.Cut(strings.TrimPrefix(l, "<"), ">")
		if !strings.HasPrefix(uri, "turn") || !strings.Contains(rest, `rel="ice-server"`) {
			continue
		}
		servers = append(servers, webrtc.ICEServer{URLs: []string{uri}, Username: parameter(rest, "username"), Credential: parameter(rest, "credential")})
	}
	if len(servers) == 0 {
		return nil, errors.New("the server names no TURN server")
	}
	return servers, nil
}

// parameter is one of a Link header's, without its quotes.
func parameter(of, name string) string {
	_, rest, _ := strings.Cut(of, "; "+name+`="`)
	var b strings.Builder
	for i := 0; i < len(rest) && rest[i] != '"'; i++ {
		if rest[i] == '\\' && i+1 < len(rest) {
			i++
		}
		b.WriteByte(rest[i])
	}
	return b.String()
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
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = json.Unmarshal(said, e) // whatever it is, the status counts
	e.Status = resp.StatusCode
	if WantsHTTPS(req.URL, e.Status, said) {
		e.Detail = "this port speaks HTTPS; try https://" + req.URL.Host
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		seconds = 1
	}
	e.retryAfter = min(time.Duration(seconds)*time.Second, maxRetryAfter)
	return nil, e
}

// WantsHTTPS says whether an answer to a request in plain HTTP is that of a server that
// speaks HTTPS at that port: Go's and nginx's have no other sign than their words.
func WantsHTTPS(asked *url.URL, status int, said []byte) bool {
	return asked.Scheme == "http" && status == http.StatusBadRequest &&
		(bytes.Contains(said, []byte("HTTP request to an HTTPS server")) || bytes.Contains(said, []byte("plain HTTP request was sent to HTTPS port")))
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
