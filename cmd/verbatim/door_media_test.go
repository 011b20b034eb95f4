//go:build attack

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"verbatim/media/ingest"
)

// webSockets are clients that say nothing, too much, or what they cannot know.
func (d *door) webSockets(r *row) {
	var wg sync.WaitGroup
	many := func(n int, do func(i int)) {
		wg.Go(func() {
			d.workers(n, n, func(i int) {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				do(i)
			})
		})
	}
	hello := []byte(`{"type":"hello","rate":16000}`)
	many(100, func(i int) { // half-open
		d.socket(r, i, ingest.Protocol, func(context.Context, *websocket.Conn) error { return nil })
	})
	many(50, func(i int) {
		d.socket(r, 100+i, ingest.Protocol, func(ctx context.Context, ws *websocket.Conn) error {
			_ = ws.Write(ctx, websocket.MessageText, hello)
			return ws.Write(ctx, websocket.MessageBinary, make([]byte, 4<<20))
		})
	})
	many(50, func(i int) { // what is no audio
		d.socket(r, 150+i, ingest.Protocol, func(ctx context.Context, ws *websocket.Conn) error {
			_ = ws.Write(ctx, websocket.MessageText, hello)
			return ws.Write(ctx, websocket.MessageBinary, bytes.Repeat([]byte{0xff}, 1+i))
		})
	})
	many(20, func(i int) { d.socket(r, 200+i, "verbatim.pcm.v9", nil) })
	many(20, func(i int) { d.socket(r, 220+i, "chat", nil) })
	wg.Go(func() { // resume guesses
		d.workers(20, 400, func(i int) {
			time.Sleep(200 * time.Millisecond) // the server takes 200 joins a second, these among them
			d.socket(r, 300+i, ingest.Protocol, func(ctx context.Context, ws *websocket.Conn) error {
				return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"hello","rate":16000,"resume":"%026x"}`, i))
			})
		})
	})
	many(50, func(i int) { // begun, and then never heard of again
		c, err := (&net.Dialer{}).DialContext(d.t.Context(), "tcp", d.addr())
		if err != nil {
			d.t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /v1/rooms/attic/ingest HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", address(100+i))
		r.sent.Add(1)
		_, _ = io.Copy(io.Discard, c)
		r.answer("cut off", "half a handshake", "")
	})
	wg.Wait()
}

// socket opens a WebSocket, says something, and notes how it is closed.
func (d *door) socket(r *row, i int, protocol string, say func(context.Context, *websocket.Conn) error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	r.sent.Add(1)
	ws, resp, err := websocket.Dial(ctx, d.url+"/v1/rooms/attic/ingest", &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Forwarded-For": {address(i)}}, Subprotocols: []string{protocol, "verbatim.token." + d.inside("attic", fmt.Sprintf("ws%d", i))},
	})
	if err != nil {
		status := "cut off"
		if resp != nil {
			status = fmt.Sprint(resp.StatusCode)
		}
		r.answer(status, protocol, err.Error())
		return
	}
	defer func() { _ = ws.CloseNow() }()
	_ = say(ctx, ws) // it may be cut off before all is out
	for {
		if _, _, err = ws.Read(ctx); err != nil {
			break
		}
	}
	what := "cut off"
	if code := websocket.CloseStatus(err); code != -1 {
		what = fmt.Sprintf("closed %d", code)
	}
	if ctx.Err() != nil {
		what = "stays open"
	}
	r.answer(what, protocol, err.Error())
}

var turnLink = regexp.MustCompile(`^<turn:([^?]+)\?transport=(\w+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"`)

// turnServer is where the TURN server is over udp or tcp, and what gets an attacker
// in who may join a room.
func (d *door) turnServer(over string) (at, user, password string) {
	h, status, text := d.request(address(900), d.inside("attic", "relayed"), http.MethodOptions, "/v1/rooms/attic/whip", "")
	for _, l := range h.Values("Link") {
		if m := turnLink.FindStringSubmatch(l); len(m) == 5 && m[2] == over {
			return m[1], m[3], m[4]
		}
	}
	d.t.Fatalf("no TURN server: %s %s %v", status, text, h)
	return "", "", ""
}

// turnFlood asks for allocations, and sends other things, without a credential.
func (d *door) turnFlood(r *row) {
	at, _, _ := d.turnServer("udp")
	to, err := net.ResolveUDPAddr("udp4", at)
	if err != nil {
		d.t.Fatal(err)
	}
	const each = 400
	d.workers(50, 200, func(i int) {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, byte(i/250), byte(1+i%250))}, to)
		if err != nil {
			d.t.Error(err)
			return
		}
		defer c.Close()
		rnd := rand.New(rand.NewPCG(uint64(i), 8))
		for k := range each {
			b := stun.MustBuild(stun.TransactionID, stun.NewType([]stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind}[k%4], stun.ClassRequest)).Raw
			switch k % 8 {
			case 5:
				b = append([]byte{0x40, 0, 0, 100}, noise(rnd, 100)...) // ChannelData
			case 6:
				b = stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication)).Raw
			case 7:
				mutate(rnd, &b)
			}
			if _, err := c.Write(b); err == nil {
				r.sent.Add(1)
			}
			if k%50 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		answers := 0
		for b := make([]byte, 1600); ; answers++ {
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := c.Read(b); err != nil {
				break
			}
			r.answer("an answer", "a request", "")
		}
		for range each - answers {
			r.answer("no answer", "a request", "")
		}
	})
}

// turnPeers has an allocation, and would reach what else is on this machine, in its
// network, and in the cloud around it.
func (d *door) turnPeers(r *row) {
	at, user, password := d.turnServer("udp")
	private, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	defer private.Close()
	conn, err := net.ListenPacket("udp4", "127.8.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: at, TURNServerAddr: at, Username: user, Password: password, Realm: "verbatim", Conn: conn, LoggerFactory: quiet})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Listen(); err != nil {
		d.t.Fatal(err)
	}
	relayed, err := c.Allocate()
	if err != nil {
		d.t.Fatal(err)
	}
	defer relayed.Close()
	_, port, _ := strings.Cut(private.LocalAddr().String(), ":")
	_, web, _ := strings.Cut(d.addr(), ":")
	_, own, _ := strings.Cut(at, ":")
	for _, peer := range []string{
		"127.0.0.1:" + port, "127.0.0.1:" + web, "127.0.0.1:" + own, "127.0.0.2:" + port, "0.0.0.0:" + port, "10.0.0.1:53", "192.168.0.1:80", "169.254.169.254:80",
		"224.0.0.251:5353", "255.255.255.255:67", "198.51.100.1:53",
	} {
		to, err := net.ResolveUDPAddr("udp4", peer)
		if err != nil {
			d.t.Fatal(err)
		}
		for range 10 {
			r.sent.Add(1)
			switch _, err := relayed.WriteTo([]byte("let me in"), to); {
			case err == nil:
				r.answer("dropped", peer, "") // if it arrives, that is an error below
			case strings.Contains(err.Error(), "403"):
				r.answer("403", peer, err.Error())
			default:
				r.answer(err.Error(), peer, "")
			}
		}
	}
	_ = private.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, from, err := private.ReadFrom(make([]byte, 100)); err == nil {
		d.t.Errorf("%d bytes from %v came through the TURN server", n, from)
	}
}

// tcpFlood opens connections to the TCP port for media, and that of TURN, from 40
// addresses: they say nothing, noise, what is for no session, or has no password.
func (d *door) tcpFlood(r *row) {
	m := regexp.MustCompile(`(?m)^a=candidate:\S+ 1 tcp \d+ (\S+) (\d+) `).FindStringSubmatch(d.answer)
	if m == nil {
		d.t.Fatalf("the answer has no TCP candidate: %s", d.answer)
	}
	relay, _, _ := d.turnServer("tcp")
	d.workers(2500, 2500, func(i int) {
		to := net.JoinHostPort(m[1], m[2])
		if i%5 == 4 {
			to = relay
		}
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 7, 0, byte(1+i%40))}, Timeout: 20 * time.Second}
		c, err := from.DialContext(d.t.Context(), "tcp4", to)
		if err != nil {
			d.t.Error(err)
			return
		}
		defer c.Close()
		r.sent.Add(1)
		began := time.Now()
		rnd := rand.New(rand.NewPCG(uint64(i), 9))
		switch i % 4 {
		case 1:
			_, _ = c.Write(noise(rnd, 2000))
		case 2:
			user := fmt.Sprintf("%x", rnd.Uint64())
			if i%8 == 2 { // who has read the name of an honest session, and not the password
				user = sdpValue(d.answer, "ice-ufrag")
			}
			b := stunCheck(rnd, user+":y", "z")
			_, _ = c.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
		case 3:
			_, _ = c.Write([]byte{0xff, 0xff, 0})
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err = io.Copy(io.Discard, c)
		what := "closed"
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			what = "stays open"
		case time.Since(began) < time.Second:
			what = "closed at once"
		}
		r.answer(what, to, "")
	})
}

// sources are sessions, each with ever new SSRCs.
func (d *door) sources(r *row) {
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			a := d.join(fmt.Sprintf("choir-%d", i), nil)
			defer a.leave()
			rnd := rand.New(rand.NewPCG(uint64(i), 10))
			what := "goes on"
			for range 10_000 {
				h := a.next
				h.SSRC, h.SequenceNumber, h.Timestamp = rnd.Uint32(), uint16(rnd.Uint32()), rnd.Uint32()
				if _, err := a.out.WriteRTP(&h, sound[0]); err == nil {
					r.sent.Add(1)
				}
				if rnd.IntN(32) == 0 {
					d.pace()
				}
			}
			select {
			case <-a.gone:
				what = "ended"
			case <-time.After(time.Second):
			}
			r.answer(what, "SSRCs", "")
		})
	}
	wg.Wait()
}
