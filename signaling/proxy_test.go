package signaling

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestForwarded(t *testing.T) {
	s := New(Config{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/48"),
	}})
	type header = map[string][]string
	for _, c := range []struct {
		name, from string
		header     header
		client     string
		url        string
	}{
		{"nobody says anything", "198.51.100.7:4711", nil, "198.51.100.7", "http://inside:8080"},
		{"a stranger says something", "198.51.100.7:4711", header{
			"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"},
			"Forwarded": {"for=192.0.2.1;host=evil.example;proto=https"},
		}, "198.51.100.7", "http://inside:8080"},
		{"the proxy", "127.0.0.1:4711", header{
			"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"meet.example"}, "X-Forwarded-Proto": {"https"},
		}, "192.0.2.1", "https://meet.example"},
		{"the proxy says nothing", "127.0.0.1:4711", nil, "127.0.0.1", "http://inside:8080"},
		{"what the client wrote before", "127.0.0.1:4711", header{"X-Forwarded-For": {"192.0.2.99, 192.0.2.1"}}, "192.0.2.1", "http://inside:8080"},
		{"in a field of its own", "127.0.0.1:4711", header{"X-Forwarded-For": {"192.0.2.99", "192.0.2.1"}}, "192.0.2.1", "http://inside:8080"},
		{"the client calls itself a proxy", "127.0.0.1:4711", header{"X-Forwarded-For": {"127.0.0.1, 192.0.2.1"}}, "192.0.2.1", "http://inside:8080"},
		{"two proxies", "127.0.0.1:4711", header{"X-Forwarded-For": {"192.0.2.99, 192.0.2.1, 10.1.2.3"}}, "192.0.2.1", "http://inside:8080"},
		{"proxies only", "127.0.0.1:4711", header{"X-Forwarded-For": {"10.1.2.4, 10.1.2.3"}}, "10.1.2.4", "http://inside:8080"},
		{"a client where proxies are calls itself this machine", "10.1.9.9:4711", header{"X-Forwarded-For": {"127.0.0.1, 10.1.2.3"}}, "10.1.2.3", "http://inside:8080"},
		{"the same, by a proxy on this machine", "127.0.0.1:4711", header{"X-Forwarded-For": {"::1, 10.1.2.3"}}, "10.1.2.3", "http://inside:8080"},
		{"on a proxy's machine", "10.1.9.9:4711", header{"X-Forwarded-For": {"127.0.0.1"}}, "10.1.9.9", "http://inside:8080"},
		{"on this machine", "127.0.0.1:4711", header{"X-Forwarded-For": {"127.0.0.1"}}, "127.0.0.1", "http://inside:8080"},
		{"nonsense before proxies", "127.0.0.1:4711", header{"X-Forwarded-For": {"unknown, 10.1.2.3"}}, "10.1.2.3", "http://inside:8080"},
		{"nonsense", "127.0.0.1:4711", header{"X-Forwarded-For": {"192.0.2.1, unknown"}}, "127.0.0.1", "http://inside:8080"},
		{"empty", "127.0.0.1:4711", header{"X-Forwarded-For": {""}, "X-Forwarded-Host": {""}, "X-Forwarded-Proto": {""}}, "127.0.0.1", "http://inside:8080"},
		{"with a port", "127.0.0.1:4711", header{"X-Forwarded-For": {"192.0.2.1:1234"}}, "192.0.2.1", "http://inside:8080"},
		{"IPv6", "[2001:db8:1::1]:4711", header{"X-Forwarded-For": {"2001:db8:2::1"}}, "2001:db8:2::1", "http://inside:8080"},
		{"IPv6 with a port", "[2001:db8:1::1]:4711", header{"X-Forwarded-For": {"[2001:db8:2::1]:99"}}, "2001:db8:2::1", "http://inside:8080"},
		{"IPv4 within IPv6", "[::ffff:127.0.0.1]:4711", header{"X-Forwarded-For": {"::ffff:192.0.2.1"}}, "192.0.2.1", "http://inside:8080"},
		{"the nearest proxy's word", "127.0.0.1:4711", header{
			"X-Forwarded-Host": {"evil.example, meet.example:8443"}, "X-Forwarded-Proto": {"http", "https"},
		}, "127.0.0.1", "https://meet.example:8443"},
		{"a host that is none", "127.0.0.1:4711", header{"X-Forwarded-Host": {`evil.example/">`}, "X-Forwarded-Proto": {"javascript"}}, "127.0.0.1", "http://inside:8080"},
		{"a host with another port", "127.0.0.1:4711", header{"X-Forwarded-Host": {"meet.example:x"}}, "127.0.0.1", "http://inside:8080"},
		{"Forwarded", "127.0.0.1:4711", header{"Forwarded": {"for=192.0.2.1;host=evil.example;proto=https"}}, "127.0.0.1", "http://inside:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://inside:8080/", nil)
			r.URL.Scheme = "https" // an absolute request target is the client's word
			r.RemoteAddr = c.from
			for k, v := range c.header {
				r.Header[k] = v
			}
			seen := false
			s.forwarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				seen = true
				if got := clientIP(r); got != netip.MustParseAddr(c.client) {
					t.Errorf("it comes from %v, want %v", got, c.client)
				}
				if got := calledURL(r); got != c.url {
					t.Errorf("it is for %s, want %s", got, c.url)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
			if !seen {
				t.Error("the request was not passed on")
			}
		})
	}
}

func TestNobodyIsTrusted(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://inside:8080/", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	New(Config{}).forwarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := clientIP(r); got != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("it comes from %v", got)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

func TestStrictTransport(t *testing.T) {
	h := New(Config{Logger: slog.New(slog.DiscardHandler), Loopback: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).Routes()
	for _, c := range []struct {
		name string
		tls  *tls.ConnectionState
		want string
	}{
		{"TLS", &tls.ConnectionState{}, "max-age=31536000"},
		{"none, which must not say so", nil, ""}, // RFC 6797, 7.2
	} {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host, r.TLS = "localhost", c.tls
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); w.Code != http.StatusOK || got != c.want {
			t.Errorf("%s: %d, %q, want %q", c.name, w.Code, got, c.want)
		}
	}
}
