package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/signaling/whipclient"
)

// memoryLog keeps a track's packets, and who closed the session.
type memoryLog struct {
	mu      sync.Mutex
	packets []audio.Packet
	opened  int
	closed  chan audio.Reason
	stall   func(ps []audio.Packet) // what an Append waits for; may be nil
}

func (l *memoryLog) OpenTrack(context.Context, string, time.Time) (Log, error) {
	l.opened++
	return l, nil
}

func (l *memoryLog) SessionClosed(_ string, r audio.Reason) { l.closed <- r }

func (l *memoryLog) Append(_ context.Context, ps ...audio.Packet) error {
	if l.stall != nil {
		l.stall(ps)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		p.Payload = bytes.Clone(p.Payload)
		l.packets = append(l.packets, p)
	}
	return nil
}

// discard keeps nothing.
type discard struct{}

func (discard) OpenTrack(context.Context, string, time.Time) (Log, error) { return discard{}, nil }
func (discard) SessionClosed(string, audio.Reason)                        {}
func (discard) Append(context.Context, ...audio.Packet) error             { return nil }

// network mistreats the RTP and RTCP (not ICE, not DTLS) that a client sends.
type network struct {
	*vnet.Net
	mistreat func(i int) (copies int, delay time.Duration)
	// mistreatSeq does it by sequence number, to RTP only; may be nil
	mistreatSeq func(seq uint16) (copies int, delay time.Duration)
	lose        func(seq uint16) bool // RTP packets that never come through; may be nil
}

func (n *network) ListenUDP(nw string, a *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(nw, a)
	return &badConn{UDPConn: c, n: n}, err
}

type badConn struct {
	transport.UDPConn
	n  *network
	mu sync.Mutex
	i  int
}

func (c *badConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if b[0] < 128 || b[0] > 191 { // RFC 7983
		return c.UDPConn.WriteTo(b, to)
	}
	seq := binary.BigEndian.Uint16(b[2:])
	if isRTP(b) && c.n.lose != nil && c.n.lose(seq) {
		return len(b), nil
	}
	var copies int
	var delay time.Duration
	switch {
	case c.n.mistreat != nil:
		c.mu.Lock()
		copies, delay = c.n.mistreat(c.i)
		c.i++
		c.mu.Unlock()
	case c.n.mistreatSeq != nil && isRTP(b):
		copies, delay = c.n.mistreatSeq(seq)
	default:
		return c.UDPConn.WriteTo(b, to)
	}
	b = bytes.Clone(b)
	for i := range copies {
		time.AfterFunc(delay+time.Duration(i)*7*time.Millisecond, func() { _, _ = c.UDPConn.WriteTo(b, to) })
	}
	return len(b), nil
}

// world is a server and a client on a virtual network, in a synctest bubble.
type world struct {
	t      *testing.T
	engine *Engine
	log    *memoryLog
	client *network
	router *vnet.Router
	report func(rtcp.ReceptionReport) // what the server reports; may be nil
	// interceptors are the client's, if it has any.
	interceptors *interceptor.Registry
	stop         func()
}

// newWorld makes one whose network delays all that passes, each way.
func newWorld(t *testing.T, mistreat func(i int) (int, time.Duration), delay ...time.Duration) *world {
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", LoggerFactory: quiet{}, MinDelay: append(delay, 0)[0]})
	if err != nil {
		t.Fatal(err)
	}
	var nets [2]*vnet.Net
	for i, ip := range []string{"10.0.0.1", "10.0.0.2"} {
		if nets[i], err = vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}}); err != nil {
			t.Fatal(err)
		}
		if err := router.AddNet(nets[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := router.Start(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, log: &memoryLog{closed: make(chan audio.Reason, 1)}, client: &network{Net: nets[1], mistreat: mistreat}, router: router}
	w.engine, err = Listen(Config{Listen: "10.0.0.1:8080", Net: nets[0], Sink: w.log, NoDirect: os.Getenv(throughPion) != ""})
	if err != nil {
		t.Fatal(err)
	}
	w.stop = func() {
		if err := w.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := router.Stop(); err != nil {
			t.Error(err)
		}
	}
	return w
}

func (w *world) connect() *whipclient.Conn { return w.connectBy(false) }

func (w *world) connectBy(trickle bool) *whipclient.Conn {
	w.t.Helper()
	c, err := whipclient.Connect(w.t.Context(), whipclient.Options{
		Net: w.client, Sequence: 65500, Timestamp: 1<<32 - 9000, Trickle: trickle, Patch: w.patch,
		Interceptors: w.interceptors, OnReport: w.report,
	},
		func(ctx context.Context, text string) (string, error) {
			o, err := ParseOffer(text)
			if err != nil {
				return "", err
			}
			a, err := w.engine.Accept(ctx, o, func() (string, error) { return "session", nil })
			return a.SDP, err
		})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// decodeAll is what stages make of the log, and what the sender's packets are.
func decodeAll(ps []audio.Packet) (pcm []int16) {
	d := codec.NewDecoder()
	for _, p := range ps {
		out := make([]int16, p.Samples/audio.TicksPerSample)
		if p.Kind == audio.Coded {
			d.Decode(p.Format, p.Payload, out)
		}
		pcm = append(pcm, out...)
	}
	return pcm
}

// checkExact holds what came to what was sent, sample for sample.
func checkExact(t *testing.T, got, want []audio.Packet) {
	t.Helper()
	if !slices.Equal(decodeAll(got), decodeAll(want)) {
		t.Error("the PCM is not that of the sender's packets")
	}
}

func sentPackets(t *testing.T) (ps []audio.Packet) {
	for p, err := range whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870"))) {
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, audio.Packet{Kind: audio.Coded, Samples: p.Ticks, Format: audio.FormatOpus, Payload: bytes.Clone(p.Payload)})
	}
	return ps
}

// The promise: whatever the network does short of losing packets, the PCM is
// that of the sender's packets decoded one after the other.
func TestBitExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name     string
		mistreat func(int) (int, time.Duration)
	}{
		{"clean", nil},
		{"every second one late", func(i int) (int, time.Duration) { return 1, time.Duration(i%2) * 70 * time.Millisecond }},
		{"all doubled", func(int) (int, time.Duration) { return 2, 0 }},
		{"jitter, doubles", func(int) (int, time.Duration) { return 1 + r.IntN(2), time.Duration(r.IntN(90)) * time.Millisecond }},
		{"stalls of 300 ms", func(i int) (int, time.Duration) {
			if i%40 == 20 {
				return 1, 300 * time.Millisecond
			}
			return 1, 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.mistreat)
				conn := w.connect()
				if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
					t.Fatal(err)
				}
				if !w.engine.CloseSession("session", audio.ReasonLeft) {
					t.Error("there is no such session")
				}
				if w.engine.CloseSession("session", audio.ReasonServer) {
					t.Error("a session that was ended was there to be ended again")
				}
				if r := <-w.log.closed; r != audio.ReasonLeft {
					t.Errorf("closed as %v, want left", r)
				}
				want := sentPackets(t)
				got := w.log.packets
				if len(got) != len(want)+1 || got[len(got)-1].Kind != audio.End {
					t.Fatalf("%d packets came out of %d sent", len(got)-1, len(want))
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

func checkLog(t *testing.T, ps []audio.Packet) {
	t.Helper()
	var next uint64
	var start int64
	for i, p := range ps {
		if p.Seq != next || p.Start != start {
			t.Fatalf("packet %d: Seq %d, Start %d; want %d and %d", i, p.Seq, p.Start, next, start)
		}
		next, start = next+1, p.Next()
	}
	info, err := ps[len(ps)-1].EndInfo()
	if err != nil || info.Totals.Total() != start {
		t.Fatalf("the end accounts for %d of %d ticks (%v)", info.Totals.Total(), start, err)
	}
}

// With loss, what arrives keeps its exact place, and the account tells the rest.
func TestLossKeepsPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(int) (int, time.Duration) { return 1, 0 })
		w.client.lose = func(seq uint16) bool { return seq%10 == 5 || seq/25 == 1 }
		conn := w.connect()
		if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
			t.Fatal(err)
		}
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		checkLog(t, w.log.packets)
		want, at := sentPackets(t), map[int64]audio.Packet{}
		var start, lost int64
		for _, p := range want {
			at[start] = p
			start += p.Samples
		}
		for _, p := range w.log.packets {
			switch p.Kind {
			case audio.Coded:
				if !bytes.Equal(at[p.Start].Payload, p.Payload) {
					t.Fatalf("at tick %d there is another packet than was sent there", p.Start)
				}
			case audio.Lost:
				lost += p.Samples
			case audio.End:
			default:
				t.Errorf("tick %d: %v", p.Start, p.Kind)
			}
		}
		if lost == 0 {
			t.Error("nothing was lost: the test tests nothing")
		}
		_ = conn.Close()
		w.stop()
	})
}

// Sessions whose client vanishes, never connects or never sends are closed by
// timers and leave nothing behind.
func TestSessionsEnd(t *testing.T) {
	t.Run("the client vanishes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(int) (int, time.Duration) { return 1, 0 })
			conn := w.connect()
			p := sentPackets(t)[0]
			for range 10 {
				if err := conn.Send(p.Payload, p.Samples); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			w.client.mistreat = func(int) (int, time.Duration) { return 0, 0 }
			if err := conn.Close(); err != nil { // its DTLS says good-bye
				t.Fatal(err)
			}
			start := time.Now()
			if r := <-w.log.closed; r != audio.ReasonLeft && r != audio.ReasonTimeout {
				t.Errorf("closed as %v", r)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("it took %v to notice", d)
			}
			checkLog(t, w.log.packets)
			w.stop()
		})
	})
	t.Run("never sends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			conn := w.connect()
			if r := <-w.log.closed; r != audio.ReasonTimeout {
				t.Errorf("closed as %v, want timeout", r)
			}
			if w.log.opened != 0 {
				t.Error("a track was opened without audio")
			}
			_ = conn.Close()
			w.stop()
		})
	})
	t.Run("faster than time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			conn := w.connect()
			for range 20000 { // 40 minutes of audio in 20 s
				if conn.Send([]byte{11<<3 | 1, 0}, 5760) != nil || w.engine.Sessions() == 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if r := <-w.log.closed; r != audio.ReasonServer {
				t.Errorf("closed as %v, want server", r)
			}
			checkLog(t, w.log.packets)
			// A minute, and what comes until the session has ended.
			if end := w.log.packets[len(w.log.packets)-1]; end.Start > 300*audio.TickRate {
				t.Errorf("%d s were taken in", end.Start/audio.TickRate)
			}
			_ = conn.Close()
			w.stop()
		})
	})
	t.Run("RTCP of thousands of sources", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			conn := w.connect()
			p := sentPackets(t)[0]
			if err := conn.Send(p.Payload, p.Samples); err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if conn.Report(uint32(i)) != nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if r := <-w.log.closed; r != audio.ReasonServer {
				t.Errorf("closed as %v, want server", r)
			}
			_ = conn.Close()
			w.stop()
		})
	})
	t.Run("the server ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			conn := w.connect()
			p := sentPackets(t)[0]
			if err := conn.Send(p.Payload, p.Samples); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			w.stop()
			if r := <-w.log.closed; r != audio.ReasonServer {
				t.Errorf("closed as %v, want server", r)
			}
			checkLog(t, w.log.packets)
			_ = conn.Close()
		})
	})
}
