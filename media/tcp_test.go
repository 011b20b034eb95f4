package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/signaling/whipclient"
)

// tcpWorld is an engine on loopback that takes TCP, too.
type tcpWorld struct {
	t      *testing.T
	engine *Engine
	log    *memoryLog
	answer string // the last
}

func newTCPWorld(t *testing.T, more func(*Config)) *tcpWorld {
	t.Helper()
	w := &tcpWorld{t: t, log: &memoryLog{closed: make(chan audio.Reason, 10)}}
	cfg := Config{Listen: "127.0.0.1:0", ListenTCP: "127.0.0.1:0", Sink: w.log, NoDirect: os.Getenv(throughPion) != ""}
	if more != nil {
		more(&cfg)
	}
	var err error
	if w.engine, err = Listen(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := w.engine.Stats().TCPConnections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return w
}

func (w *tcpWorld) accept(ctx context.Context, text string) (string, error) {
	o, err := ParseOffer(text)
	if err != nil {
		return "", err
	}
	a, err := w.engine.Accept(ctx, o, func() (string, error) { return "session", nil })
	w.answer = a.SDP
	return a.SDP, err
}

// takenIn is what the engine makes of a sentence that a client sends.
func (w *tcpWorld) takenIn(tcp bool) (ps []audio.Packet) {
	w.t.Helper()
	o := whipclient.Options{Loopback: true, Sequence: 65530}
	if tcp {
		o = whipclient.Options{Via: whipclient.ByTCP, Sequence: 65530}
	}
	conn, err := whipclient.Connect(w.t.Context(), o, w.accept)
	if err != nil {
		w.t.Fatal(err)
	}
	for p, err := range whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0880"))) {
		if err != nil {
			w.t.Fatal(err)
		}
		if err := conn.Send(p.Payload, p.Ticks); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // much faster than real time, slower than any buffer
	}
	stats := w.engine.Stats()
	if (stats.TCPConnections > 0) != tcp {
		w.t.Errorf("%d connections over TCP", stats.TCPConnections)
	}
	time.Sleep(100 * time.Millisecond)
	w.engine.CloseSession("session", audio.ReasonLeft)
	<-w.log.closed
	if err := conn.Close(); err != nil {
		w.t.Error(err)
	}
	for _, p := range w.log.packets {
		p.At = time.Time{}
		ps = append(ps, p)
	}
	return ps
}

// What comes over TCP is what comes over UDP, packet by packet, directly and
// through pion.
func TestTCPEqualsUDP(t *testing.T) {
	for name, noDirect := range map[string]bool{"direct": false, "through pion": true} {
		t.Run(name, func(t *testing.T) {
			with := func(c *Config) { c.NoDirect = noDirect }
			udp, tcp := newTCPWorld(t, with).takenIn(false), newTCPWorld(t, with).takenIn(true)
			if len(udp) < 50 {
				t.Fatalf("%d packets over UDP", len(udp))
			}
			if !reflect.DeepEqual(udp, tcp) {
				t.Errorf("%d packets over UDP, %d over TCP, and they are not the same", len(udp), len(tcp))
			}
		})
	}
}

// framed is a message as it is sent over TCP.
func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// checkFrom is a STUN request for a user, with what else is in it.
func checkFrom(user string, more ...stun.Setter) []byte {
	m := stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(user)}, more...)...)
	return framed(m.Raw)
}

// signed is checkFrom by who knows that password.
func signed(user, password string) []byte {
	return checkFrom(user, stun.NewShortTermIntegrity(password), stun.Fingerprint)
}

func (w *tcpWorld) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.engine.tcp.sockets[0].String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// ends waits for the other side to end a connection.
func (w *tcpWorld) ends(name string, c net.Conn) {
	w.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Errorf("%s: the connection stays", name)
	}
}

// begin makes a session that waits for its client, and gives our user name and our
// password in it.
func (w *tcpWorld) begin() (ufrag, password string) {
	w.t.Helper()
	if _, err := w.accept(w.t.Context(), head+gstreamer); err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(w.answer) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
		case "a=ice-ufrag":
			ufrag = value
		case "a=ice-pwd":
			password = value
		}
	}
	if ufrag == "" || password == "" {
		w.t.Fatal("the answer has no user name, or no password")
	}
	return ufrag, password
}

// Strangers are sent away at once, or when they have said nothing for long.
func TestTCPStrangers(t *testing.T) {
	w := newTCPWorld(t, func(c *Config) { c.TCPTimeout = 300 * time.Millisecond })
	ufrag, password := w.begin()
	name := ufrag + ":x"
	for _, c := range []struct {
		name string
		say  []byte
	}{
		{"the name alone", checkFrom(name)},
		{"the name with a signature that is none", checkFrom(name, stun.RawAttribute{Type: stun.AttrMessageIntegrity, Value: []byte("x")})},
		{"the name with another password", signed(name, password+"x")},
		{"the name with no password", signed(name, "")},
		{"another name with the password", signed("nobody:x", password)},
		{"nothing", nil},
		{"half a length", []byte{0}},
		{"half a message", signed(name, password)[:20]},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"another user", checkFrom("nobody:x")},
		{"no user", framed(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)},
		{"RTP", framed(append([]byte{0x80, 111}, make([]byte, 50)...))},
		{"nothing in a frame", framed(nil)},
		{"too long", framed(make([]byte, receiveMTU))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := w.dial()
			if _, err := conn.Write(c.say); err != nil {
				t.Fatal(err)
			}
			w.ends(c.name, conn)
		})
	}
}

// A session has so many connections and no more, whatever they say once they have
// shown that they are its client's, and they end with it.
func TestTCPConnectionsOfOneSession(t *testing.T) {
	w := newTCPWorld(t, nil)
	name, password := w.begin()
	name += ":x"
	r := rand.New(rand.NewPCG(1, 2))
	for range maxTCPPerSession {
		conn := w.dial()
		junk := signed(name, password)
		for range 50 {
			b := make([]byte, r.IntN(100))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			junk = append(junk, framed(b)...)
		}
		if _, err := conn.Write(junk); err != nil {
			t.Fatal(err)
		}
	}
	known := func() (n int) {
		c := w.engine.tcp.find(strings.TrimSuffix(name, ":x"), w.engine.tcp.sockets[0].Addr())
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		return len(c.tcp)
	}
	for deadline := time.Now().Add(time.Minute); known() < maxTCPPerSession; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections belong to the session", known())
		}
	}
	more := w.dial()
	if _, err := more.Write(signed(name, password)); err != nil {
		t.Fatal(err)
	}
	w.ends("one too many", more)
	if n, begun := known(), w.engine.Stats().TCPBegun; n != maxTCPPerSession || begun != maxTCPPerSession {
		t.Errorf("%d connections belong to the session, %d did", n, begun)
	}
	w.engine.CloseSession("session", audio.ReasonLeft)
	<-w.log.closed
	for deadline := time.Now().Add(time.Minute); w.engine.Stats().TCPConnections > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections outlive their session", w.engine.Stats().TCPConnections)
		}
	}
}

// What strangers open is bounded, and counted.
func TestTCPIsBounded(t *testing.T) {
	w := newTCPWorld(t, nil)
	for range maxTCPPerAddress + 5 {
		w.dial()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s := w.engine.Stats()
		if s.TCPConnections == maxTCPPerAddress && s.TCPRefused == 5 && s.TCPBegun == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, %d refused", s.TCPConnections, s.TCPRefused)
		}
	}
}

// A client that reads nothing makes nobody wait, and what it is told is bounded.
func TestTCPClientThatDoesNotRead(t *testing.T) {
	c := &tcpConn{t: &tcpMux{dropped: new(atomic.Uint64)}, out: make(chan []byte, tcpQueue), ended: make(chan struct{})}
	for range tcpQueue + 3 { // nobody sends
		if n, err := c.write([]byte("x")); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := c.t.dropped.Load(); n != 3 {
		t.Errorf("%d were dropped", n)
	}
	if got := <-c.out; !bytes.Equal(got, framed([]byte("x"))) {
		t.Errorf("%x is sent", got)
	}
}

// takenTCP has a port whose number is free for UDP.
func takenTCP(t *testing.T) net.Listener {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if u, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			u.Close()
			return l
		}
	}
	t.Fatal("no number is free")
	return nil
}

// A port that something else has is done without if nobody asked for it.
func TestTCPPortThatIsTaken(t *testing.T) {
	l := takenTCP(t)
	at := l.Addr().String()
	w := newTCPWorld(t, func(c *Config) { c.Listen, c.ListenTCP = at, SamePort })
	w.begin()
	if strings.Contains(w.answer, "tcptype") {
		t.Errorf("there is a candidate for a port that another has: %s", w.answer)
	}
	if _, err := Listen(Config{Listen: "127.0.0.1:0", ListenTCP: at, Sink: w.log}); err == nil {
		t.Error("a port that was asked for is done without")
	}
	other := newTCPWorld(t, func(c *Config) { c.ListenTCP = "127.0.0.1:0" })
	other.begin()
	if !strings.Contains(other.answer, "tcptype passive") {
		t.Errorf("there is no candidate for TCP: %s", other.answer)
	}
	none := newTCPWorld(t, func(c *Config) { c.ListenTCP = "" })
	none.begin()
	if strings.Contains(none.answer, "tcptype") {
		t.Errorf("there is a candidate for TCP: %s", none.answer)
	}
}
