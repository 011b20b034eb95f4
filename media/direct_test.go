package media

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/signaling/whipclient"
)

// throughPion makes all worlds of a test process those in which RTP goes through
// pion.
const throughPion = "VERBATIM_TEST_THROUGH_PION"

// All tests hold for both ways of RTP.
func TestThroughPion(t *testing.T) {
	if os.Getenv(throughPion) != "" {
		return // it is under way
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), throughPion+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("with NoDirect: %v\n%s", err, out)
	}
}

// Both ways make the same of what a client sends, whatever the network does.
func TestDirectEqualsPion(t *testing.T) {
	for _, c := range []struct {
		name          string
		copies, delay int
		lossOneIn     int
	}{
		{name: "clean", copies: 1, delay: 1},
		{name: "jitter", copies: 1, delay: 80},
		{name: "doubled", copies: 2, delay: 80},
		{name: "loss", copies: 1, delay: 20, lossOneIn: 8},
		{name: "everything", copies: 3, delay: 90, lossOneIn: 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			mistreat := func(seq uint16) (int, time.Duration) {
				r := rand.New(rand.NewPCG(uint64(seq), 7))
				return 1 + r.IntN(c.copies), time.Duration(r.IntN(c.delay)) * time.Millisecond
			}
			lose := func(seq uint16) bool {
				return c.lossOneIn > 0 && rand.New(rand.NewPCG(uint64(seq), 9)).IntN(c.lossOneIn) == 0
			}
			direct, counts := takenIn(t, true, mistreat, lose)
			pion, countsPion := takenIn(t, false, mistreat, lose)
			if len(direct) < 100 {
				t.Fatalf("%d packets came out", len(direct))
			}
			for i := range min(len(direct), len(pion)) {
				if !reflect.DeepEqual(direct[i], pion[i]) {
					t.Fatalf("packet %d is\n%+v directly and\n%+v through pion", i, direct[i], pion[i])
				}
			}
			if len(direct) != len(pion) {
				t.Errorf("%d packets directly, %d through pion", len(direct), len(pion))
			}
			// How many come twice is a matter of what is asked for at the same instant.
			if (counts.replayed > 0) != (countsPion.replayed > 0) || counts.forged+counts.dropped+countsPion.forged+countsPion.dropped > 0 {
				t.Errorf("%+v directly, %+v through pion", counts, countsPion)
			}
		})
	}
}

// counted are the packets that SRTP refused, and that came too fast.
type counted struct{ replayed, forged, dropped uint64 }

func takenIn(t *testing.T, direct bool, mistreat func(uint16) (int, time.Duration), lose func(uint16) bool) (ps []audio.Packet, n counted) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.engine.cfg.NoDirect = !direct
		w.client.mistreatSeq, w.client.lose = mistreat, lose
		conn := w.connect()
		w.engine.mu.Lock()
		s := w.engine.sessions["session"]
		w.engine.mu.Unlock()
		if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
			t.Fatal(err)
		}
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		if s.direct.Load() != direct {
			t.Errorf("direct is %v", !direct)
		}
		n = counted{s.replayed.Load(), s.forged.Load(), s.dropped.Load()}
		start := w.log.packets[0].At
		for _, p := range w.log.packets {
			p.At = p.At.Add(-time.Duration(start.UnixNano())) // the handshakes took different times
			ps = append(ps, p)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		w.stop()
	})
	return ps, n
}

// A client that adds extensions or contributing sources is heard, both ways:
// pion's answer takes up the encryption of headers (RFC 9335) that it offers.
func TestDirectWithLongerHeaders(t *testing.T) {
	for name, lengthen := range map[string]func(h *rtp.Header){
		"an extension":          func(h *rtp.Header) { _ = h.SetExtension(1, []byte{0x80}) }, // a valid one
		"a contributing source": func(h *rtp.Header) { h.CSRC = []uint32{5} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.interceptors = &interceptor.Registry{}
				w.interceptors.Add(lengthener(lengthen))
				conn := w.connect()
				for _, p := range sentPackets(t)[:10] {
					if err := conn.Send(p.Payload, p.Samples); err != nil {
						t.Fatal(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
				w.engine.CloseSession("session", audio.ReasonLeft)
				<-w.log.closed
				if n := len(w.log.packets); n != 11 {
					t.Errorf("%d packets came, want 10 and the end", n)
				}
				_ = conn.Close()
				w.stop()
			})
		})
	}
}

// lengthener changes the headers of what is sent.
type lengthener func(h *rtp.Header)

func (l lengthener) NewInterceptor(string) (interceptor.Interceptor, error) {
	return &lengthening{lengthen: l}, nil
}

type lengthening struct {
	interceptor.NoOp
	lengthen lengthener
}

func (l *lengthening) BindLocalStream(_ *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		l.lengthen(h)
		return w.Write(h, payload, a)
	})
}

// directSession is a session that is connected, and what encrypts for it.
func directSession(t *testing.T) (s *Session, encrypt func(ssrc uint32, payloadType uint8) []byte) {
	t.Helper()
	key, salt, profile := make([]byte, 16), make([]byte, 14), srtp.ProtectionProfileAes128CmHmacSha1_80
	client, err := srtp.CreateContext(key, salt, profile)
	if err != nil {
		t.Fatal(err)
	}
	s = newSession(&Engine{log: slog.New(slog.DiscardHandler)})
	if s.decrypt.context, err = srtp.CreateContext(key, salt, profile); err != nil {
		t.Fatal(err)
	}
	s.direct.Store(true)
	return s, func(ssrc uint32, payloadType uint8) []byte {
		p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc}, Payload: []byte{1}}
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if b, err = client.EncryptRTP(nil, b, nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// SRTP remembers every SSRC: a client gets a few, whatever it sends on them.
func TestSSRCsAreBounded(t *testing.T) {
	s, encrypt := directSession(t)
	var buf [receiveMTU]byte
	for ssrc := range uint32(3 * maxSSRCs) {
		if !s.take(encrypt(ssrc, 99)) {
			t.Fatal("it was not taken")
		}
	}
	_ = s.rtp.Close() // it can be read to its end
	read := 0
	for ; s.endReason() == 0; read++ {
		if _, err := s.read(buf[:]); err != nil {
			break
		}
	}
	if read != maxSSRCs || s.endReason() != audio.ReasonServer || len(s.decrypt.ssrcs) != maxSSRCs {
		t.Errorf("%d packets were read, %d SSRCs are known, the session ended as %v", read, len(s.decrypt.ssrcs), s.endReason())
	}
}

// What anyone can send from a client's address makes little grow.
func TestForgeriesAreBounded(t *testing.T) {
	s, _ := directSession(t)
	for range 10 * rtpPackets {
		s.take(append([]byte{0x80, 0}, make([]byte, minRTP-2)...))
	}
	if n := s.rtp.Count(); n > rtpPackets || s.dropped.Load() == 0 {
		t.Errorf("%d packets wait", n)
	}
	many := append([]byte{0x90, opusType}, make([]byte, receiveMTU-10)...) // hundreds of extensions
	binary.BigEndian.PutUint16(many[12:], 0x1000)
	binary.BigEndian.PutUint16(many[14:], uint16((len(many)-16)/4))
	for i := 16; i < len(many); i += 2 {
		many[i] = 1
	}
	if _, err := s.decrypt.open(many); err == nil {
		t.Error("a forged packet was taken")
	}
	if n := cap(s.decrypt.header.Extensions); n > 0 {
		t.Errorf("a forged packet left %d extensions", n)
	}
}

// The hash of every cipher suite that browsers may agree on with an ECDSA
// certificate is known, so that their RTP takes the direct way.
func TestSuites(t *testing.T) {
	for id := range 1 << 16 {
		suite := dtls.CipherSuiteID(id)
		name := dtls.CipherSuiteName(suite)
		if strings.HasPrefix(name, "TLS_ECDHE_ECDSA") && !strings.Contains(name, "CCM") && hashOf(suite) == nil {
			t.Errorf("%s is not known", name)
		}
	}
	if hashOf(dtls.TLS_PSK_WITH_AES_128_GCM_SHA256) != nil {
		t.Error("a suite that WebRTC has not is known")
	}
}

// What is not as pion writes it gives no keys, and breaks nothing.
func FuzzKeyLog(f *testing.F) {
	f.Add([]byte("CLIENT_RANDOM " + strings.Repeat("00", 32) + " " + strings.Repeat("11", 48) + "\n"))
	f.Add([]byte("CLIENT_RANDOM  \n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		k := keys{found: func() { t.Error("keys without a ServerHello") }}
		if n, err := k.Write(line); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}
