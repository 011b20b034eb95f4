package main

import (
	"bufio"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConnectionLimits(t *testing.T) {
	for name, c := range map[string]struct {
		flags limitFlags
		files int

		max, strangers, each int
	}{
		"the defaults":               {limitFlags{}, math.MaxInt32, 20000, 18750, 1000},
		"systemd's files":            {limitFlags{}, 65536, 20000, 18750, 1000},
		"few files":                  {limitFlags{}, 1024, 512, 480, 120},
		"hardly any files":           {limitFlags{}, 1, 2, 1, 1},
		"flags":                      {limitFlags{MaxConnections: 3000, MaxConnectionsPerAddress: 50}, 65536, 3000, 2812, 50},
		"one address might have all": {limitFlags{MaxConnections: 800, MaxConnectionsPerAddress: 5000}, 65536, 800, 750, 187},
		"one address may have all":   {limitFlags{MaxConnections: 800, MaxConnectionsPerAddress: -1}, 65536, 800, 750, 750},
		"as many as there are files": {limitFlags{MaxConnections: -1}, 65536, 32768, 30720, 1000},
		"more than there are files":  {limitFlags{MaxConnections: 100_000}, 65536, 32768, 30720, 1000},
		"one":                        {limitFlags{MaxConnections: 1}, 65536, 1, 1, 1},
	} {
		l := c.flags.connections(c.files, nil)
		if l.Max != c.max || l.Strangers != c.strangers || l.PerAddress != c.each || l.Patience != 0 {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if n := maxFiles(); n < 3 {
		t.Errorf("this process may have %d files open", n)
	}
}

// This machine and its proxies are not limited; nobody else is let go by.
func TestOwnAddresses(t *testing.T) {
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	for name, c := range map[string]struct {
		flags tlsFlags
		own   string
		not   string
	}{
		"no proxy":               {tlsFlags{}, "127.0.0.1 127.9.9.9 ::1", "10.0.0.1 192.0.2.1 2001:db8::1 fe80::1"},
		"a proxy on the machine": {tlsFlags{BehindProxy: true}, "127.0.0.1 ::1", "10.0.0.1"},
		"a proxy elsewhere":      {tlsFlags{TrustedProxy: []netip.Prefix{proxy}}, "127.0.0.1 ::1 10.255.0.1", "11.0.0.1 2001:db8::1"},
	} {
		for text, want := range map[string]bool{c.own: true, c.not: false} {
			for address := range strings.FieldsSeq(text) {
				if got := c.flags.own(netip.MustParseAddr(address)); got != want {
					t.Errorf("%s: %s is let go by: %v", name, address, got)
				}
			}
		}
	}
}

// A server takes so many connections and no more, says so in its metrics, and takes
// others when some have gone.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 12
	s := serve(t, t.TempDir(), "none:", "--max-connections", "12")
	s.scrape() // by a connection that is kept
	// knock opens a connection that is kept, and is nil if the server has closed it.
	knock := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return nil
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s", resp.Status)
		}
		return c
	}
	var kept []net.Conn
	for c := knock(); c != nil; c = knock() {
		if kept = append(kept, c); len(kept) > most {
			t.Fatalf("%d connections", len(kept))
		}
	}
	if len(kept) < most-3 { // the tests' own clients have some
		t.Errorf("%d connections, and then no more", len(kept))
	}
	now := s.scrape()
	if now["verbatim_limit_refusals_total{limit=connections}"] != 1 || now["verbatim_limit_used{limit=connections}"] != most {
		t.Errorf("counted: %v refused, %v there", now["verbatim_limit_refusals_total{limit=connections}"], now["verbatim_limit_used{limit=connections}"])
	}
	kept[0].Close()
	for began := time.Now(); knock() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("one has gone, and no other is let in")
		}
	}
	s.stop()
}
