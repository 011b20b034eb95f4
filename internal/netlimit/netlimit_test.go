package netlimit

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// house is a listener with limits, and the connections that it has let in.
type house struct {
	t  *testing.T
	l  net.Listener
	by *Limiter
	in chan *Conn
}

func newHouse(t *testing.T, l Limits) *house {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, by: New(l), in: make(chan *Conn, 100)}
	h.l = h.by.Listener(tcp)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := h.l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			h.in <- c.(*Conn)
		}
	}()
	t.Cleanup(func() {
		h.l.Close()
		<-done
	})
	return h
}

// knock opens a connection, and tells whether it was let in.
func (h *house) knock() (theirs net.Conn, ours *Conn) {
	h.t.Helper()
	theirs, err := net.Dial("tcp", h.l.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { theirs.Close() })
	refused := make(chan struct{})
	go func() {
		_, _ = theirs.Read(make([]byte, 1))
		close(refused)
	}()
	select {
	case ours = <-h.in:
		h.t.Cleanup(func() { ours.Close() })
		return theirs, ours
	case <-refused:
		return theirs, nil
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
	}{
		{"in all", Limits{Max: 3, Strangers: 9, PerAddress: 9, Patience: time.Minute}},
		{"strangers", Limits{Max: 9, Strangers: 3, PerAddress: 9, Patience: time.Minute}},
		{"from one address", Limits{Max: 9, Strangers: 9, PerAddress: 3, Patience: time.Minute}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, c.limits)
			var in []*Conn
			for range 3 {
				_, ours := h.knock()
				in = append(in, ours)
			}
			if _, ours := h.knock(); ours != nil {
				t.Error("a fourth is let in")
			}
			if h.by.Open() != 3 || h.by.Refused() != 1 {
				t.Errorf("%d open, %d refused", h.by.Open(), h.by.Refused())
			}
			for range 2 { // twice is once
				in[0].Close()
			}
			if _, ours := h.knock(); ours == nil {
				t.Error("one has gone, and no other is let in")
			}
			if err := errors.Join(in[1].Known(), in[1].Known()); err != nil {
				t.Error(err)
			}
			_, ours := h.knock()
			if all := c.limits.Max == 3; all == (ours != nil) {
				t.Errorf("one is known, and another is let in: %v", ours != nil)
			}
		})
	}
}

// Those that are a server's own are no strangers, and no deadline is set.
func TestOwn(t *testing.T) {
	own := netip.MustParseAddr("127.0.0.1")
	h := newHouse(t, Limits{Max: 4, Strangers: 1, PerAddress: 1, Patience: time.Millisecond, Own: func(a netip.Addr) bool { return a == own }})
	for range 4 {
		theirs, ours := h.knock()
		if ours == nil {
			t.Fatal("one of its own is not let in")
		}
		time.Sleep(2 * time.Millisecond)
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := ours.Known(); err != nil {
			t.Error(err)
		}
	}
	if _, ours := h.knock(); ours != nil {
		t.Error("there are more than there may be in all")
	}
}

// Without patience a stranger's connection stays, and counts for as long as it does.
func TestNoPatience(t *testing.T) {
	h := newHouse(t, Limits{Max: 9, Strangers: 9, PerAddress: 1})
	theirs, ours := h.knock()
	time.Sleep(5 * time.Millisecond)
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if _, second := h.knock(); second != nil {
		t.Error("another is let in")
	}
	if err := ours.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing more will be sent: %v", err)
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Errorf("the other way: %v", err)
	}
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestPatience(t *testing.T) {
	h := newHouse(t, Limits{Max: 9, Strangers: 9, PerAddress: 9, Patience: 50 * time.Millisecond})
	_, stranger := h.knock()
	friend, known := h.knock()
	if err := known.Known(); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := friend.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(known, make([]byte, 1)); err != nil {
		t.Errorf("one who is known: %v", err)
	}
}
