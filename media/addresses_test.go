package media

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParsePublicIP(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"203.0.113.5", "203.0.113.5 invalid IP"},
		{"10.0.0.5/203.0.113.5", "203.0.113.5 10.0.0.5"},
		{"2001:db8::5", "2001:db8::5 invalid IP"},
		{"fd00::5/2001:db8::5", "2001:db8::5 fd00::5"},
		{"::ffff:203.0.113.5", "203.0.113.5 invalid IP"},
		{"", "error"},
		{"meet.example", "error"},
		{"0.0.0.0", "error"},
		{"224.0.0.1", "error"},
		{"255.255.255.255", "error"},
		{"203.0.113.0/24", "error"},
		{"fd00::5/203.0.113.5", "error"},
		{"10.0.0.5/", "error"},
		{"/203.0.113.5", "error"},
	} {
		p, err := ParsePublicIP(c.text)
		got := p.Public.String() + " " + p.Local.String()
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s (%v)", c.text, got, c.want, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	sockets := []string{"127.0.0.1:8080", "[::1]:8080", "10.0.0.5:8080", "192.168.7.5:8080", "[fe80::1%eth0]:8080", "[fd00::5]:8080", "[2001:db8::5]:8080"}
	for _, c := range []struct {
		name    string
		sockets []string
		public  []string
		want    string // shown, and the socket if it is another
	}{
		{"as they are", sockets, nil, "127.0.0.1:8080 [::1]:8080 10.0.0.5:8080 192.168.7.5:8080 [fd00::5]:8080 [2001:db8::5]:8080"},
		{"one of IPv4", sockets, []string{"203.0.113.5"}, "203.0.113.5:8080=10.0.0.5:8080 [2001:db8::5]:8080"},
		{"one of each", sockets, []string{"203.0.113.5", "2001:db8:1::5"}, "203.0.113.5:8080=10.0.0.5:8080 [2001:db8:1::5]:8080=[fd00::5]:8080"},
		{"for one address", sockets, []string{"192.168.7.5/203.0.113.5"}, "203.0.113.5:8080=192.168.7.5:8080 [2001:db8::5]:8080"},
		{"for two", sockets, []string{"192.168.7.5/203.0.113.5", "10.0.0.5/203.0.113.6"},
			"203.0.113.5:8080=192.168.7.5:8080 203.0.113.6:8080=10.0.0.5:8080 [2001:db8::5]:8080"},
		{"a private one that was asked for", sockets, []string{"203.0.113.5", "10.0.0.5/10.0.0.5"},
			"203.0.113.5:8080=10.0.0.5:8080 10.0.0.5:8080 [2001:db8::5]:8080"},
		{"loopback alone", sockets[:1], []string{"203.0.113.5"}, "203.0.113.5:8080=127.0.0.1:8080"},
		{"of the other family", sockets[:1], []string{"2001:db8:1::5"}, "not 2001:db8:1::5"},
		{"for an address that is not there", sockets, []string{"10.0.0.6/203.0.113.5"}, "[2001:db8::5]:8080 not 10.0.0.6/203.0.113.5"},
	} {
		var at []netip.AddrPort
		for _, s := range c.sockets {
			at = append(at, netip.MustParseAddrPort(s))
		}
		var public []PublicIP
		for _, text := range c.public {
			p, err := ParsePublicIP(text)
			if err != nil {
				t.Fatal(err)
			}
			public = append(public, p)
		}
		all, vain := addresses(at, public)
		var got []string
		for _, a := range all {
			text := a.shown.String()
			if a.socket != a.shown {
				text += "=" + a.socket.String()
			}
			got = append(got, text)
		}
		for _, p := range vain {
			got = append(got, "not "+p.String())
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}

// With a public address an answer and a restart tell nothing of the inside, and
// name UDP before TCP.
func TestPublicIPInAnswers(t *testing.T) {
	w := newTCPWorld(t, func(c *Config) {
		c.PublicIPs = []PublicIP{{Public: netip.MustParseAddr("203.0.113.5")}}
	})
	w.begin()
	udp, tcp := w.engine.muxes[0].at.Port(), w.engine.tcp.sockets[0].Port()
	fragment := "a=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
	f, err := ParseFragment(fragment)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.engine.Patch(t.Context(), "session", f, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"answer": w.answer, "restart": again.SDP} {
		var got []string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "a=candidate:") {
				f := strings.Fields(line)
				got = append(got, strings.Join(slices.Concat(f[1:3], f[4:]), " "))
			}
		}
		want := []string{
			fmt.Sprintf("1 udp 203.0.113.5 %d typ host", udp),
			fmt.Sprintf("1 tcp 203.0.113.5 %d typ host tcptype passive", tcp),
		}
		if !slices.Equal(got, want) {
			t.Errorf("the %s has %q, want %q", name, got, want)
		}
		if strings.Contains(text, "127.0.0.1") {
			t.Errorf("the %s tells of the inside: %s", name, text)
		}
	}
	if peers := w.engine.Peers(); len(peers) != 1 || peers[netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), udp)] != w.engine.muxes[0].at {
		t.Errorf("peers are %v", peers)
	}
}
