package media

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

// muxWorld is a mux on loopback, and two clients of it.
type muxWorld struct {
	t       *testing.T
	m       *mux
	dropped atomic.Uint64
	clients [2]*net.UDPConn
}

func newMuxWorld(t *testing.T) *muxWorld {
	w := &muxWorld{t: t}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	w.m = newMux(socket, &w.dropped)
	for i := range w.clients {
		if w.clients[i], err = net.DialUDP("udp", nil, socket.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.clients[i].Close() })
	}
	t.Cleanup(func() {
		for range 2 { // twice is once
			if err := w.m.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func (w *muxWorld) session(name string) *muxConn {
	c, err := w.m.conn(name, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *muxWorld) addr(i int) netip.AddrPort {
	return w.clients[i].LocalAddr().(*net.UDPAddr).AddrPort()
}

func (w *muxWorld) send(i int, b []byte) {
	if _, err := w.clients[i].Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// gets waits until a session has got that datagram, and nothing before it.
func (w *muxWorld) gets(c *muxConn, want []byte, from int) {
	w.t.Helper()
	late := time.AfterFunc(10*time.Second, func() { c.Close() })
	defer late.Stop()
	var b [receiveMTU]byte
	n, addr, err := c.ReadFromAddrPort(b[:])
	if err != nil || !bytes.Equal(b[:n], want) || addr != w.addr(from) {
		w.t.Fatalf("session %s got %x from %v (%v), want %x from %v", c.name, b[:n], addr, err, want, w.addr(from))
	}
}

func check(name string) []byte {
	return stun.MustBuild(stun.BindingRequest, stun.NewUsername(name+":theirs")).Raw
}

func response() []byte { return stun.MustBuild(stun.BindingSuccess).Raw }

func TestDatagramsFindTheirSession(t *testing.T) {
	w := newMuxWorld(t)
	one, two := w.session("one"), w.session("two")
	media := []byte{0x80, 111, 1, 2, 3}
	w.send(0, media)           // from nobody
	w.send(0, check("nobody")) // to nobody
	w.send(0, check("one"))
	w.gets(one, check("one"), 0)
	write := func(c *muxConn, b []byte, to int) {
		if _, err := c.WriteToAddrPort(b, w.addr(to)); err != nil {
			t.Fatal(err)
		}
	}
	write(one, response(), 0)
	w.send(0, media)
	w.gets(one, media, 0)

	// Another session that is told of the address as a candidate gets nothing
	// from it, but what it is asked for by name.
	write(two, check("theirs"), 0)
	w.send(0, media)
	w.gets(one, media, 0)
	w.send(0, check("two"))
	w.gets(two, check("two"), 0)
	w.send(0, media)
	w.gets(one, media, 0)
	// Now it has answered: the client is its own.
	write(two, response(), 0)
	w.send(0, media)
	w.gets(two, media, 0)

	w.m.remove("two")
	w.send(0, media)
	w.send(0, check("two"))
	w.send(0, check("one"))
	w.gets(one, check("one"), 0)
	if n := w.dropped.Load(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// Whoever forges another client's address in checks of a session of their own does not
// get what that client sends, nor keep it from its session.
func TestForgedChecksTakeNothing(t *testing.T) {
	w := newMuxWorld(t)
	conns := [2]*muxConn{}
	for i, name := range []string{"victim", "attacker"} {
		c, err := w.m.conn(name, &Session{})
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	victim, attacker := conns[0], conns[1]
	answer := func(c *muxConn) {
		w.send(0, check(c.name))
		w.gets(c, check(c.name), 0)
		if _, err := c.WriteToAddrPort(response(), w.addr(0)); err != nil {
			t.Fatal(err)
		}
	}
	media := []byte{0x80, 111, 1, 2, 3}
	answer(victim)
	for range 3 {
		answer(attacker)
		w.send(0, media)
		w.gets(victim, media, 0)
	}
	// A client that has stopped to check, and one that has been started anew there.
	w.m.mu.Lock()
	victim.addrs[w.addr(0)] = time.Now().Add(-kept)
	w.m.mu.Unlock()
	answer(attacker)
	w.send(0, media)
	w.gets(attacker, media, 0)
	// Another ICE session of the same client takes over at once: ICE was restarted.
	again, err := w.m.conn("again", attacker.s)
	if err != nil {
		t.Fatal(err)
	}
	answer(again)
	w.send(0, media)
	w.gets(again, media, 0)
}

// A session that takes nothing in, or is sent too much STUN, costs the others
// nothing.
func TestQueuesAreBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		b       []byte
		n       int
		room    int
		atLeast uint64
	}{
		{"media", []byte{0x80, 111}, muxQueue + 100, muxQueue, 100},
		{"STUN", check("slow"), muxQueue + stunBurst, muxQueue, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newMuxWorld(t)
			slow, other := w.session("slow"), w.session("other")
			for i, s := range []*muxConn{slow, other} {
				if _, err := s.WriteToAddrPort(response(), w.addr(i)); err != nil {
					t.Fatal(err)
				}
			}
			for range c.n {
				w.send(0, c.b)
				w.send(1, []byte{0x80}) // keeps the pace, so that the system drops none
				w.gets(other, []byte{0x80}, 1)
			}
			if n := len(slow.queue); n != c.room {
				t.Errorf("%d datagrams are queued, want %d", n, c.room)
			}
			if n := w.dropped.Load(); n < c.atLeast {
				t.Errorf("%d datagrams count as dropped, want %d", n, c.atLeast)
			}
		})
	}
}

// Checks beyond what an ICE session may get are dropped.
func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		m := &mux{byName: map[string]*muxConn{}, dropped: &dropped, buffers: sync.Pool{New: func() any { return new([receiveMTU]byte) }}}
		c, err := m.conn("one", nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, receiveMTU)
		for range 10 * maxSTUN { // ten times as many as it may
			time.Sleep(time.Second / (10 * maxSTUN))
			c.put(check("one"), netip.AddrPort{})
			if len(c.queue) > 0 {
				if _, _, err := c.ReadFrom(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := 10*maxSTUN - dropped.Load(); got < stunBurst || got > stunBurst+maxSTUN+1 {
			t.Errorf("%d checks got through in a second", got)
		}
	})
}

// A mux that is closed leaves nobody waiting.
func TestClosedMux(t *testing.T) {
	w := newMuxWorld(t)
	c := w.session("one")
	read := make(chan error)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 10))
		read <- err
	}()
	if err := w.m.Close(); err != nil {
		t.Error(err)
	}
	if <-read == nil {
		t.Error("a read of a closed connection succeeded")
	}
	if _, err := c.WriteTo([]byte{1}, w.clients[0].LocalAddr()); err == nil {
		t.Error("a write to a closed connection succeeded")
	}
	if _, err := w.m.conn("two", nil); err == nil {
		t.Error("a closed mux gave a connection")
	}
}

// Datagrams of any kind are for nobody or for someone who is there.
func FuzzRoute(f *testing.F) {
	at := netip.MustParseAddrPort("192.0.2.1:9")
	for _, b := range [][]byte{check("one"), check("two"), response(), {0x80, 111}, {}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &mux{byName: map[string]*muxConn{}, byAddr: map[netip.AddrPort]*muxConn{}}
		one := &muxConn{m: m, name: "one", closed: make(chan struct{}), addrs: map[netip.AddrPort]time.Time{}}
		m.byName["one"] = one
		m.claim(one, at, nil)
		var msg stun.Message
		if c := m.route(b, at, &msg); c != nil && c != one {
			t.Errorf("it is for %v", c)
		}
		if c := m.route(b, netip.AddrPort{}, &msg); c != nil && stunType(b) != stunRequest {
			t.Error("an unknown address found a session without naming it")
		}
	})
}
