package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5/vnet"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/signaling/whipclient"
)

// anyTag is the precondition of a restart.
func anyTag(string) bool { return true }

// patch is the client's way to the engine.
func (w *world) patch(ctx context.Context, text string, restart bool) (string, error) {
	f, err := ParseFragment(text)
	if err != nil {
		return "", err
	}
	var match func(string) bool
	if restart {
		match = anyTag
	}
	a, err := w.engine.Patch(ctx, "session", f, match)
	if err == nil && (a.SDP == "") == restart {
		return "", fmt.Errorf("restart %v was answered with %q", restart, a.SDP)
	}
	return a.SDP, err
}

// Audio before, during and after restarts is one track, sample for sample what
// was sent.
func TestRestartIsBitExact(t *testing.T) {
	for _, trickle := range []bool{false, true} {
		t.Run(fmt.Sprintf("trickle %v", trickle), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				conn := w.connectBy(trickle)
				tags := map[string]bool{w.tag(): true}
				var restarts int
				done := make(chan struct{})
				go func() {
					defer close(done)
					for range 5 {
						time.Sleep(1500 * time.Millisecond)
						if err := conn.Restart(t.Context()); err != nil {
							t.Error(err)
							return
						}
						tags[w.tag()] = true
						restarts++
						time.Sleep(restartEvery)
					}
				}()
				for range 3 {
					if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
						t.Fatal(err)
					}
				}
				<-done
				if restarts != 5 || len(tags) != 6 {
					t.Errorf("%d restarts, %d tags", restarts, len(tags))
				}
				w.engine.CloseSession("session", audio.ReasonLeft)
				if r := <-w.log.closed; r != audio.ReasonLeft {
					t.Errorf("closed as %v, want left", r)
				}
				want := slices.Repeat(sentPackets(t), 3)
				got := w.log.packets
				if len(got) != len(want)+1 || w.log.opened != 1 {
					t.Fatalf("%d packets on %d tracks came out of %d sent", len(got)-1, w.log.opened, len(want))
				}
				checkExact(t, got, want)
				checkLog(t, got)
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				w.stop()
			})
		})
	}
}

// renumber gives what a client sends the SSRC that it holds, if any.
type renumber struct {
	interceptor.NoOp
	ssrc atomic.Uint32
}

func (r *renumber) NewInterceptor(string) (interceptor.Interceptor, error) { return r, nil }

func (r *renumber) BindLocalStream(_ *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if ssrc := r.ssrc.Load(); ssrc != 0 {
			h.SSRC = ssrc
		}
		return w.Write(h, payload, a)
	})
}

// A client that takes another SSRC is heard on the same track, between restarts
// and after them.
func TestRestartAndAnotherSSRC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := &renumber{}
		w.interceptors = &interceptor.Registry{}
		w.interceptors.Add(r)
		conn := w.connect()
		packets := sentPackets(t)[:8]
		for i, p := range packets {
			r.ssrc.Store(uint32(1000 + i/2)) // two packets each
			if i%3 == 1 {
				if err := conn.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Send(p.Payload, p.Samples); err != nil {
				t.Fatal(err)
			}
			time.Sleep(restartEvery)
		}
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		var got []audio.Packet
		for _, p := range w.log.packets {
			if p.Kind == audio.Coded {
				got = append(got, p)
			}
		}
		if !slices.EqualFunc(got, packets, func(a, b audio.Packet) bool { return bytes.Equal(a.Payload, b.Payload) }) || w.log.opened != 1 {
			t.Errorf("%d packets on %d tracks came out of %d sent", len(got), w.log.opened, len(packets))
		}
		checkLog(t, w.log.packets)
		_ = conn.Close()
		w.stop()
	})
}

func (w *world) session() *Session {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	return w.engine.sessions["session"]
}

func (w *world) tag() string {
	s := w.session()
	s.ice.mu.Lock()
	defer s.ice.mu.Unlock()
	return s.ice.tag
}

// credentialsOf makes a fragment of a restart.
func credentialsOf(n int) string {
	return fmt.Sprintf("a=ice-ufrag:abcd%d\r\na=ice-pwd:0123456789012345678901%d\r\n", n, n)
}

// A restart that leads to no connection ends the session in time, and so do
// restarts one after the other, which is how a client could try to stay.
func TestRestartThatNeverConnects(t *testing.T) {
	for _, c := range []struct {
		name     string
		restarts int
		pause    time.Duration
	}{
		{"one", 1, 0},
		{"one after the other", 8, restartEvery},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				conn := w.connect()
				p := sentPackets(t)[0]
				if err := conn.Send(p.Payload, p.Samples); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				start := time.Now()
				for i := range c.restarts {
					if _, err := w.patch(t.Context(), credentialsOf(i), true); err != nil && !errors.Is(err, ErrNoSession) {
						t.Fatal(err)
					}
					time.Sleep(c.pause)
				}
				if r := <-w.log.closed; r != audio.ReasonTimeout {
					t.Errorf("closed as %v, want timeout", r)
				}
				if d := time.Since(start); c.restarts == 1 && d > 21*time.Second {
					t.Errorf("after %v, want 20 s", d)
				}
				if _, err := w.patch(t.Context(), credentialsOf(99), true); !errors.Is(err, ErrNoSession) {
					t.Errorf("a restart of a session that is over: %v", err)
				}
				checkLog(t, w.log.packets)
				_ = conn.Close()
				w.stop()
			})
		})
	}
}

// Sessions whose client never comes, or from one moment on says nothing more,
// end by timers, whatever it was doing.
func TestSilentTransports(t *testing.T) {
	cut := func(w *world) { w.router.AddChunkFilter(func(vnet.Chunk) bool { return false }) }
	for _, c := range []struct {
		name    string
		act     func(t *testing.T, w *world, conn *whipclient.Conn)
		least   time.Duration // after act
		most    time.Duration
		packets int
	}{
		{"cut off", func(_ *testing.T, w *world, _ *whipclient.Conn) { cut(w) }, 19 * time.Second, 23 * time.Second, 2},
		{"cut off before a restart", func(t *testing.T, w *world, conn *whipclient.Conn) {
			cut(w)
			if err := conn.Restart(t.Context()); err == nil {
				t.Error("restarted over nothing")
			}
		}, 4 * time.Second, 6 * time.Second, 2}, // the client gave up after 15 s
		{"cut off, restarted in time", func(t *testing.T, w *world, conn *whipclient.Conn) {
			var off atomic.Bool
			w.router.AddChunkFilter(func(vnet.Chunk) bool { return off.Load() })
			time.Sleep(4 * time.Second)
			off.Store(true)
			if err := conn.Restart(t.Context()); err != nil {
				t.Error(err)
			}
			p := sentPackets(t)[0]
			if err := conn.Send(p.Payload, p.Samples); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if w.engine.Sessions() != 1 {
				t.Error("the session did not go on")
			}
			cut(w)
		}, 19 * time.Second, 23 * time.Second, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				conn := w.connect()
				p := sentPackets(t)[0]
				if err := conn.Send(p.Payload, p.Samples); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				c.act(t, w, conn)
				start := time.Now()
				if r := <-w.log.closed; r != audio.ReasonTimeout {
					t.Errorf("closed as %v, want timeout", r)
				}
				if d := time.Since(start); d < c.least || d > c.most {
					t.Errorf("after %v, want %v to %v", d, c.least, c.most)
				}
				if n := len(w.log.packets); n != c.packets {
					t.Errorf("%d packets, want %d", n, c.packets)
				}
				checkLog(t, w.log.packets)
				_ = conn.Close()
				w.stop()
			})
		})
	}
	t.Run("nobody comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			o, err := ParseOffer(head + chromium)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := w.engine.Accept(t.Context(), o, func() (string, error) { return "session", nil }); err != nil {
				t.Fatal(err)
			}
			for i := range 3 { // which does not help
				time.Sleep(restartEvery)
				if _, err := w.patch(t.Context(), credentialsOf(i), true); err != nil {
					t.Error(err)
				}
			}
			if r := <-w.log.closed; r != audio.ReasonTimeout || w.log.opened != 0 {
				t.Errorf("closed as %v with %d tracks", r, w.log.opened)
			}
			if d := time.Since(start); d > 31*time.Second {
				t.Errorf("it took %v", d)
			}
			w.stop()
		})
	})
}

// What a client may say about its ICE, and how often.
func TestPatch(t *testing.T) {
	const candidate = "a=candidate:1 1 udp 2122260223 10.0.0.%d 61764 typ host\r\n"
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn := w.connect()
		s := w.session()
		ufrag, pwd := credentials(&s.ice.offer)
		ours := "a=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + pwd + "\r\n"
		tag := w.tag()
		is := func(want string) func(string) bool { return func(got string) bool { return got == want } }
		var many strings.Builder
		for i := range 100 {
			fmt.Fprintf(&many, candidate, i+2)
		}
		for _, c := range []struct {
			name, text string
			match      func(string) bool
			want       error
			ignored    int
		}{
			{name: "a candidate", text: ours + "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n" + fmt.Sprintf(candidate, 77)},
			{name: "a candidate, no credentials", text: fmt.Sprintf(candidate, 78)},
			{name: "the right tag", text: ours + fmt.Sprintf(candidate, 79), match: is(tag)},
			{name: "any tag", text: ours, match: anyTag},
			{name: "another tag", text: ours, match: is("other"), want: ErrOtherICESession},
			{name: "the end", text: ours + "a=end-of-candidates\r\n"},
			{name: "an ICE session before", text: credentialsOf(0) + fmt.Sprintf(candidate, 80), want: ErrOtherICESession},
			{name: "half a restart", text: "a=ice-ufrag:abcdefg\r\n", match: anyTag, want: ErrMalformedFragment},
			{name: "another section", text: ours + "m=video 9 RTP/AVP 0\r\na=mid:1\r\n" + fmt.Sprintf(candidate, 81), ignored: 1},
			{
				name: "names, TCP, RTCP, nobody's and everybody's addresses", ignored: 10,
				text: "a=candidate:1 1 udp 1 7d4f1f1a-5b5e-4c7e-a6f6-8a1c2f0e3d4b.local 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 probe.example.com 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 x.invalid 61764 typ host\r\n" +
					"a=candidate:1 1 tcp 1 10.0.0.9 9 typ host tcptype active\r\n" +
					"a=candidate:1 2 udp 1 10.0.0.9 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 10.0.0.9 0 typ host\r\n" +
					"a=candidate:1 1 udp 1 0.0.0.0 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 255.255.255.255 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 ::ffff:224.0.0.1 61764 typ host\r\n" +
					"a=candidate:1 1 udp 1 fe80::1%lo 61764 typ host\r\n",
			},
			{name: "a candidate of an ICE session before", ignored: 1, text: ours +
				"a=candidate:1 1 udp 1 10.0.0.9 61764 typ host generation 0 ufrag EsAw network-id 1\r\n" +
				"a=candidate:1 1 udp 1 10.0.0.9 61764 typ host generation 0 ufrag " + ufrag + "\r\n"},
			{name: "too many", text: many.String(), ignored: 100 - (s.ice.room - 4)},
		} {
			f, err := ParseFragment(c.text)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			before := s.ice.ignored.Load()
			if _, err = w.engine.Patch(t.Context(), "session", f, c.match); !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.want)
			}
			if got := int(s.ice.ignored.Load() - before); got != c.ignored {
				t.Errorf("%s: %d candidates were ignored, want %d", c.name, got, c.ignored)
			}
		}
		if w.tag() != tag {
			t.Error("the ICE session is another, though nothing restarted it")
		}
		for i := range maxRestarts + 1 {
			f, err := ParseFragment(credentialsOf(i))
			if err != nil {
				t.Fatal(err)
			}
			a, err := w.engine.Patch(t.Context(), "session", f, anyTag)
			if want := i < maxRestarts; (err == nil) != want || !want && !errors.Is(err, ErrTooManyRestarts) {
				t.Errorf("restart %d: %v", i, err)
			}
			if err != nil {
				continue
			}
			for _, line := range []string{"m=audio ", "a=mid:0\r\n", "a=ice-ufrag:" + a.Tag + "\r\n", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates\r\n"} {
				if !strings.Contains(a.SDP, line) {
					t.Errorf("the answer lacks %q: %s", line, a.SDP)
				}
			}
			if strings.Count(a.SDP, "a=candidate:") != 1 {
				t.Errorf("not one candidate: %s", a.SDP)
			}
		}
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		_ = conn.Close()
		w.stop()
	})
}

// A client whose STUN comes from ever more addresses does not make us remember
// them all.
func TestAddressesOfAClientAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn := w.connect()
		s := w.session()
		port := 0
		for s.endReason() == 0 && port < 2*maxRemotes {
			port++
			s.seen(nil, nil, prflx(t, port), nil)
			s.seen(nil, nil, prflx(t, port), nil)
		}
		if port > maxRemotes+1 || port < maxRemotes-1 { // it has addresses of its own
			t.Errorf("ended after %d addresses", port)
		}
		if r := <-w.log.closed; r != audio.ReasonServer {
			t.Errorf("closed as %v, want server", r)
		}
		_ = conn.Close()
		w.stop()
	})
}

// On real sockets: each ICE session is served by the one port, and what the one
// before used is freed.
func TestRestartsFreeWhatWasBefore(t *testing.T) {
	log := &memoryLog{closed: make(chan audio.Reason, 1)}
	w := &world{t: t, log: log}
	var err error
	if w.engine, err = Listen(Config{Listen: "127.0.0.1:0", Sink: log}); err != nil {
		t.Fatal(err)
	}
	conn, err := whipclient.Connect(t.Context(), whipclient.Options{Patch: w.patch}, func(ctx context.Context, text string) (string, error) {
		o, err := ParseOffer(text)
		if err != nil {
			return "", err
		}
		a, err := w.engine.Accept(ctx, o, func() (string, error) { return "session", nil })
		return a.SDP, err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.session().ice.begun.SetBurst(100)
	w.session().ice.begun.SetLimit(1000)
	var before int
	packets := sentPackets(t)
	for i, p := range packets[:20] {
		if err := conn.Restart(t.Context()); err != nil {
			t.Fatalf("restart %d: %v", i, err)
		}
		if err := conn.Send(p.Payload, p.Samples); err != nil {
			t.Fatal(err)
		}
		log.await(t, i+1) // else the restart may come before the packet
		if i == 4 {
			before = runtime.NumGoroutine()
		}
	}
	for range 50 { // goroutines of the last restart may be on their way out
		if runtime.NumGoroutine() <= before {
			break
		}
		runtime.Gosched()
		_, _ = net.LookupPort("udp", "9")
	}
	if n := runtime.NumGoroutine(); n > before+10 {
		t.Errorf("%d goroutines after 20 restarts, %d after 5", n, before)
	}
	w.engine.CloseSession("session", audio.ReasonLeft)
	<-log.closed
	if got := len(log.packets); got != 21 {
		t.Errorf("%d packets, want 20 and the end", got)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := w.engine.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// await waits until so many packets are in the log.
func (l *memoryLog) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		l.mu.Lock()
		got := len(l.packets)
		l.mu.Unlock()
		if got >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d packets in the log, want %d", got, n)
		}
	}
}

// A bad offer ends before anybody is told to join.
func TestJoinComesAfterTheAnswer(t *testing.T) {
	e, err := Listen(Config{Listen: "127.0.0.1:0", Sink: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	joined := false
	join := func() (string, error) {
		joined = true
		return "", errors.New("no room")
	}
	// Fingerprints that are no fingerprints are pion's to find.
	bad := strings.Replace(head, "sha-256 00", "sha-256", 1)
	o, err := ParseOffer(strings.Replace(bad, "a=fingerprint:", "a=fingerprint:x y z ", 1) + chromium)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Accept(t.Context(), o, join); err == nil || joined {
		t.Errorf("error %v, joined %v", err, joined)
	}
	if o, err = ParseOffer(head + chromium); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Accept(t.Context(), o, join); err == nil || !joined || e.Sessions() != 0 {
		t.Errorf("error %v, joined %v, %d sessions", err, joined, e.Sessions())
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Sessions are bounded, and every one that ends or never begins makes room.
func TestMaxSessions(t *testing.T) {
	closed := make(chan audio.Reason, 1)
	e, err := Listen(Config{Listen: "127.0.0.1:0", Sink: &memoryLog{closed: closed}, MaxSessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseOffer(head + chromium)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Accept(t.Context(), o, func() (string, error) { return "", errors.New("no room") }); err == nil {
		t.Error("a session without a room")
	}
	join := func() (string, error) { return "session", nil }
	for range 3 {
		if _, err := e.Accept(t.Context(), o, join); err != nil {
			t.Fatalf("the only session: %v", err)
		}
		if _, err := e.Accept(t.Context(), o, join); !errors.Is(err, ErrFull) {
			t.Errorf("one too many: %v, want ErrFull", err)
		}
		e.CloseSession("session", audio.ReasonLeft)
		<-closed
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// prflx is a candidate as pion makes it of a request from an unknown address.
func prflx(t *testing.T, port int) ice.Candidate {
	t.Helper()
	c, err := ice.NewCandidatePeerReflexive(&ice.CandidatePeerReflexiveConfig{Network: "udp", Address: "10.0.0.2", Port: port, Component: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
