package signaling

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Strangers who speak no TLS where it is spoken make the server say so, some times.
func TestStrangersFillNoLog(t *testing.T) {
	var text bytes.Buffer
	s := New(Config{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	front := httptest.NewUnstartedServer(nil)
	front.Config = s.HTTPServer(context.Background())
	front.StartTLS()
	const n = 300
	for range n {
		c, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write([]byte("SSH-2.0-scanner\r\n\r\n"))
		_, _ = io.Copy(io.Discard, c) // until it is closed: all is said of it by then
		c.Close()
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Get(front.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	front.Close()
	lines := strings.Count(text.String(), "TLS handshake error")
	if lines == 0 || lines > errorsAtOnce+2 {
		t.Errorf("%d connections made %d lines", n, lines)
	}
}
