package signaling

import (
	"strings"
	"testing"
)

// RFC 9725, 4.3: trickle ICE and restarts.
func TestWHIPPatch(t *testing.T) {
	s := begin(t, Config{})
	text := offer(t)
	a := s.do("POST", endpoint, text, "Content-Type", sdpType)
	location, first := a.header.Get("Location"), a.header.Get("ETag")
	credentials := func(of string) string {
		var b strings.Builder
		for line := range strings.Lines(of) {
			if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	present := credentials(text)
	const (
		section   = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
		candidate = "a=candidate:1387637174 1 udp 2122260223 127.0.0.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
		fresh     = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
		fresher   = "a=ice-ufrag:zsXw\r\na=ice-pwd:zw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
	)
	tag := first
	for _, c := range []struct {
		name, url, contentType, body string
		match                        []string // If-Match; @ is for the present tag
		status                       int
		kind                         string
	}{
		{name: "a candidate", body: present + section + candidate, match: []string{"@"}, status: 204},
		{name: "no If-Match", body: present + section + candidate, status: 204},
		{name: "If-Match: *", body: present + section + candidate, match: []string{"*"}, status: 204},
		{name: "a list of tags", body: present + section + candidate, match: []string{`"a,b" , @`}, status: 204},
		{name: "tags in two headers", body: present + section + candidate, match: []string{`"x"`, "@"}, status: 204},
		{name: "with a charset", contentType: fragmentType + "; charset=utf-8", body: present + section + candidate, status: 204},
		{name: "end of candidates", body: present + section + "a=end-of-candidates\r\n", match: []string{"@"}, status: 204},
		{name: "credentials in the section", body: section + present + candidate, match: []string{"@"}, status: 204},
		{name: "no section", body: present + candidate, match: []string{"@"}, status: 204},
		{name: "another section", body: present + "m=video 9 RTP/AVP 0\r\na=mid:video\r\n" + candidate, match: []string{"@"}, status: 204},
		{name: "mDNS", body: present + section + "a=candidate:1 1 udp 1 7d4f1f1a-5b5e-4c7e-a6f6-8a1c2f0e3d4b.local 61764 typ host\r\n", status: 204},
		{name: "TCP", body: present + section + "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active\r\n", status: 204},
		{name: "another tag", body: present + section + candidate, match: []string{`"other"`}, status: 412, kind: "other-ice-session"},
		{name: "a weak tag", body: present + section + candidate, match: []string{"W/@"}, status: 412, kind: "other-ice-session"},
		{name: "a tag without quotes", body: present + section + candidate, match: []string{"abc"}, status: 400, kind: "bad-if-match"},
		{name: "an open tag", body: present + section + candidate, match: []string{`"abc`}, status: 400, kind: "bad-if-match"},
		{name: "JSON", contentType: "application/json", body: `{"candidate":""}`, status: 415, kind: "not-sdpfrag"},
		{name: "an offer", contentType: sdpType, body: text, status: 415, kind: "not-sdpfrag"},
		{name: "not SDP", body: "hello", status: 400, kind: "bad-fragment"},
		{name: "nothing", status: 400, kind: "bad-fragment"},
		{name: "half a candidate", body: present + section + "a=candidate:1\r\n", status: 400, kind: "bad-fragment"},
		{name: "a restart without a password", body: "a=ice-ufrag:ysXw\r\n", match: []string{"*"}, status: 400, kind: "bad-fragment"},
		{name: "a restart with a short password", body: "a=ice-ufrag:ysXw\r\na=ice-pwd:short\r\n", match: []string{"*"}, status: 400, kind: "bad-fragment"},
		{name: "more than 64 KiB", body: present + section + strings.Repeat(candidate, 1000), status: 413, kind: "too-large"},
		{name: "an unknown session", url: "/v1/sessions/00", body: present + section + candidate, status: 404, kind: "no-session"},
		{name: "a restart without If-Match", body: fresh, status: 428, kind: "no-if-match"},
		{name: "a restart of another session", body: fresh, match: []string{`"other"`}, status: 412, kind: "other-ice-session"},
		{name: "a restart", body: fresh, match: []string{"*"}, status: 200},
		{name: "a candidate for the ICE session before", body: present + section + candidate, match: []string{first}, status: 412, kind: "other-ice-session"},
		{name: "that without If-Match", body: present + section + candidate, status: 428, kind: "no-if-match"},
		{name: "a candidate for this one", body: fresh + section + candidate, match: []string{"@"}, status: 204},
		{name: `a restart by "*"`, body: "a=group:BUNDLE 0\r\n" + section + fresher + candidate + "a=end-of-candidates\r\n", match: []string{`"*"`}, status: 200},
		{name: "a restart by the present tag", body: fresh, match: []string{"@"}, status: 200},
		{name: "the last of a few", body: fresher, match: []string{"*"}, status: 200},
		{name: "one too many", body: fresh, match: []string{"*"}, status: 429, kind: "too-many-restarts"},
		{name: "it goes on all the same", body: fresher + section + candidate, match: []string{"@"}, status: 204},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.contentType == "" {
				c.contentType = fragmentType
			}
			if c.url == "" {
				c.url = location
			}
			headers := []string{"Content-Type", c.contentType}
			for _, m := range c.match {
				headers = append(headers, "If-Match", strings.ReplaceAll(m, "@", tag))
			}
			a := s.do("PATCH", c.url, c.body, headers...)
			if a.status != c.status || a.kind != c.kind {
				t.Fatalf("%d %s, want %d %s: %s", a.status, a.kind, c.status, c.kind, a.body)
			}
			got := a.header.Get("ETag")
			switch a.status {
			case 200:
				if !strongTag(got) || got == tag || a.header.Get("Content-Type") != fragmentType {
					t.Errorf("ETag %s after %s, Content-Type %s", got, tag, a.header.Get("Content-Type"))
				}
				if c := credentials(a.body); strings.Count(c, "\n") != 2 || !strings.Contains(a.body, "a=candidate:") || !strings.Contains(a.body, "a=mid:0\r\n") {
					t.Errorf("the answer is %s", a.body)
				}
				tag = got
			case 204:
				if got != "" || a.body != "" { // 4.3.2
					t.Errorf("ETag %q, body %q", got, a.body)
				}
			case 415:
				if got := a.header.Get("Accept-Patch"); got != fragmentType {
					t.Errorf("Accept-Patch %q", got)
				}
			case 429:
				if a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
		})
	}
	if n := s.engine.Sessions(); n != 1 {
		t.Errorf("%d sessions, want the one", n)
	}
}
