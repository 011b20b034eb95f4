//go:build attack

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"

	"verbatim/pipeline/meeting"
)

// dial is a socket of a stranger at an address of its own.
func (v *victim) dial(i int) *net.UDPConn {
	from := &net.UDPAddr{IP: net.IPv4(127, byte(1+i>>16), byte(i>>8), byte(1+i%250))}
	c, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(v.port))
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// strangers know nothing but the port; a few have seen the ufrag of the honest
// participant's session.
func (v *victim) strangers(n int) (sent int) {
	const sockets = 64
	var wg sync.WaitGroup
	for i := range sockets {
		wg.Go(func() {
			c := v.dial(i)
			defer c.Close()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for k := range (n + sockets - 1) / sockets {
				if _, err := c.Write(v.foreign(r)); err != nil {
					v.t.Error(err)
					return
				}
				if k%16 == 0 {
					v.pace()
				}
			}
		})
		sent += (n + sockets - 1) / sockets
	}
	wg.Wait()
	return sent
}

// foreign is what comes from outside of all sessions.
func (v *victim) foreign(r *rand.Rand) (b []byte) {
	switch r.IntN(6) {
	case 0: // noise
		return noise(r, r.IntN(1400))
	case 1: // DTLS, from alerts to hellos (RFC 6347, 4.1)
		b = noise(r, 13+r.IntN(300))
		b[0], b[1], b[2] = byte(20+r.IntN(6)), 0xfe, byte(0xff-r.IntN(4))
		binary.BigEndian.PutUint16(b[11:], uint16(len(b)-13+r.IntN(3)-1))
	case 2: // SRTP and SRTCP
		b = noise(r, 12+r.IntN(200))
		b[0], b[1] = 0x80|byte(r.IntN(64)), byte(r.IntN(256))
	default:
		b = v.check(r)
		mutate(r, &b)
	}
	return b
}

// check is an ICE check for the honest participant's session, or for none, by
// who does not know the password.
func (v *victim) check(r *rand.Rand) []byte {
	user := sdpValue(v.answer, "ice-ufrag")
	if r.IntN(2) == 0 {
		user = fmt.Sprintf("%x", r.Uint64())
	}
	return stunCheck(r, user+":"+fmt.Sprint(r.IntN(1000)), fmt.Sprint(r.Uint64()))
}

func stunCheck(r *rand.Rand, user, password string) []byte {
	var id [stun.TransactionIDSize]byte
	copy(id[:], noise(r, len(id)))
	priority := stun.RawAttribute{Type: stun.AttrPriority, Value: noise(r, 4)}
	role := stun.RawAttribute{Type: stun.AttrICEControlling, Value: noise(r, 8)}
	set := []stun.Setter{stun.NewTransactionIDSetter(id), stun.BindingRequest, stun.NewUsername(user), priority, role}
	if r.IntN(4) == 0 {
		set = append(set, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	return stun.MustBuild(append(set, stun.NewShortTermIntegrity(password), stun.Fingerprint)...).Raw
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// mutate changes, cuts or extends a packet.
func mutate(r *rand.Rand, b *[]byte) {
	for range r.IntN(4) {
		if len(*b) > 0 {
			(*b)[r.IntN(len(*b))] = byte(r.Uint32())
		}
	}
	switch r.IntN(8) {
	case 0:
		*b = (*b)[:r.IntN(len(*b)+1)]
	case 1:
		*b = append(*b, noise(r, r.IntN(100))...)
	}
}

func sdpValue(sdp, key string) string {
	m := regexp.MustCompile(`(?m)^a=` + key + `:(\S+)`).FindStringSubmatch(sdp)
	if m == nil {
		return ""
	}
	return m[1]
}

// checks come from a participant with its own credentials, so that they are
// valid, but ever from new addresses, as if it moved through the network.
func (v *victim) checks(n int) int {
	var offer, answer string
	p := v.join("moves", func(o, a string) { offer, answer = o, a })
	defer p.leave()
	user := sdpValue(answer, "ice-ufrag") + ":" + sdpValue(offer, "ice-ufrag")
	r := rand.New(rand.NewPCG(1, 2))
	const each = 10
	for i := range n / each {
		c := v.dial(i)
		for range each {
			if _, err := c.Write(stunCheck(r, user, sdpValue(answer, "ice-pwd"))); err != nil {
				v.t.Error(err)
			}
		}
		c.Close()
		v.pace()
	}
	return n
}

// flood sends what belongs to one session as fast as it goes, from two addresses
// that it answers to: checks, checks with a wrong password, and noise.
func (v *victim) flood() int {
	var offer, answer string
	p := v.join("flood", func(o, a string) { offer, answer = o, a })
	defer p.leave()
	user := sdpValue(answer, "ice-ufrag") + ":" + sdpValue(offer, "ice-ufrag")
	var sent atomic.Int64
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(5, uint64(i)))
			c := v.dial(i)
			defer c.Close()
			good := stunCheck(r, user, sdpValue(answer, "ice-pwd"))
			srtp := noise(r, 1000)
			srtp[0] = 0x80
			for _, b := range [][]byte{good, stunCheck(r, user, "wrong"), srtp} {
				for range 200_000 {
					if _, err := c.Write(b); err == nil { // else the system has no room
						sent.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	return int(sent.Load())
}

// attacker is an authenticated peer whose packets are mutated on the wire too.
type attacker struct {
	*peer
	v    *victim
	wire *wire
}

func (v *victim) join(room string, tell func(offer, answer string)) *attacker {
	n, err := stdnet.NewNet()
	if err != nil {
		v.t.Fatal(err)
	}
	w := &wire{Net: n}
	p, err := connectPeer(v.t.Context(), w, v.post(room, tell))
	if err != nil {
		v.t.Fatal(err)
	}
	return &attacker{p, v, w}
}

func (a *attacker) leave() {
	if err := a.Close(); err != nil {
		a.v.t.Error(err)
	}
}

// wire mutates every fourth datagram of media while it is on, and sends it
// beside the good one.
type wire struct {
	transport.Net
	on   atomic.Bool
	more atomic.Int64 // mutated ones
}

func (w *wire) ListenUDP(network string, a *net.UDPAddr) (transport.UDPConn, error) {
	c, err := w.Net.ListenUDP(network, a)
	return &wireConn{c, w}, err
}

type wireConn struct {
	transport.UDPConn
	w *wire
}

func (c *wireConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.w.on.Load() && b[0] >= 128 && rand.IntN(4) == 0 {
		bad := slices.Clone(b)
		mutate(rand.New(rand.NewPCG(rand.Uint64(), 3)), &bad)
		c.w.more.Add(1)
		if _, err := c.UDPConn.WriteTo(bad, to); err != nil {
			return 0, err
		}
	}
	return c.UDPConn.WriteTo(b, to)
}

// hostile sends through sessions, one after the other and three at a time, until
// n packets were sent; each session sends until the server has enough of it.
func (v *victim) hostile(n int) int {
	var sent, session atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for sent.Load() < int64(n) {
				i := session.Add(1)
				a := v.join(fmt.Sprintf("hostile-%d", i), nil)
				a.wire.on.Store(true)
				sent.Add(int64(a.send(rand.New(rand.NewPCG(uint64(i), 4)), 18_000, i%8 == 0)))
				a.wire.on.Store(false)
				sent.Add(a.wire.more.Load())
				a.leave()
			}
		})
	}
	wg.Wait()
	fmt.Printf("  (%d sessions)\n", session.Load())
	return int(sent.Load())
}

// send sends up to n packets. Wild ones hit the bounds of a session soon.
func (a *attacker) send(r *rand.Rand, n int, wild bool) (sent int) {
	for ; sent < n; sent++ {
		select {
		case <-a.gone:
			return sent
		default:
		}
		if sent%32 == 0 {
			a.v.pace()
		}
		if r.IntN(8) == 0 {
			raw := rtcp.RawPacket(control(r, a.next.SSRC, wild))
			_ = a.pc.WriteRTCP([]rtcp.Packet{&raw}) // what does not get out is no matter
			continue
		}
		h, payload := a.packet(r, wild)
		_, _ = a.out.WriteRTP(&h, payload)
	}
	return sent
}

// packet is one that comes through SRTP: its header is well-formed, but need not
// make sense, and its payload may be anything.
func (a *attacker) packet(r *rand.Rand, wild bool) (h rtp.Header, payload []byte) {
	h = a.next
	h.PayloadType = [...]uint8{111, 111, 111, 63, 63, 0, 8, 126, 99, uint8(r.IntN(128))}[r.IntN(10)]
	h.SequenceNumber += [...]uint16{1, 1, 1, 1, 1, 2, 3, 0, 65535, 100, 1500}[r.IntN(11)]
	h.Timestamp += [...]uint32{120, 120, 960, 19200, 0, 1<<32 - 960, 1 << 31, r.Uint32()}[r.IntN(8)]
	a.next.SequenceNumber, a.next.Timestamp = h.SequenceNumber, h.Timestamp
	h.Marker, h.Padding = r.IntN(2) == 0, r.IntN(8) == 0
	h.CSRC = make([]uint32, max(0, r.IntN(40)-24))
	if r.IntN(8) == 0 {
		h.Extension, h.ExtensionProfile = true, [...]uint16{0xbede, 0x1000, uint16(r.Uint32())}[r.IntN(3)]
		_ = h.SetExtension(uint8(1+r.IntN(14)), noise(r, 1+r.IntN(16))) // refused for some profiles
	}
	if wild && r.IntN(50) == 0 {
		h.SSRC = r.Uint32()
	}
	toc := byte(16<<3) | byte(r.IntN(4)) // 2.5 ms or a little more
	if wild {
		toc = byte(r.Uint32())
	}
	opus := append([]byte{toc}, noise(r, r.IntN(60))...)
	switch {
	case h.PayloadType == 63:
		payload = redundancy(r, opus)
	case r.IntN(4) == 0:
		payload = noise(r, r.IntN(40))
		if h.PayloadType == 111 && len(payload) > 0 {
			payload[0] = toc
		}
	default:
		payload = opus
	}
	if h.Padding && len(payload) > 0 && r.IntN(2) == 0 {
		payload[len(payload)-1] = byte(r.IntN(256))
	}
	return h, payload
}

// redundancy is RED around a packet, within RED, cut, or with lengths that lie.
func redundancy(r *rand.Rand, opus []byte) (b []byte) {
	var data []byte
	for range r.IntN(11) {
		offset := r.IntN(1 << 14)
		n := min(len(opus), 20)
		b = append(b, 0x80|[...]byte{111, 111, 63, 0}[r.IntN(4)], byte(offset>>6), byte(offset<<2)|byte(n>>8), byte(n))
		data = append(data, opus[:n]...)
	}
	b = append(append(append(b, [...]byte{111, 111, 63}[r.IntN(3)]), data...), opus...)
	if r.IntN(4) == 0 {
		mutate(r, &b)
	}
	return b
}

// control is RTCP with any type, count and length.
func control(r *rand.Rand, ssrc uint32, wild bool) []byte {
	b := noise(r, 8+4*r.IntN(40))
	b[0], b[1] = 0x80|b[0]&0x3f, byte(200+r.IntN(8))
	if wild && r.IntN(4) == 0 {
		b[1] = byte(192 + r.IntN(32))
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	if r.IntN(8) == 0 {
		binary.BigEndian.PutUint16(b[2:], uint16(r.Uint32()))
	}
	binary.BigEndian.PutUint32(b[4:], ssrc)
	if wild {
		return b
	}
	for i := 8; i+4 <= len(b); i += 4 { // about no SSRCs but its own
		binary.BigEndian.PutUint32(b[i:], ssrc)
	}
	return b
}

// page is one page of the list of meetings.
func (v *victim) page(cursor string) ([]meeting.Meeting, string) {
	var list struct {
		Meetings []meeting.Meeting
		Next     string
	}
	if err := json.Unmarshal(v.get("/v1/meetings?limit=100&cursor="+url.QueryEscape(cursor)), &list); err != nil {
		v.t.Fatal(err)
	}
	return list.Meetings, list.Next
}
