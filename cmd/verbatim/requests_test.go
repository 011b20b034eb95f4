package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"verbatim/signaling/whipclient"
)

// offer is what a client sends, as pion makes it.
func offer(t testing.TB) string {
	t.Helper()
	var sdp string
	_, err := whipclient.Connect(t.Context(), whipclient.Options{}, func(_ context.Context, text string) (string, error) {
		sdp = text
		return "", io.EOF
	})
	if err == nil {
		t.Fatal("connected without an answer")
	}
	return sdp
}

// freePort is a port for those who have to know it beforehand. It stays free: whoever
// asks the system for any port gets one from 32768 on.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Bad input gets its problem, each with a sentence on what to do, and leaves the
// server unharmed.
func TestBadInput(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	client := &http.Client{Transport: s.held(t)}
	good := offer(t)
	before, _, _ := strings.Cut(good, "m=audio")
	audio := strings.TrimPrefix(good, before)
	const sdp = "application/sdp"
	for _, c := range []struct {
		name, method, path, contentType, body, host, origin string

		status int
		kind   string
	}{
		{name: "no body", path: "/v1/rooms/r/whip", contentType: sdp, status: 400, kind: "bad-offer"},
		{name: "garbage", path: "/v1/rooms/r/whip", contentType: sdp, body: "hello", status: 400, kind: "bad-offer"},
		{name: "wrong type", path: "/v1/rooms/r/whip", contentType: "application/json", body: "{}", status: 415, kind: "not-sdp"},
		{name: "no type", path: "/v1/rooms/r/whip", body: good, status: 415, kind: "not-sdp"},
		{name: "100 KB", path: "/v1/rooms/r/whip", contentType: sdp, body: good + strings.Repeat("a=x:y\r\n", 15000), status: 413, kind: "too-large"},
		{name: "no media", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.TrimSuffix(good, audio), status: 422, kind: "unsupported-media"},
		{name: "recvonly", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.Replace(good, "a=sendonly", "a=recvonly", 1), status: 400, kind: "not-sending"},
		{name: "inactive", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.Replace(good, "a=sendonly", "a=inactive", 1), status: 400, kind: "not-sending"},
		{name: "two audio tracks", path: "/v1/rooms/r/whip", contentType: sdp, body: good + audio, status: 422, kind: "unsupported-media"},
		{name: "video only", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.Replace(good, "m=audio", "m=video", 1), status: 422, kind: "unsupported-media"},
		{name: "no opus", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.Replace(good, "opus/48000/2", "speex/8000", 1), status: 422, kind: "no-codec"},
		{name: "no fingerprint", path: "/v1/rooms/r/whip", contentType: sdp, body: strings.ReplaceAll(good, "a=fingerprint", "a=x"), status: 400, kind: "bad-offer"},
		{name: "bad room", path: "/v1/rooms/Bad.Room/whip", contentType: sdp, body: good, status: 400, kind: "bad-room"},
		{name: "long room", path: "/v1/rooms/" + strings.Repeat("a", 65) + "/events", method: "GET", status: 400, kind: "bad-room"},
		{name: "path tricks", path: "/v1/rooms/..%2f..%2fetc/whip", contentType: sdp, body: good, status: 400, kind: "bad-room"},
		{name: "long name", path: "/v1/rooms/r/whip?name=" + strings.Repeat("n", 200), contentType: sdp, body: good, status: 400, kind: "bad-name"},
		{name: "bad participant", path: "/v1/rooms/r/whip?participant=..", contentType: sdp, body: good, status: 400, kind: "bad-participant"},
		{name: "unknown session", method: "DELETE", path: "/v1/sessions/00", status: 404, kind: "no-session"},
		{name: "unknown meeting", method: "GET", path: "/v1/meetings/nope", status: 404, kind: "not-found"},
		{name: "transcript of no meeting", method: "GET", path: "/v1/meetings/nope/transcript.vtt", status: 404, kind: "not-found"},
		{name: "audio of no track", method: "GET", path: "/v1/meetings/nope/tracks/x/audio.wav", status: 404, kind: "not-found"},
		{name: "ending no meeting", path: "/v1/meetings/nope/end", status: 404, kind: "not-found"},
		{name: "erasing no meeting", method: "DELETE", path: "/v1/meetings/nope", status: 404, kind: "not-found"},
		{name: "bad limit", method: "GET", path: "/v1/meetings?limit=0", status: 400, kind: "bad-limit"},
		{name: "bad cursor", method: "GET", path: "/v1/meetings?cursor=xyz", status: 400, kind: "bad-cursor"},
		{name: "foreign host", method: "GET", path: "/v1/meetings", host: "evil.example", status: 421, kind: "foreign-host"},
		{name: "foreign origin", path: "/v1/meetings/x/end", origin: "https://evil.example", status: 403, kind: "foreign-origin"},
		{name: "no route", method: "GET", path: "/v1/nothing", status: 404, kind: "no-route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), method, s.url+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			for k, v := range map[string]string{"Content-Type": c.contentType, "Origin": c.origin} {
				if v != "" {
					req.Header.Set(k, v)
				}
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var p struct {
				Status              int
				Type, Title, Detail string
			}
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
				t.Fatalf("%s, and no problem: %v", resp.Status, err)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %s", ct)
			}
			if resp.StatusCode != c.status || p.Status != c.status || p.Type != "urn:verbatim:problem:"+c.kind || p.Detail == "" {
				t.Errorf("%d %+v, want %d %s", resp.StatusCode, p, c.status, c.kind)
			}
		})
	}
	if ms := s.meetings(); len(ms) != 0 {
		t.Errorf("bad requests began %d meetings", len(ms))
	}
	s.stop()
}

func TestWHIPAnswer(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	resp, err := http.Post(s.url+"/v1/rooms/r/whip?name=Ada", "application/sdp; charset=utf-8", strings.NewReader(offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %v: %s", resp.Status, err, answer)
	}
	for _, want := range []string{
		"a=recvonly", "a=rtcp-mux-only", "usedtx=1", "a=ptime:60", "a=setup:passive", "a=end-of-candidates", "a=candidate",
	} {
		if !bytes.Contains(answer, []byte(want)) {
			t.Errorf("the answer lacks %s:\n%s", want, answer)
		}
	}
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || !location.IsAbs() {
		t.Errorf("Location %q is not absolute", resp.Header.Get("Location"))
	}
	if tag := resp.Header.Get("ETag"); len(tag) < 4 || tag[0] != '"' {
		t.Errorf("ETag %s is not strong", tag)
	}
	if id := resp.Header.Get("Verbatim-Meeting"); id != s.meetings()[0].ID {
		t.Errorf("Verbatim-Meeting is %q", id)
	}
	leave, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, location.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = http.DefaultClient.Do(leave); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("DELETE: %s", resp.Status)
	}
	options, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.url+"/v1/rooms/r/whip", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err = http.DefaultClient.Do(options)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Accept-Post") != "application/sdp" {
		t.Errorf("OPTIONS: %s, Accept-Post %q", resp.Status, resp.Header.Get("Accept-Post"))
	}
	s.stop()
}

// Garbage on the media port, in all the shapes that the port tells apart by the
// first byte, disturbs nobody.
func TestGarbageOnTheMediaPort(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	resp, err := http.Post(s.url+"/v1/rooms/r/whip", "application/sdp", strings.NewReader(offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	_, rest, _ := strings.Cut(string(answer), "a=candidate:")
	f := strings.Fields(rest) // foundation component protocol priority address port
	conn, err := net.Dial("udp", net.JoinHostPort(f[4], f[5]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20000 {
		b := make([]byte, r.IntN(1400))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if len(b) > 20 && i%3 == 0 { // a STUN binding request to somebody
			copy(b, []byte{0, 1, 0, byte(len(b)-20) &^ 3, 0x21, 0x12, 0xa4, 0x42})
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", s.url).CombinedOutput()
	if err != nil {
		t.Errorf("after the garbage: %v: %s", err, out)
	}
	s.stop()
}
