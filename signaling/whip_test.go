package signaling

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"verbatim/media"
	"verbatim/signaling/whipclient"
)

const endpoint = "/v1/rooms/r/whip"

// RFC 9725, 4.2: what offers are taken, and with what they are refused.
func TestWHIPOffers(t *testing.T) {
	s := begin(t, Config{})
	good := offer(t)
	session, audio, _ := strings.Cut(good, "m=audio")
	audio = "m=audio" + audio
	line := func(name string) string { // of the offer, whole
		_, rest, _ := strings.Cut(good, "a="+name)
		rest, _, _ = strings.Cut(rest, "\r\n")
		return "a=" + name + rest + "\r\n"
	}
	without := func(name string) string { return strings.Replace(good, line(name), "", 1) }
	swap := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the offer has no %q: %s", old, good)
		}
		return strings.ReplaceAll(good, old, by)
	}
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		kind                    string
		has, hasNot             string // in the answer's SDP
	}{
		{name: "sendonly", body: good, status: 201, has: "a=recvonly\r\n"},
		{name: "sendrecv", body: swap("a=sendonly", "a=sendrecv"), status: 201, has: "a=recvonly\r\n"},
		{name: "no direction, which is sendrecv", body: without("sendonly"), status: 201, has: "a=recvonly\r\n"},
		{name: "with a charset", contentType: "application/sdp; charset=utf-8", body: good, status: 201},
		{name: "type in capitals", contentType: "Application/SDP", body: good, status: 201},
		{name: "a mid that is a name", body: strings.Replace(swap("a=mid:0", "a=mid:mic.front-left"), "BUNDLE 0", "BUNDLE mic.front-left", 1), status: 201, has: "a=mid:mic.front-left\r\n"},
		{name: "no mid, no BUNDLE", body: strings.Replace(without("mid:"), line("group:BUNDLE"), "", 1), status: 201, has: "m=audio 9 ", hasNot: "BUNDLE"},
		{name: "no mid, but BUNDLE", body: without("mid:"), status: 201, has: "m=audio 9 ", hasNot: "a=mid"},
		{name: "an empty mid", body: swap("a=mid:0", "a=mid:"), status: 201, has: "m=audio 9 "},
		{name: "no BUNDLE", body: without("group:BUNDLE"), status: 201, has: "m=audio 9 "},
		{name: "ICE for the whole session", body: session + line("ice-ufrag:") + line("ice-pwd:") +
			strings.Replace(strings.Replace(audio, line("ice-ufrag:"), "", 1), line("ice-pwd:"), "", 1), status: 201},
		{name: "no candidates yet", body: strings.Join(keep(strings.SplitAfter(good, "\n"), "a=candidate", "a=end-of-candidates"), ""), status: 201, has: "a=end-of-candidates"},
		{name: "mDNS candidates", body: good + "a=candidate:1 1 udp 1 7d4f1f1a-5b5e-4c7e-a6f6-8a1c2f0e3d4b.local 61764 typ host\r\n", status: 201},
		{name: "a DTLS client", body: swap("a=setup:actpass", "a=setup:active"), status: 201, has: "a=setup:passive\r\n"},
		{name: "newlines alone", body: strings.ReplaceAll(good, "\r\n", "\n"), status: 201},
		{name: "a DTLS server", body: swap("a=setup:actpass", "a=setup:passive"), status: 400, kind: "bad-offer"},
		{name: "another BUNDLE", body: swap("BUNDLE 0", "BUNDLE 7"), status: 201, has: "m=audio 9 "},
		{name: "recvonly", body: swap("a=sendonly", "a=recvonly"), status: 400, kind: "not-sending"},
		{name: "inactive", body: swap("a=sendonly", "a=inactive"), status: 400, kind: "not-sending"},
		{name: "rejected", body: swap("m=audio 9", "m=audio 0"), status: 400, kind: "not-sending"},
		{name: "two audio tracks", body: good + audio, status: 422, kind: "unsupported-media"},
		{name: "audio and video", body: good + strings.Replace(audio, "m=audio", "m=video", 1), status: 422, kind: "unsupported-media"},
		{name: "two tracks in one section", body: good + "a=msid:x y\r\n", status: 422, kind: "unsupported-media"},
		{name: "no audio", body: session, status: 422, kind: "unsupported-media"},
		{name: "no codec of ours", body: swap("opus/48000/2", "speex/8000"), status: 422, kind: "no-codec"},
		{name: "no ufrag", body: without("ice-ufrag:"), status: 400, kind: "bad-offer"},
		{name: "half a candidate", body: good + "a=candidate:1 1\r\n", status: 400, kind: "bad-offer"},
		{name: "a fingerprint that is none", body: swap("a=fingerprint:", "a=fingerprint:x y "), status: 400, kind: "bad-offer"},
		{name: "not SDP", body: "hello", status: 400, kind: "bad-offer"},
		{name: "nothing", status: 400, kind: "bad-offer"},
		{name: "JSON", contentType: "application/json", body: "{}", status: 415, kind: "not-sdp"},
		{name: "no type", contentType: "-", body: good, status: 415, kind: "not-sdp"},
		{name: "a fragment", contentType: fragmentType, body: good, status: 415, kind: "not-sdp"},
		{name: "more than 64 KiB", body: good + strings.Repeat("a=x:y\r\n", 10000), status: 413, kind: "too-large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			switch c.contentType {
			case "":
				headers = []string{"Content-Type", sdpType}
			case "-":
			default:
				headers = []string{"Content-Type", c.contentType}
			}
			a := s.do("POST", endpoint, c.body, headers...)
			if a.status != c.status || a.kind != c.kind || !strings.Contains(a.body, c.has) {
				t.Fatalf("%d %s, want %d %s with %q: %s", a.status, a.kind, c.status, c.kind, c.has, a.body)
			}
			if c.hasNot != "" && strings.Contains(a.body, c.hasNot) {
				t.Errorf("the answer has %s: %s", c.hasNot, a.body)
			}
			switch a.status {
			case 201:
				created(t, s, a)
			case 415:
				if got := a.header.Get("Accept-Post"); got != sdpType {
					t.Errorf("Accept-Post %q", got)
				}
			}
		})
	}
	if n := s.engine.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// keep is lines without those that begin so.
func keep(lines []string, without ...string) (kept []string) {
next:
	for _, l := range lines {
		for _, w := range without {
			if strings.HasPrefix(l, w) {
				continue next
			}
		}
		kept = append(kept, l)
	}
	return kept
}

// created checks what every 201 has, and leaves.
func created(t *testing.T, s *service, a answer) {
	t.Helper()
	location, err := url.Parse(a.header.Get("Location"))
	if err != nil || !location.IsAbs() || !strings.HasPrefix(location.String(), s.url+"/v1/sessions/") || len(location.Path) < len("/v1/sessions/")+32 {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	if tag := a.header.Get("ETag"); !strongTag(tag) {
		t.Errorf("ETag %s", tag)
	}
	if ct := a.header.Get("Content-Type"); ct != sdpType {
		t.Errorf("Content-Type %s", ct)
	}
	if a.header.Get("Verbatim-Meeting") == "" {
		t.Error("no meeting is named")
	}
	for _, want := range []string{"a=candidate:", "a=end-of-candidates", "a=rtcp-mux-only", "a=setup:passive", "usedtx=1", "a=ptime:60"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the answer lacks %s: %s", want, a.body)
		}
	}
	if strings.Contains(a.body, "a=sendrecv") || strings.Contains(a.body, "m=audio 0") {
		t.Errorf("the answer is not that of a receiver: %s", a.body)
	}
	if a := s.do("DELETE", location.String(), "", "If-Match", `"another"`); a.status != 200 { // 4.3.1: of no matter
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	for range 1000 { // the session's goroutine is on its way out
		if s.do("DELETE", location.String(), "").status == 404 {
			return
		}
	}
	t.Error("the session does not end")
}

func strongTag(tag string) bool {
	return len(tag) > 8 && tag[0] == '"' && tag[len(tag)-1] == '"' && strings.Count(tag, `"`) == 2
}

// What the resources answer to everything else.
func TestWHIPMethods(t *testing.T) {
	var servers []ICEServer
	for _, text := range []string{"stun:stun.example.net", "turn:turn.example.net:3478?transport=udp&username=u%2C1&credential=p%22w"} {
		i, err := ParseICEServer(text)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, i)
	}
	s := begin(t, Config{ICEServers: servers, Origins: []string{"https://app.example"}})
	session := s.do("POST", endpoint, offer(t), "Content-Type", sdpType)
	location := session.header.Get("Location")
	path := strings.TrimPrefix(location, s.url)
	links := []string{
		`<stun:stun.example.net>; rel="ice-server"`,
		`<turn:turn.example.net:3478?transport=udp>; rel="ice-server"; username="u,1"; credential="p\"w"; credential-type="password"`,
	}
	if got := session.header.Values("Link"); strings.Join(got, "\n") != strings.Join(links, "\n") {
		t.Errorf("Link of the 201: %q", got)
	}
	preflight := []string{"Origin", "https://app.example", "Access-Control-Request-Headers", "content-type,authorization,if-match", "Access-Control-Request-Method"}
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
		want               map[string]string
	}{
		{name: "GET", method: "GET", path: endpoint, status: 204},
		{name: "HEAD", method: "HEAD", path: endpoint, status: 204},
		{name: "OPTIONS", method: "OPTIONS", path: endpoint, status: 204, want: map[string]string{"Accept-Post": sdpType, "Link": strings.Join(links, ", ")}},
		{name: "PUT", method: "PUT", path: endpoint, status: 405, want: map[string]string{"Allow": "GET, HEAD, POST, OPTIONS"}},
		{name: "GET of a session", method: "GET", path: path, status: 204},
		{name: "HEAD of a session", method: "HEAD", path: path, status: 204},
		{name: "OPTIONS of a session", method: "OPTIONS", path: path, status: 204, want: map[string]string{"Accept-Patch": fragmentType, "Link": ""}},
		{name: "POST to a session", method: "POST", path: path, status: 405, want: map[string]string{"Allow": "GET, HEAD, PATCH, DELETE, OPTIONS"}},
		{name: "preflight of a POST", method: "OPTIONS", path: endpoint, headers: append(preflight[:5:5], "POST"), status: 204, want: map[string]string{
			"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Allow-Methods": "POST", "Link": "",
			"Access-Control-Allow-Headers": "Content-Type, Authorization, If-Match",
		}},
		{name: "preflight of a PATCH", method: "OPTIONS", path: path, headers: append(preflight[:5:5], "PATCH"), status: 204, want: map[string]string{
			"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Allow-Methods": "PATCH",
		}},
		{name: "preflight of a DELETE", method: "OPTIONS", path: path, headers: append(preflight[:5:5], "DELETE"), status: 204, want: map[string]string{
			"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Allow-Methods": "DELETE",
		}},
		{name: "preflight from elsewhere", method: "OPTIONS", path: endpoint, headers: []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, status: 204, want: map[string]string{
			"Access-Control-Allow-Origin": "",
		}},
		{name: "a refusal, which the page may read", method: "POST", path: endpoint, headers: []string{"Origin", "https://app.example"}, status: 415, want: map[string]string{
			"Access-Control-Allow-Origin":   "https://app.example",
			"Access-Control-Expose-Headers": "Location, Etag, Link, Verbatim-Meeting, Verbatim-Participant, Retry-After, Www-Authenticate, Accept-Post, Accept-Patch",
		}},
		{name: "POST from elsewhere", method: "POST", path: endpoint, headers: []string{"Origin", "https://evil.example"}, status: 403},
		{name: "DELETE from elsewhere", method: "DELETE", path: path, headers: []string{"Origin", "https://evil.example"}, status: 403},
		// No address is redirected: a POST would become a GET.
		{name: "a slash too many", method: "POST", path: endpoint + "/", status: 404},
		{name: "two slashes", method: "POST", path: "/v1//rooms/r/whip", status: 404},
		{name: "dots", method: "POST", path: "/v1/rooms/x/../r/whip", status: 404},
		{name: "a session with a slash", method: "PATCH", path: path + "/", status: 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.do(c.method, c.path, "", c.headers...)
			if a.status != c.status || (a.status == 204 && a.body != "") || a.header.Get("Location") != "" {
				t.Fatalf("%d to %q, want %d: %s", a.status, a.header.Get("Location"), c.status, a.body)
			}
			for k, v := range c.want {
				if got := strings.Join(a.header.Values(k), ", "); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
}

// RFC 9725, 4.5.
func TestWHIPBusy(t *testing.T) {
	s := begin(t, Config{})
	location := s.do("POST", endpoint, offer(t), "Content-Type", sdpType).header.Get("Location")
	s.server.Drain()
	a := s.do("POST", endpoint, offer(t), "Content-Type", sdpType)
	if a.status != 503 || a.header.Get("Retry-After") == "" || a.kind != "shutting-down" {
		t.Errorf("while it drains: %d %s, Retry-After %q", a.status, a.kind, a.header.Get("Retry-After"))
	}
	if a := s.do("PATCH", location, "a=end-of-candidates\r\n", "Content-Type", fragmentType); a.status != 204 {
		t.Errorf("a session that goes on: %d %s", a.status, a.kind)
	}

	s = begin(t, Config{})
	if err := s.engine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = s.do("POST", endpoint, offer(t), "Content-Type", sdpType)
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("without a media engine: %d %s, Retry-After %q", a.status, a.kind, a.header.Get("Retry-After"))
	}

	s = begin(t, Config{Media: full{}})
	a = s.do("POST", endpoint, offer(t), "Content-Type", sdpType)
	if a.status != 503 || a.header.Get("Retry-After") == "" || a.kind != "full" {
		t.Errorf("one session too many: %d %s, Retry-After %q", a.status, a.kind, a.header.Get("Retry-After"))
	}
}

// full is a media engine with as many sessions as it takes.
type full struct{ Media }

func (full) Accept(context.Context, media.Offer, func() (string, error)) (media.Answer, error) {
	return media.Answer{}, media.ErrFull
}

// A bad offer of a participant leaves the session alone that they have; a good
// one replaces it.
func TestBadOfferLeavesTheSessionAlone(t *testing.T) {
	s := begin(t, Config{})
	mine := endpoint + "?participant=ada"
	text := offer(t)
	first := s.do("POST", mine, text, "Content-Type", sdpType)
	id := first.header.Get("Location")[len(s.url+"/v1/sessions/"):]
	for _, bad := range []string{"hello", strings.Replace(text, "a=fingerprint:", "a=fingerprint:x y ", 1), strings.Replace(text, "a=setup:actpass", "a=setup:nonsense", 1)} {
		if a := s.do("POST", mine, bad, "Content-Type", sdpType); a.status != 400 {
			t.Errorf("%d %s: %s", a.status, a.kind, a.body)
		}
	}
	if a := s.do("PATCH", "/v1/sessions/"+id, "a=end-of-candidates\r\n", "Content-Type", fragmentType); a.status != 204 || !s.registry.Current(id) {
		t.Errorf("the session is gone: %d %s", a.status, a.kind)
	}
	if a := s.do("POST", mine, text, "Content-Type", sdpType); a.status != 201 || s.registry.Current(id) {
		t.Errorf("%d %s; the first is still current: %v", a.status, a.kind, s.registry.Current(id))
	}
}

// Our client finds its way by 307, tries again on 503, and follows nothing that
// would make a GET of its POST.
func TestClientFollowsAndWaits(t *testing.T) {
	s := begin(t, Config{})
	var posts int
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts++
		switch {
		case strings.Contains(r.URL.Path, "moved"):
			http.Redirect(w, r, s.url+r.URL.RequestURI(), http.StatusFound)
		case posts < 3:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.Redirect(w, r, s.url+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}
	}))
	defer front.Close()
	client := &whipclient.Client{URL: front.URL}
	session, err := client.Join(t.Context(), "r", "ada", "Ada", whipclient.Options{Trickle: true})
	if err != nil {
		t.Fatal(err)
	}
	if posts != 3 || !strings.HasPrefix(session.URL, s.url) {
		t.Errorf("%d POSTs, session %s", posts, session.URL)
	}
	if err := session.Send([]byte{11<<3 | 1, 0}, 960); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := session.Restart(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := session.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := client.Join(t.Context(), "moved", "ada", "Ada", whipclient.Options{}); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a 302: %v", err)
	}
}

func TestICEServer(t *testing.T) {
	long, short := secretFile(t, "a secret of many bytes\n"), secretFile(t, "hunter2\n")
	for _, c := range []struct{ text, link string }{
		{"stun:stun.example.net:3478", `<stun:stun.example.net:3478>; rel="ice-server"`},
		{"turns:t.example.net?transport=tcp&username=u&credential=p%26%5C", `<turns:t.example.net?transport=tcp>; rel="ice-server"; username="u"; credential="p&\\"; credential-type="password"`},
		{"turn:t.example.net", ""},
		{"turn:t.example.net?username=u", ""},
		{"stun:s.example.net?username=u&credential=hunter2", ""},
		{"turn:t.example.net?username=u&credential=hunter2%0d%0aX:y", ""},
		{"https://example.net/?credential=hunter2", ""},
		{"turn:t.example.net?credential=hunter2%zz&username=u", ""},
		{`stun:a"><b`, ""},
		{"turn:%s:1?username=u&credential=hunter2", ""},
		{"turn:t.example.net?secret-file=" + short, ""},
		{"turn:t.example.net?secret-file=" + long + "&username=u&credential=hunter2", ""},
		{"turn:t.example.net?secret-file=/nowhere", ""},
		{"stun:t.example.net?secret-file=" + long, ""},
		{"", ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, err := ParseICEServer(c.text)
			if (err == nil) != (c.link != "") || err == nil && s.link() != c.link {
				t.Errorf("%v: %s, want %s", err, s.link(), c.link)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Each client gets credentials of its own, which end, and of which a TURN server
// with the same secret makes the same password.
func TestEphemeralCredentials(t *testing.T) {
	const secret = "a secret of many bytes"
	outside, err := ParseICEServer("turns:t.example.net?transport=tcp&secret-file=" + secretFile(t, secret+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	servers := []ICEServer{
		outside, OurTURN("", 3478, "udp", []byte(secret)), OurTURN("", 5349, "tls", []byte("another")), OurTURN("turn.example", 3478, "tcp", []byte(secret)),
	}
	now := time.Unix(1_800_000_000, 0)
	pattern := regexp.MustCompile(`^<([^>]*)>; rel="ice-server"; username="(1800000600:[A-Z2-7]{26})"; credential="([^"]*)"; credential-type="password"$`)
	names := map[string]bool{}
	for host, ours := range map[string]string{"meet.example:8443": "meet.example", "[2001:db8::1]:8443": "[2001:db8::1]", "[2001:db8::1]": "[2001:db8::1]", "192.0.2.1": "192.0.2.1"} {
		want := []string{"turns:t.example.net?transport=tcp", "turn:" + ours + ":3478?transport=udp", "turns:" + ours + ":5349?transport=tcp", "turn:turn.example:3478?transport=tcp"}
		var uris []string
		for _, l := range links(servers, host, now) {
			m := pattern.FindStringSubmatch(l)
			if m == nil {
				t.Fatal(l)
			}
			if _, err := stun.ParseURI(m[1]); err != nil {
				t.Errorf("%s: %v", m[1], err)
			}
			uris = append(uris, m[1])
			names[m[2]] = true
			mac := hmac.New(sha1.New, []byte(secret))
			mac.Write([]byte(m[2]))
			if same := base64.StdEncoding.EncodeToString(mac.Sum(nil)) == m[3]; same == strings.Contains(m[1], ":5349") {
				t.Errorf("%s: the password is that of the secret: %v", m[1], same)
			}
		}
		if !slices.Equal(uris, want) {
			t.Errorf("%s: %q, want %q", host, uris, want)
		}
	}
	if len(names) != 4 {
		t.Errorf("%d names for 4 clients", len(names))
	}
	if l := links(servers, `x">; rel="y`, now); len(l) != 2 {
		t.Errorf("a host that is none is told of: %q", l)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", servers, servers, servers, servers); strings.Contains(text, "another") || strings.Contains(text, secret) {
		t.Errorf("it shows its secret: %s", text)
	}
}

// Characters that turn around what stands beside them are no part of a name.
func TestParticipantName(t *testing.T) {
	for _, c := range [][2]string{
		{"Ada", "Ada"},
		{" \u202eevil\u2066 \u200f", "evil"},
		{"a\x00\u0085b", "ab"},
		{"\u202e", "Guest"},
		{"", "Guest"},
		{"שרה", "שרה"},
	} {
		given, want := c[0], c[1]
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?"+url.Values{"name": {given}}.Encode(), http.NoBody)
		if p, err := participant(r); err != nil || p.Name != want {
			t.Errorf("%q: %q, %v", given, p.Name, err)
		}
	}
}
