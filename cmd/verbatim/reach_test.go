package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What is sent over TCP, or by the TURN server over each of its ways, is what is
// heard, and shows in the metrics.
func TestOtherWays(t *testing.T) {
	cert, key := certificate(t, t.TempDir(), "localhost", 1)
	t.Setenv("SSL_CERT_FILE", cert)
	want := decoded(t, "sas-0880")
	tls := []string{"--tls-cert", cert, "--tls-key", key}
	for _, c := range []struct {
		name, via string
		flags     []string
		metric    string
	}{
		{"TCP", "tcp", []string{"--media-tcp", "127.0.0.1:0"}, ""},
		{"TURN over UDP", "turn", []string{"--turn-listen", "127.0.0.1:0", "--media-tcp", "none"}, "verbatim_turn_allocations_total"},
		{"TURN over TLS", "turn", append([]string{"--turns-listen", "127.0.0.1:0"}, tls...), "verbatim_turn_allocations_total"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, t.TempDir(), "none:", c.flags...)
			out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--url", s.url, "--via", c.via).CombinedOutput()
			if err != nil {
				t.Fatalf("publish: %v: %s", err, out)
			}
			if !strings.HasPrefix(s.url, "http:") {
				http.DefaultTransport.(*http.Transport).TLSClientConfig = trusting(t, cert).Transport.(*http.Transport).TLSClientConfig
				t.Cleanup(func() { http.DefaultTransport.(*http.Transport).TLSClientConfig = nil })
			}
			if m := s.meetings()[0]; !slices.Equal(s.wav(m, 0), want) {
				t.Error("what is heard is not what was sent")
			}
			if c.metric != "" && s.scrape()[c.metric] == 0 {
				t.Errorf("%s is 0", c.metric)
			}
			s.stop()
		})
	}
}

func TestFlagsOfReach(t *testing.T) {
	for _, c := range []struct {
		name, want string
		flags      []string
	}{
		{"no address", "--public-ip", []string{"--public-ip", "meet.example"}},
		{"an address that is not here", "10.9.8.7", []string{"--public-ip", "10.9.8.7/203.0.113.5"}},
		{"no certificate", "--turns-listen", []string{"--turns-listen", "127.0.0.1:0"}},
		{"no secret", "--turn-secret-file", []string{"--turn-listen", "127.0.0.1:0", "--turn-secret-file", "/nowhere"}},
		{"no port", "missing port", []string{"--turn-listen", "127.0.0.1"}},
		{"no TCP port", "TCP", []string{"--media-tcp", "127.0.0.1:x"}},
	} {
		args := append([]string{"serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:"}, c.flags...)
		out, err := verbatim(t.Context(), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
	}
	s := serve(t, t.TempDir(), "none:", "--public-ip", "127.0.0.1/203.0.113.5")
	s.stop()
}
