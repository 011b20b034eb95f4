package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"go.uber.org/goleak"
)

var secret = []byte("a secret")

// world is a relay, and a socket that sends all back, in place of the media port.
type world struct {
	t     *testing.T
	s     *Server
	echo  netip.AddrPort // the socket
	shown netip.AddrPort // what clients are told of it
}

func newWorld(t *testing.T, more func(*Config)) *world {
	t.Helper()
	goleak.VerifyNone(t)
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [maxMessage]byte
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b[:])
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	w := &world{t: t, echo: echo.LocalAddr().(*net.UDPAddr).AddrPort()}
	w.shown = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), w.echo.Port())
	cfg := Config{
		Listen: "127.0.0.1:0", ListenTLS: "127.0.0.1:0", TLS: certificate(t), Realm: "test", Secret: secret,
		Peers: map[netip.AddrPort]netip.AddrPort{w.shown: w.echo},
	}
	if more != nil {
		more(&cfg)
	}
	if w.s, err = Listen(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
		echo.Close()
		<-done
		if s := w.s.Stats(); s.Allocations != 0 || s.Connections != 0 {
			t.Errorf("after the end there are %+v", s)
		}
		goleak.VerifyNone(t)
	})
	return w
}

// until waits for what the relay's numbers have to say, at most a minute.
func (w *world) until(what string, ok func(Stats) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(w.s.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: it does not come about: %+v", what, w.s.Stats())
		}
	}
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// dial connects to the relay over udp, tcp or tls.
func (w *world) dial(over string) net.PacketConn {
	w.t.Helper()
	at := w.s.at[over].String()
	switch over {
	case "udp":
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		return c
	case "tcp":
		c, err := net.Dial("tcp", at)
		if err != nil {
			w.t.Fatal(err)
		}
		return turn.NewSTUNConn(c)
	}
	c, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return turn.NewSTUNConn(c)
}

// client is one with a credential.
func (w *world) client(over, user, password string) *turn.Client {
	w.t.Helper()
	conn := w.dial(over)
	at := w.s.at[over].String()
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: at, TURNServerAddr: at, Username: user, Password: password, Realm: "test", Conn: conn, LoggerFactory: quiet{},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		c.Close()
		conn.Close()
	})
	return c
}

func (w *world) credential(d time.Duration) (user, password string) {
	w.t.Helper()
	user, password, err := turn.GenerateLongTermTURNRESTCredentials(string(secret), "ada", d)
	if err != nil {
		w.t.Fatal(err)
	}
	return user, password
}

func (w *world) allocate(over string) (*turn.Client, net.PacketConn) {
	w.t.Helper()
	user, password := w.credential(time.Minute)
	c := w.client(over, user, password)
	relayed, err := c.Allocate()
	if err != nil {
		w.t.Fatalf("over %s: %v", over, err)
	}
	w.t.Cleanup(func() { relayed.Close() })
	return c, relayed
}

func TestRelays(t *testing.T) {
	for _, over := range []string{"udp", "tcp", "tls"} {
		t.Run(over, func(t *testing.T) {
			w := newWorld(t, nil)
			_, relayed := w.allocate(over)
			if at := addrPort(relayed.LocalAddr()); at.Addr() != w.shown.Addr() {
				t.Errorf("the client is told of %v", at)
			}
			for i := range 20 { // the first by indications, the others by a channel
				msg := bytes.Repeat([]byte{byte(i)}, 100+i)
				if _, err := relayed.WriteTo(msg, net.UDPAddrFromAddrPort(w.shown)); err != nil {
					t.Fatal(err)
				}
				var b [maxMessage]byte
				_ = relayed.SetReadDeadline(time.Now().Add(time.Minute))
				n, from, err := relayed.ReadFrom(b[:])
				if err != nil || !bytes.Equal(b[:n], msg) || addrPort(from) != w.shown {
					t.Fatalf("message %d: %x from %v, %v", i, b[:n], from, err)
				}
			}
			s := w.s.Stats()
			if s.Allocations != 1 || s.Begun != 1 || s.Up == 0 || s.Up != s.Down || s.Denied+s.Refused+s.Throttled != 0 {
				t.Errorf("%+v", s)
			}
			if tcp := over != "udp"; (s.Connections == 1) != tcp {
				t.Errorf("%d connections", s.Connections)
			}
		})
	}
}

// Nothing but the media port can be reached.
func TestReachesNothingElse(t *testing.T) {
	w := newWorld(t, nil)
	client, relayed := w.allocate("udp")
	secretService, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer secretService.Close()
	other := secretService.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, c := range []struct {
		name, peer string
		permitted  bool // for pion's client, which asks by IP
	}{
		{"loopback", other.String(), false},
		{"loopback, by its other addresses", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), other.Port()).String(), false},
		{"the socket behind the media port", w.echo.String(), false},
		{"nowhere", netip.AddrPortFrom(netip.MustParseAddr("0.0.0.0"), other.Port()).String(), false},
		{"broadcast", "255.255.255.255:67", false},
		{"multicast", "224.0.0.251:5353", false},
		{"a private network", "10.0.0.1:53", false},
		{"another private network", "192.168.1.1:53", false},
		{"the cloud's metadata", "169.254.169.254:80", false},
		{"within IPv6", "[::ffff:127.0.0.1]:" + other.String()[len("127.0.0.1:"):], false},
		{"within IPv6, otherwise", "[::ffff:10.0.0.1]:53", false},
		{"another port of ours", netip.AddrPortFrom(w.shown.Addr(), other.Port()).String(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.s.Stats()
			peer := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(c.peer))
			if err := client.CreatePermission(peer); (err == nil) != c.permitted {
				t.Errorf("a permission: %v", err)
			}
			if _, err := relayed.WriteTo([]byte("x"), peer); (err == nil) != c.permitted {
				t.Errorf("a packet: %v", err)
			}
			w.until("it is denied", func(s Stats) bool { return s.Denied > before.Denied })
			if up := w.s.Stats().Up; up != before.Up {
				t.Errorf("%d bytes were relayed", up-before.Up)
			}
		})
	}
	_ = secretService.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := secretService.ReadFrom(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came from %v to what is no business of theirs (%v)", n, from, err)
	}
	// The rule itself, whatever pion and its client do.
	r := relayConn{UDPConn: secretService, s: w.s}
	for _, to := range []netip.AddrPort{other, w.echo, netip.AddrPortFrom(w.shown.Addr(), 1), netip.AddrPortFrom(netip.AddrFrom16(other.Addr().As16()), other.Port())} {
		before := w.s.Stats()
		if n, err := r.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(to)); n != 1 || err != nil {
			t.Errorf("%v: %d, %v", to, n, err)
		}
		if s := w.s.Stats(); s.Denied != before.Denied+1 || s.Up != before.Up {
			t.Errorf("%v: %+v", to, s)
		}
	}
}

// What others send to an allocation's socket is not taken in.
func TestTakesNothingFromElsewhere(t *testing.T) {
	w := newWorld(t, nil)
	_, relayed := w.allocate("udp")
	send := func(b string) {
		if _, err := relayed.WriteTo([]byte(b), net.UDPAddrFromAddrPort(w.shown)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		var b [maxMessage]byte
		_ = relayed.SetReadDeadline(time.Now().Add(time.Minute))
		n, _, err := relayed.ReadFrom(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	send("one")
	if got := read(); got != "one" {
		t.Errorf("%q", got)
	}
	stranger, err := net.Dial("udp4", netip.AddrPortFrom(w.echo.Addr(), addrPort(relayed.LocalAddr()).Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 3 {
		if _, err := stranger.Write([]byte("two")); err != nil {
			t.Fatal(err)
		}
	}
	send("three")
	if got := read(); got != "three" {
		t.Errorf("%q came from a stranger", got)
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, nil)
	good, password := w.credential(time.Minute)
	old, oldPassword := w.credential(-time.Second)
	for _, c := range []struct{ name, user, password string }{
		{"a wrong password", good, "x"},
		{"another's password", good + "x", password},
		{"a longer time", "9" + good, password},
		{"over", old, oldPassword},
		{"no time", "ada", password},
		{"nobody", "", ""},
	} {
		if c.user == "" {
			continue // pion's client then asks for nothing
		}
		if relayed, err := w.client("udp", c.user, c.password).Allocate(); err == nil {
			relayed.Close()
			t.Errorf("%s: it allocates", c.name)
		}
	}
	if n := w.s.Stats().Begun; n != 0 {
		t.Errorf("%d allocations", n)
	}
	// What was begun in time goes on; nothing new begins.
	for _, c := range []struct {
		method stun.Method
		want   bool
	}{{stun.MethodAllocate, false}, {stun.MethodRefresh, true}, {stun.MethodCreatePermission, true}, {stun.MethodChannelBind, true}} {
		r := &turn.RequestAttributes{Username: old, Realm: "test", Method: c.method}
		if _, _, ok := w.s.authenticate(r); ok {
			t.Errorf("%v of somebody who has nothing", c.method)
		}
		w.s.created(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, &net.UDPAddr{}, "", old, "", nil, 0)
		user, key, ok := w.s.authenticate(r)
		if ok != c.want || ok && (user != old || !bytes.Equal(key, turn.GenerateAuthKey(old, "test", oldPassword))) {
			t.Errorf("%v: %v", c.method, ok)
		}
		w.s.deleted(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, &net.UDPAddr{}, "", old, "")
	}
	if _, err := Listen(Config{Listen: "127.0.0.1:0"}); err == nil {
		t.Error("it does without a secret")
	}
}

func TestQuotas(t *testing.T) {
	for _, c := range []struct {
		name string
		more func(*Config)
	}{
		{"in all", func(c *Config) { c.MaxAllocations = 2 }},
		{"of one credential", func(c *Config) { c.PerCredential = 2 }},
		{"from one address", func(c *Config) { c.PerAddress = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.more)
			user, password := w.credential(time.Minute)
			var first net.PacketConn
			for range 2 {
				relayed, err := w.client("udp", user, password).Allocate()
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = relayed
				} else {
					t.Cleanup(func() { relayed.Close() })
				}
			}
			_, err := w.client("udp", user, password).Allocate()
			if err == nil || !strings.Contains(err.Error(), "486") {
				t.Errorf("a third: %v", err)
			}
			if s := w.s.Stats(); s.Allocations != 2 || s.Refused != 1 {
				t.Errorf("%+v", s)
			}
			if err := first.Close(); err != nil { // a refresh with lifetime 0
				t.Fatal(err)
			}
			w.until("one that was given back is gone", func(s Stats) bool { return s.Allocations == 1 })
			relayed, err := w.client("udp", user, password).Allocate()
			if err != nil {
				t.Fatalf("one has gone: %v", err)
			}
			relayed.Close()
		})
	}
}

// An allocation carries a session, and no more than that. What it gets does not come
// from a client here: that may be slower than the bound.
func TestBandwidthIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	socket, _, err := generator{w.s}.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	msg := make([]byte, 1200)
	began := time.Now()
	for w.s.Stats().Throttled == 0 && time.Since(began) < time.Minute {
		if n, err := socket.WriteTo(msg, net.UDPAddrFromAddrPort(w.shown)); n != len(msg) || err != nil {
			t.Fatal(n, err)
		}
	}
	s, most := w.s.Stats(), maxBurst+maxRate*time.Since(began).Seconds()
	if s.Throttled == 0 || float64(s.Up) > most || s.Up < maxBurst/2 {
		t.Errorf("%+v, want up to %.0f bytes", s, most)
	}
}

// A flood of requests from one address is answered for a moment and then no more;
// others, and who has an allocation at that address, do not notice.
func TestFloodOfStrangers(t *testing.T) {
	w := newWorld(t, nil)
	_, relayed := w.allocate("udp")
	flood, err := net.Dial("udp4", w.s.at["udp"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	const sent = 5 * strangerBurst
	ask := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw
	began := time.Now()
	for i := range sent {
		if _, err := flood.Write(ask); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond) // no packet is to be lost before the server
		}
	}
	answers := 0
	for b := make([]byte, maxMessage); ; {
		_ = flood.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := flood.Read(b); err == nil {
			answers++
		} else if answers >= strangerBurst/2 && w.s.Stats().Unheard > 0 || time.Since(began) > time.Minute {
			break
		}
	}
	most := strangerBurst + int(strangerRate*time.Since(began).Seconds()) + 1
	if unheard := w.s.Stats().Unheard; answers < strangerBurst/2 || answers > most || unheard == 0 {
		t.Errorf("%d of %d were answered, want up to %d; %d unheard", answers, sent, most, unheard)
	}
	if _, err := relayed.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(w.shown)); err != nil {
		t.Fatal(err)
	}
	_ = relayed.SetReadDeadline(time.Now().Add(time.Minute))
	if _, _, err := relayed.ReadFrom(make([]byte, maxMessage)); err != nil {
		t.Errorf("who has an allocation: %v", err)
	}
	c := newCrowd()
	if now := time.Now(); !c.allow(netip.MustParseAddr("192.0.2.1"), now) || !c.allow(netip.MustParseAddr("192.0.2.2"), now) {
		t.Error("strangers may say nothing")
	}
	// From ever new addresses they may say as much as all may.
	heard, now := 0, time.Now()
	for i := range 10 * crowdBurst {
		if c.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now) {
			heard++
		}
	}
	if heard != crowdBurst-2 {
		t.Errorf("%d of ever new addresses are heard, want %d", heard, crowdBurst-2)
	}
}

// Connections that ask for nothing, or for nonsense, do not stay.
func TestStrangers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Patience = 200 * time.Millisecond })
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	for _, c := range []struct {
		name string
		say  []byte
	}{
		{"nothing", nil},
		{"a binding request, then nothing", binding},
		{"half of one", binding[:10]},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a message that is too long", []byte{0, 1, 0xff, 0xff}},
		{"a channel that is none", []byte{0x40, 0, 0, 4, 1, 2, 3, 4}},
		{"a message that is too long for a channel", []byte{0x40, 0, 0xff, 0xff}},
	} {
		for _, over := range []string{"tcp", "tls"} {
			conn, err := net.Dial("tcp", w.s.at[over].String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := conn.Write(c.say); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s over %s: it stays", c.name, over)
			}
		}
	}
}

// With an allocation a connection stays longer than strangers may.
func TestStaysWithAnAllocation(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Patience = time.Second }) // in which it has to come about
	_, relayed := w.allocate("tls")
	time.Sleep(2 * w.s.cfg.Patience)
	msg := make([]byte, stunHeader) // over TCP pion waits with 4 bytes and fewer for more; no media is that short
	if _, err := relayed.WriteTo(msg, net.UDPAddrFromAddrPort(w.shown)); err != nil {
		t.Fatal(err)
	}
	_ = relayed.SetReadDeadline(time.Now().Add(time.Minute))
	if _, _, err := relayed.ReadFrom(make([]byte, maxMessage)); err != nil {
		t.Error(err)
	}
}
