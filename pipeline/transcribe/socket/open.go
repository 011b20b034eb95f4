package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"verbatim/pipeline/transcribe"
)

const (
	// maxMessage bounds what a server may say at once, in bytes.
	maxMessage = 1 << 20
	// maxReason bounds what is shown of a server's own words, in bytes.
	maxReason = 200
	// Person is when to try again what only a person can mend: a key that is
	// wrong, an account without money.
	Person = 30 * time.Second
	// maxRetryAfter bounds what a server may ask for.
	maxRetryAfter = 10 * time.Minute
)

// Server is a server that streams are opened to. It is safe for concurrent use.
type Server struct {
	URL    string // ws or wss
	client *http.Client
}

// NewServer makes a Server that is reached through the host's network.
func NewServer(url string, h transcribe.Host) *Server {
	return &Server{URL: url, client: &http.Client{
		// One connection per stream, none is kept. The handshake's deadline is
		// that of Open's context.
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true},
		// Whoever is redirected would carry the key elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Open connects and begins to read. secret is what must not be shown of the
// header, "" if there is none. ctx bounds the handshake.
func (s *Server) Open(ctx context.Context, header http.Header, secret string, p Protocol) (*Stream, error) {
	//nolint:bodyclose // Dial closes it, and hands on what it has read
	ws, resp, err := websocket.Dial(ctx, s.URL, &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: header})
	if err != nil {
		return nil, refusal(err, resp, secret)
	}
	ws.SetReadLimit(maxMessage)
	return start(ws, p), nil
}

// refusal says why a server did not take the connection.
func refusal(err error, resp *http.Response, secret string) error {
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return err
	}
	text := strings.ToLower(http.StatusText(resp.StatusCode))
	if resp.Body != nil {
		// The library has read what it keeps of it: 1 KiB.
		if b, _ := io.ReadAll(resp.Body); len(b) > 0 {
			text += ": " + Reason(string(b), secret)
		}
	}
	err = fmt.Errorf("the server answers %d %s", resp.StatusCode, text)
	switch after := retryAfter(resp.Header.Get("Retry-After")); {
	case after > 0:
		return &transcribe.RetryError{After: after, Err: err}
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden,
		resp.StatusCode == http.StatusPaymentRequired:
		return &transcribe.RetryError{After: Person, Err: err}
	}
	return err
}

// retryAfter reads a Retry-After (RFC 9110, 10.2.3), 0 if there is none.
func retryAfter(value string) time.Duration {
	var after time.Duration
	if s, err := strconv.Atoi(value); err == nil {
		after = time.Duration(min(s, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = time.Until(at)
	}
	return max(0, min(after, maxRetryAfter))
}

// Reason is what a server says, made fit for an error: one short line without
// the secret.
func Reason(text, secret string) string {
	if secret != "" {
		text = strings.ReplaceAll(text, secret, "…")
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// closed says why a connection ended that should not have.
func closed(err error) error {
	var c websocket.CloseError
	if !errors.As(err, &c) {
		return fmt.Errorf("the connection broke: %w", err)
	}
	err = fmt.Errorf("the server closed the connection: %d %s", c.Code, Reason(c.Reason, ""))
	if c.Code == websocket.StatusPolicyViolation {
		return &transcribe.RetryError{After: Person, Err: err}
	}
	return err
}
