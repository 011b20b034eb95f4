//go:build attack

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"verbatim/signaling/auth"
)

// address is one of n in the internet, as a proxy would name it.
func address(n int) string { return fmt.Sprintf("198.18.%d.%d", n/250, 1+n%250) }

// inside is a token for everything in a room of the attackers' own.
func (d *door) inside(room, participant string) string {
	return token(d.t, room, participant, time.Hour, auth.Publish, auth.Listen, auth.Manage)
}

// addr is where the server listens.
func (d *door) addr() string { return strings.TrimPrefix(d.url, "http://") }

// tiny dials with buffers so small that who reads nothing is soon noticed.
func (d *door) tiny() net.Conn {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
		})
	}}
	c, err := dialer.DialContext(d.t.Context(), "tcp", d.addr())
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// slow is a drip attack: a head, and then drop by drop.
func (d *door) slow(head, drop string, n int, every, most time.Duration) func(*row) {
	return func(r *row) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { d.dribble(r, head, drop, every, most) })
		}
		wg.Wait()
	}
}

func (d *door) slowHeads() func(*row) {
	return d.slow("GET /v1/meetings HTTP/1.1\r\nHost: x\r\n", "X-More: y\r\n", 500, time.Second, 8*time.Second)
}

func (d *door) slowBodies() func(*row) {
	return d.slow("POST /v1/rooms/attic/whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 5000\r\nAuthorization: Bearer "+
		d.inside("attic", "slow")+"\r\n\r\n", "v", 150, 500*time.Millisecond, 25*time.Second)
}

// dribble sends a head and then drop by drop, until the server has had enough.
func (d *door) dribble(r *row, head, drop string, every, most time.Duration) {
	c, err := (&net.Dialer{}).DialContext(d.t.Context(), "tcp", d.addr())
	if err != nil {
		d.t.Error(err)
		return
	}
	defer c.Close()
	r.sent.Add(1)
	began := time.Now()
	answered := make(chan string, 1)
	go func() {
		status := "cut off"
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			status = strconv.Itoa(resp.StatusCode)
			_ = resp.Body.Close()
		}
		answered <- status
	}()
	_, _ = io.WriteString(c, head)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case status := <-answered:
			if took := time.Since(began); took > most {
				d.t.Errorf("%s: it took %v until the server had enough", r.name, took)
			}
			r.answer(status, r.name, "")
			return
		case <-tick.C:
			_, _ = io.WriteString(c, drop)
		}
	}
}

// outside is an address of this machine from which connections are limited as other
// machines' are.
func outside(t testing.TB) netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	t.Fatal("this machine has no address but loopback")
	return netip.Addr{}
}

// crowd opens 5,000 connections from one address, to a server beside the other one:
// half of them say nothing, the rest ask for something and keep the connection. From
// another address the server is looked at all the while.
func (d *door) crowd(r *row) {
	home := serve(d.t, d.t.TempDir(), "none:", "--listen", "0.0.0.0:0", "--insecure")
	defer home.stop()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(home.url, "http://"))
	home.url = "http://127.0.0.1:" + port
	to := net.JoinHostPort(outside(d.t).String(), port)

	looking := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			resp, err := client.Get(home.url + "/healthz")
			if err != nil || resp.StatusCode != http.StatusOK {
				d.t.Errorf("%s: /healthz is not answered to another address: %v", r.name, err)
				return
			}
			resp.Body.Close()
			select {
			case <-looking:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	const all = 5000
	release := make(chan struct{})
	var decided, gone sync.WaitGroup
	decided.Add(all)
	for i := range all {
		gone.Go(func() {
			c := d.knock(r, to, i%2 == 0)
			decided.Done()
			<-release
			if c != nil {
				c.Close()
			}
		})
	}
	decided.Wait()
	if now := home.scrape(); now["verbatim_limit_refusals_total{limit=connections}"] == 0 || now["verbatim_limit_used{limit=connections}"] > 1100 {
		d.t.Errorf("%s: %v connections were refused, %v are open", r.name, now["verbatim_limit_refusals_total{limit=connections}"], now["verbatim_limit_used{limit=connections}"])
	}
	close(release)
	gone.Wait()
	close(looking)
	looks.Wait()
}

// knock is one connection of a crowd, and waits for what becomes of it.
func (d *door) knock(r *row, to string, silent bool) net.Conn {
	c, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(d.t.Context(), "tcp4", to)
	if err != nil {
		d.t.Error(err)
		return nil
	}
	r.sent.Add(1)
	began := time.Now()
	if !silent {
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	_ = c.SetReadDeadline(began.Add(20 * time.Second))
	what := "kept"
	if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 200"))); err != nil {
		what = "cut off"
		if time.Since(began) < 2*time.Second {
			what = "closed at once"
		}
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			what = "stays open"
		}
	}
	r.answer(what, to, "")
	return c
}

// offers are 10,000, of 250 addresses and 2,000 participants: good ones, to which
// nothing follows, and others.
func (d *door) offers(r *row) {
	good := offer(d.t)
	tokens := make([]string, 2000)
	for i := range tokens {
		tokens[i] = token(d.t, fmt.Sprintf("crowd-%d", i%50), fmt.Sprintf("p%d", i), time.Hour, auth.Publish)
	}
	d.workers(32, 10_000, func(i int) {
		time.Sleep(25 * time.Millisecond) // for 8 s and more
		rnd := rand.New(rand.NewPCG(uint64(i), 7))
		sdp := []byte(good)
		switch i % 5 {
		case 3:
			for range 1 + rnd.IntN(20) {
				mutate(rnd, &sdp)
			}
		case 4:
			sdp = sdp[:rnd.IntN(len(sdp))]
		}
		who := i % len(tokens)
		d.ask(r, address(i%250), tokens[who], http.MethodPost, fmt.Sprintf("/v1/rooms/crowd-%d/whip", who%50), string(sdp), "Content-Type", "application/sdp")
	})
}

// workers does n things, some at a time.
func (d *door) workers(at, n int, do func(i int)) {
	var wg sync.WaitGroup
	for w := range at {
		wg.Go(func() {
			for i := w; i < n; i += at {
				do(i)
			}
		})
	}
	wg.Wait()
}

// weird are offers that a parser may stumble over. Those that are answered 201 are
// what an offer may be.
func (d *door) weird(r *row) {
	good := offer(d.t)
	head, audio, _ := strings.Cut(good, "m=audio")
	audio = "m=audio" + audio
	line := strings.Repeat
	candidate := "a=candidate:1 1 udp 2130706431 192.0.2.1 9 typ host\r\n"
	texts := []string{
		good + line(candidate, (64<<10-len(good))/len(candidate)), // 64 KiB of them
		good + line(candidate, 2000),                              // more than may be
		head + line(audio, 1000), head + line("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", 1000), head + line("m=video 0 X 0\r\n", 1000) + audio,
		strings.ReplaceAll(good, "\r\n", "\x00\r\n"), strings.ReplaceAll(good, "opus", "opus\x00"), line("\x00", 60_000),
		strings.ReplaceAll(good, "a=mid:", "a=mid:\u202e\U0001F600\xff"), strings.ReplaceAll(good, "s=-", "s="+line("𝔖", 10_000)),
		head + "a=" + line("x", 60_000) + "\r\n" + audio, line("v=0\r\n", 10_000), good + good, strings.ReplaceAll(good, "\r\n", "\n"), strings.ReplaceAll(good, "\r\n", "\r"),
		strings.ReplaceAll(good, "a=fingerprint:", "a=fingerprint:sha-1 00\r\na=fingerprint:"), strings.ReplaceAll(good, "a=ice-ufrag:", "a=ice-ufrag:"+line("u", 5000)),
		strings.ReplaceAll(good, "a=ice-pwd:", "a=ice-pwd:\r\na=x:"), strings.ReplaceAll(good, "UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVPF "+line("111 ", 5000)),
		good + "a=candidate:1 1 udp 4294967296999 ::::::: 99999 typ host\r\na=candidate:1 1 tcp 1 127.0.0.1 22 typ host tcptype passive\r\n",
		good + "a=candidate:1 1 udp 1 169.254.169.254 80 typ host\r\na=candidate:1 1 udp 1 evil.example 53 typ srflx raddr 0.0.0.0 rport 0\r\n",
		head + "m=audio -1 UDP/TLS/RTP/SAVPF 999999999999999999999\r\n", head + "m=\r\n", "v=0", "{}", "<xml/>", "%s%n%x", "\ufeff" + good,
		strings.ReplaceAll(good, "o=-", "o=- 99999999999999999999999999 -1 IN IP6 "), strings.ReplaceAll(good, "a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/0/0"),
		strings.ReplaceAll(good, "t=0 0", "t=0 0\r\nr="+line("9d ", 5000)+"\r\nz="+line("0 -1h ", 5000)), line(good, 12), "",
	}
	for i, text := range texts {
		time.Sleep(20 * time.Millisecond)
		from := address(300 + i)
		who := d.inside("attic", fmt.Sprintf("w%d", i))
		d.ask(r, from, who, http.MethodPost, "/v1/rooms/attic/whip", text, "Content-Type", "application/sdp")
		h, _ := d.ask(r, from, who, http.MethodPost, "/v1/rooms/attic/whip", good, "Content-Type", "application/sdp")
		if h == nil {
			continue
		}
		session := strings.TrimPrefix(h.Get("Location"), d.url)
		_, status, body := d.request(from, who, http.MethodPatch, session, text, "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*")
		if r.sent.Add(1); status == "204" || status == "200" || status == "412" || status == "428" {
			status = "201" // taken as far as it makes sense
		}
		r.answer(status, "PATCH", body)
		d.request(from, who, http.MethodDelete, session, "")
	}
}

// paths are sent as they are, without a client that would clean them.
func (d *door) paths(r *row) {
	theirs := "/v1/meetings/" + d.ids[0]
	targets := []string{
		"/v1/../metrics", "/v1/%2e%2e/metrics", "/v1/..%2fmetrics", "//metrics", "/./metrics", "/v1//meetings", "/v1/rooms/../meetings", "/v1/rooms/attic%2f..%2f..%2fmeetings/whip",
		"/v1/rooms/attic/../board", "/v1/rooms/attic/..;/board", "/v1/rooms/board%00", "/v1/rooms/attic%00board/events", "/v1/rooms/%62oard", "/v1/rooms/board/events/", "/v1/rooms/BOARD",
		"/v1/rooms/attic%0d%0aX-Evil:1", theirs, theirs + "/", theirs + "/../" + d.ids[0], theirs + "/transcript.txt%00", theirs + "/transcript.json/../transcript.txt", theirs + "/tracks/..%2f..%2f..%2f..%2fetc%2fpasswd/audio.wav",
		theirs + "/tracks/../../../../etc/passwd/audio.opus", "/v1/meetings/..%2f..%2fverbatim.db/audio.flac", "/v1/meetings/%2e%2e/transcript.txt", "/../../../../etc/passwd", "/..%5c..%5cetc%5cpasswd",
		"/%c0%ae%c0%ae/etc/passwd", "/web/../../secret", "/debug/pprof/heap", "/debug/pprof/", "/v1/" + strings.Repeat("a", 12_000), "/v1/rooms/" + strings.Repeat("%61", 4000), "/v1/meetings?cursor=" + strings.Repeat("x", 8000),
		"http://evil.example/v1/meetings", "http://127.0.0.1/metrics", "https://" + d.addr() + theirs, "*", "evil.example:443", "/v1/meetings#/metrics", "/v1/meetings?room=board", "/v1/search?q=word&room=board",
		"/v1/meetings%3froom=board", "/v1/sessions/..%2f..%2fmeetings",
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "PRI", strings.Repeat("M", 200)}
	mallory := d.inside("attic", "mallory")
	var requests []string
	for _, target := range targets {
		for _, method := range methods {
			if target == "/v1/meetings#/metrics" && method == "GET" {
				continue // a server may take the mark as part of the path, or refuse it
			}
			requests = append(requests, method+" "+target+" HTTP/1.1\r\nHost: x\r\n", method+" "+target+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+mallory+"\r\n")
		}
	}
	const in = "GET /v1/rooms/board HTTP/1.1\r\n"
	requests = append(requests,
		in, in+"Host: x\r\nHost: y\r\n", in+"Host: \r\n", in+"Host: a b\r\n", in+"Host: x/../y\r\n", in+"Host: x\r\nX: "+strings.Repeat("y", 30_000)+"\r\n",
		in+"Host: x\r\nNo colon\r\n", in+"Host: x\r\n folded: y\r\n", in+"Host: x\r\nX-\x00: y\r\n", in+"Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
		in+"Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", in+"Host: x\r\nTransfer-Encoding: xchunked\r\n", in+"Host: x\r\nContent-Length: -1\r\n", in+"Host: x\r\nContent-Length: 99999999999999999999\r\n",
		in+"Host: x\r\nAuthorization: Bearer "+strings.Repeat("a.", 5000)+"\r\n", in+"Host: x\r\nAuthorization: Basic YTpi\r\n", in+"Host: x\r\nAuthorization: Bearer\r\n", in+"Host: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
		in+"Host: x\r\nX-Forwarded-For: "+strings.Repeat("1,", 4000)+"\r\n", in+"Host: x\r\nX-Forwarded-Host: evil.example\r\n", "GET /v1/rooms/board HTTP/9.9\r\nHost: x\r\n", "GET /v1/rooms/board\r\n", "\x16\x03\x01\x02\x00\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n",
		"GET /v1/rooms/board HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
	)
	d.workers(16, len(requests), func(i int) { d.raw(r, requests[i]+"\r\n") })
}

// raw sends bytes, and notes what is answered.
func (d *door) raw(r *row, request string) {
	c, err := (&net.Dialer{}).DialContext(d.t.Context(), "tcp", d.addr())
	if err != nil {
		d.t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(6 * time.Second))
	_, _ = io.WriteString(c, request)
	r.sent.Add(1)
	method, rest, _ := strings.Cut(request, " ")
	short := fmt.Sprintf("%.120q", method+" "+rest)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.answer("cut off", short, err.Error())
		return
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	status := strconv.Itoa(resp.StatusCode)
	if resp.Header.Get("X-Evil") != "" {
		status = "a header of ours"
	}
	switch ownLists := strings.Contains(string(b), `{"meetings":[]`) || strings.Contains(string(b), `"room":"attic"`); {
	case status == "204", status == "200" && method == http.MethodOptions:
		status = "nothing" // as RFC 9725, 4.1, has it for GET, too
	case status == "200" && (ownLists || method == "HEAD" || resp.Header.Get("Content-Type") == "text/html; charset=utf-8"):
		status = "what is theirs"
	}
	for _, id := range d.ids {
		if strings.Contains(string(b), id) && !strings.Contains(request, id) {
			status = "a secret"
		}
	}
	r.answer(status, short, string(b))
}

// rebinding is what pages of other sites can send: to this server with their
// origin, and to one on loopback with their name for it.
func (d *door) rebinding(r *row) {
	home := serve(d.t, d.t.TempDir(), "none:")
	defer home.stop()
	to := &door{victim: &victim{process: home}, client: d.client}
	hosts := []string{
		"evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost", "localhost@evil.example", "0.0.0.0", "127.1", "2130706433",
		"[::1].evil.example", "[::ffff:10.0.0.1]", "localhost.", "10.0.0.1", "xn--lcalhost-5ya", "localhost evil",
	}
	reads := []string{"/", "/v1/meetings", "/v1/rooms/r", "/v1/rooms/r/events", "/metrics", "/healthz", "/openapi.yaml"}
	for _, host := range hosts {
		for _, path := range reads {
			c, err := (&net.Dialer{}).DialContext(d.t.Context(), "tcp", to.addr())
			if err != nil {
				d.t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
			r.sent.Add(1)
			status := "cut off"
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				status = strconv.Itoa(resp.StatusCode)
				_ = resp.Body.Close()
			}
			if status == "400" {
				status = "421" // no Host at all
			}
			r.answer(status, host+path, "")
			c.Close()
		}
	}
	theirs := []string{"https://evil.example", "http://evil.example:8080", "null", "http://localhost:1", "file://"}
	for _, origin := range theirs {
		for i, at := range []*door{to, d} {
			who := []string{"", d.pass("board")}[i] // as if the page had it
			for _, c := range []struct{ method, path string }{
				{http.MethodPost, "/v1/rooms/board/whip"}, {http.MethodPost, "/v1/meetings/" + d.ids[0] + "/end"}, {http.MethodDelete, "/v1/meetings/" + d.ids[0]},
				{http.MethodPost, "/v1/links"}, {http.MethodDelete, "/v1/sessions/x"}, {http.MethodPatch, "/v1/sessions/x"},
			} {
				_, status, text := at.request(address(600), who, c.method, c.path, "x", "Origin", origin, "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain")
				r.sent.Add(1)
				r.answer(status, c.method+" "+c.path, text)
			}
			_, status, text := at.request(address(600), who, http.MethodGet, "/v1/rooms/board/ingest", "", "Origin", origin, "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "verbatim.pcm.v1")
			r.sent.Add(1)
			r.answer(status, "WebSocket of "+origin, text)
		}
	}
}

// crossRoom reads with a token that is good, for another room.
func (d *door) crossRoom(r *row) {
	mallory := d.inside("attic", "mallory")
	from := address(601)
	h, session, _ := d.request(from, d.pass("board"), http.MethodPost, "/v1/rooms/guard/whip", offer(d.t), "Content-Type", "application/sdp")
	if h != nil && session == "201" {
		d.t.Error("a token of one room opens another")
	}
	ids := slices.Clone(d.ids)
	for i, room := range honest {
		paths := []string{"/v1/rooms/" + room, "/v1/rooms/" + room + "/stats", "/v1/rooms/" + room + "/events", "/v1/meetings?room=" + room, "/v1/search?q=word&room=" + room, "/metrics"}
		m, tr := ids[2*i], ids[2*i+1]
		for _, of := range []string{"/v1/meetings/" + m, "/v1/meetings/" + ids[(2*i+2)%len(ids)]} { // also with a track of another meeting
			paths = append(paths, of, of+"/stats", of+"/audio.flac", of+"/tracks/"+tr+"/audio.wav", of+"/tracks/"+tr+"/audio.opus")
			for _, format := range []string{"json", "txt", "vtt", "srt"} {
				paths = append(paths, of+"/transcript."+format)
			}
		}
		for _, path := range paths {
			d.ask(r, from, mallory, http.MethodGet, path, "")
			d.ask(r, from, mallory, http.MethodGet, path, "", "Range", "bytes=0-1")
			d.ask(r, from, "", http.MethodGet, path, "")
			links, _ := json.Marshal(map[string][]string{"paths": {strings.SplitN(path, "?", 2)[0]}})
			d.ask(r, from, mallory, http.MethodPost, "/v1/links", string(links))
		}
		d.ask(r, from, mallory, http.MethodPost, "/v1/meetings/"+m+"/end", "")
		d.ask(r, from, mallory, http.MethodDelete, "/v1/meetings/"+m, "")
		// What they may read, at places of others.
		_, cursor := d.page("") // of all rooms
		for _, path := range []string{"/v1/meetings?cursor=" + url.QueryEscape(cursor), "/v1/meetings?limit=100&cursor=" + m, "/v1/search?q=word&cursor=" + m, "/v1/rooms/attic/stats?cursor=" + m} {
			d.own(r, from, mallory, path, "")
		}
		d.own(r, from, mallory, "/v1/rooms/attic/events", m+".0,"+m+".1")
	}
	live := d.session("board")
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		d.ask(r, from, mallory, method, live, "", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*")
	}
	d.request("", d.pass("board-2"), http.MethodDelete, live, "")
}

// own reads what the attacker may read; request looks whether others are in it.
func (d *door) own(r *row, from, who, path, lastID string) {
	var headers []string
	if lastID != "" {
		headers = []string{"Last-Event-ID", lastID}
	}
	_, status, text := d.request(from, who, http.MethodGet, path, "", headers...)
	if r.sent.Add(1); status == "200" {
		status = "nothing of theirs"
	}
	r.answer(status, path, text)
}

// session begins one beside the speaker's in a room of the same name, and gives
// its path.
func (d *door) session(room string) string {
	who := token(d.t, room+"-2", "victor", time.Hour, auth.Publish)
	h, status, text := d.request("", who, http.MethodPost, "/v1/rooms/"+room+"-2/whip", offer(d.t), "Content-Type", "application/sdp")
	if status != "201" {
		d.t.Fatalf("%s: %s", status, text)
	}
	return strings.TrimPrefix(h.Get("Location"), d.url)
}

// replays are credentials that were good once, or never.
func (d *door) replays(r *row) {
	from := address(602)
	sign := func(method jwt.SigningMethod, key any, change func(c *auth.Claims)) string {
		c := auth.Claims{Room: auth.Rooms{"*"}, Act: []auth.Act{auth.Publish, auth.Listen, auth.Manage}, Participant: "mallory"}
		c.Stamp(time.Now(), time.Hour, "", defaultAudience)
		change(&c)
		s, err := jwt.NewWithClaims(method, &c).SignedString(key)
		if err != nil {
			d.t.Fatal(err)
		}
		return s
	}
	same := func(*auth.Claims) {}
	secret := []byte(tokenSecret)
	good := sign(jwt.SigningMethodHS256, secret, same)
	if _, status, _ := d.request(from, good, http.MethodGet, "/v1/meetings", ""); status != "200" {
		d.t.Fatalf("a good token: %s", status)
	}
	part := strings.Split(good, ".")
	for name, tok := range map[string]string{
		"expired":          sign(jwt.SigningMethodHS256, secret, func(c *auth.Claims) { c.Stamp(time.Now().Add(-2*time.Hour), time.Hour, "", defaultAudience) }),
		"another audience": sign(jwt.SigningMethodHS256, secret, func(c *auth.Claims) { c.Audience = jwt.ClaimStrings{"other"} }),
		"without an end":   sign(jwt.SigningMethodHS256, secret, func(c *auth.Claims) { c.ExpiresAt = nil }),
		"not yet":          sign(jwt.SigningMethodHS256, secret, func(c *auth.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }),
		"another secret":   sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), same),
		"the empty secret": sign(jwt.SigningMethodHS256, []byte{}, same),
		"none":             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"HS512":            sign(jwt.SigningMethodHS512, secret, same),
		"HS384":            sign(jwt.SigningMethodHS384, secret, same),
		"no signature":     part[0] + "." + part[1] + ".",
		"cut":              good[:len(good)-2],
		"two parts":        part[0] + "." + part[1],
		"another's body":   part[0] + "." + strings.Split(d.inside("attic", "m"), ".")[1] + "." + part[2],
		"garbage":          "x.y.z",
		"huge":             strings.Repeat("e", 9000),
	} {
		for _, path := range []string{"/v1/meetings", "/v1/rooms/board", "/v1/rooms/board/events", "/metrics", "/v1/meetings/" + d.ids[0] + "/transcript.txt"} {
			h, text := d.ask(r, from, tok, http.MethodGet, path, "")
			if h != nil {
				d.t.Errorf("a token that is %s opens %s: %.100s", name, path, text)
			}
		}
	}
	d.replayErased(r, from)
}

// replayErased uses what was good for a meeting that was erased.
func (d *door) replayErased(r *row, from string) {
	boss := d.inside("shed", "boss")
	operator := d.token
	defer func() { d.token = operator }()
	d.room = "shed"
	c := d.ingest("", 16000, "")
	c.send(make([]int16, 8000), 0, 8000)
	c.end(8000)
	id := c.ready.Meeting
	h, status, _ := d.request(from, boss, http.MethodPost, "/v1/rooms/shed/whip", offer(d.t), "Content-Type", "application/sdp")
	if status != "201" {
		d.t.Fatalf("a session: %s", status)
	}
	session := strings.TrimPrefix(h.Get("Location"), d.url)
	paths := []string{"/v1/meetings/" + id + "/audio.flac", "/v1/meetings/" + id + "/transcript.vtt"}
	ask, _ := json.Marshal(map[string][]string{"paths": paths})
	_, _, text := d.request(from, boss, http.MethodPost, "/v1/links", string(ask))
	var made struct{ Links []struct{ URL string } }
	if err := json.Unmarshal([]byte(text), &made); err != nil || len(made.Links) != 2 {
		d.t.Fatalf("links: %v, %s", err, text)
	}
	if _, status, _ := d.request(from, "", http.MethodGet, made.Links[1].URL, ""); status != "200" {
		d.t.Fatalf("a link before: %s", status)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		d.request(from, boss, http.MethodPost, "/v1/meetings/"+id+"/end", "")
		if _, status, text = d.request(from, boss, http.MethodDelete, "/v1/meetings/"+id, ""); status == "204" {
			break
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("erase: %s %s", status, text)
		}
	}
	for _, l := range made.Links {
		d.ask(r, from, "", http.MethodGet, l.URL, "")
		d.ask(r, from, "", http.MethodGet, strings.Replace(l.URL, id, d.ids[0], 1), "") // for another meeting
		d.ask(r, from, "", http.MethodGet, l.URL+"&expires=9999999999", "", "Range", "bytes=0-1")
	}
	for _, path := range append(paths, "/v1/meetings/"+id, "/v1/meetings/"+id+"/stats") {
		d.ask(r, from, boss, http.MethodGet, path, "")
	}
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		d.ask(r, from, boss, method, session, "a=ice-ufrag:x\r\na=ice-pwd:y\r\n", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*")
	}
	r.sent.Add(1)
	d.token = boss // to somebody else, the stream is none
	d.ingest("", 16000, c.ready.Resume).closed(4404)
	r.answer("closed 4404", "resume", "")
}

// deaf are insiders who ask for captions and audio, and read none of it.
func (d *door) deaf(r *row) {
	who, at := d.pass("board"), d.meetingsOf("board")[0]
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range 200 {
		path := "/v1/rooms/board/events"
		if i%2 == 0 {
			path = "/v1/meetings/" + at[0] + "/tracks/" + at[1] + "/audio.wav"
		}
		c := d.tiny()
		conns = append(conns, c)
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, address(700+i), who)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, b); err != nil {
			d.t.Error(err)
		}
		r.sent.Add(1)
		r.answer(string(b[len(b)-3:]), path, "")
	}
	// Streams of events are cut off when they take nothing for 15 s, files after a
	// minute: those hang up here.
	deadline := time.Now().Add(time.Minute)
	for d.scrape()["verbatim_event_streams"] > float64(len(honest)) && time.Now().Before(deadline) {
		time.Sleep(200 * time.Millisecond)
	}
	if n := d.scrape()["verbatim_event_streams"]; n > float64(len(honest)) {
		d.t.Errorf("%v event streams are open", n)
	}
}

// meetingsOf are the ids of the meetings of a room, and of their first tracks.
func (d *door) meetingsOf(room string) (ids [][2]string) {
	var list struct {
		Meetings []struct {
			ID     string
			Tracks []struct{ ID string }
		}
	}
	if err := json.Unmarshal(d.get("/v1/meetings?room="+room), &list); err != nil {
		d.t.Fatal(err)
	}
	for _, m := range list.Meetings {
		if len(m.Tracks) > 0 {
			ids = append(ids, [2]string{m.ID, m.Tracks[0].ID})
		}
	}
	return ids
}
