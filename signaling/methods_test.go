package signaling

import (
	"net/http"
	"strings"
	"testing"
)

// What an address takes, it says with 405 and to OPTIONS; the pages, which are
// at all other addresses, hide nothing.
func TestMethods(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("page")) })
	s := begin(t, Config{Web: page, Metrics: page})
	for path, allow := range map[string]string{
		"/healthz":                             "GET, HEAD, OPTIONS",
		"/readyz":                              "GET, HEAD, OPTIONS",
		"/metrics":                             "GET, HEAD, OPTIONS",
		"/openapi.yaml":                        "GET, HEAD, OPTIONS",
		"/":                                    "GET, HEAD, OPTIONS",
		"/v1/rooms/r":                          "GET, HEAD, OPTIONS",
		"/v1/rooms/r/events":                   "GET, OPTIONS",
		"/v1/rooms/r/whip":                     "GET, HEAD, POST, OPTIONS",
		"/v1/sessions/x":                       "GET, HEAD, PATCH, DELETE, OPTIONS",
		"/v1/meetings":                         "GET, HEAD, OPTIONS",
		"/v1/meetings/x":                       "GET, HEAD, DELETE, OPTIONS",
		"/v1/meetings/x/end":                   "POST, OPTIONS",
		"/v1/meetings/x/transcript.vtt":        "GET, HEAD, OPTIONS",
		"/v1/meetings/x/tracks/y/audio.opus":   "GET, HEAD, OPTIONS",
		"/v1/meetings/x/tracks/y/audio.wav":    "GET, HEAD, OPTIONS",
		"/v1/meetings/x/audio.flac":            "GET, HEAD, OPTIONS",
		"/v1/rooms/r/ingest":                   "GET, HEAD, OPTIONS",
		"/v1/search":                           "GET, HEAD, OPTIONS",
		"/v1/links":                            "POST, OPTIONS",
		"/v1/rooms/" + strings.Repeat("r", 64): "GET, HEAD, OPTIONS",
	} {
		for _, method := range []string{http.MethodPut, "QUERY"} {
			a := s.do(method, path, "")
			if a.status != http.StatusMethodNotAllowed || a.kind != "method" || a.header.Get("Allow") != allow {
				t.Errorf("%s %s: %d %s, Allow %q, want %q", method, path, a.status, a.kind, a.header.Get("Allow"), allow)
			}
		}
		if a := s.do(http.MethodOptions, path, ""); a.status != http.StatusNoContent {
			t.Errorf("OPTIONS %s: %d", path, a.status)
		}
	}
	for path, status := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/openapi.yaml": 200, "/": 200, "/v1/rooms/r/events": 405,
		"/v1/rooms/r/ingest": 426, "/v1/rooms/r/stats?limit=x": 400, "/v1/nothing": 404,
	} {
		if a := s.do(http.MethodHead, path, ""); a.status != status || a.body != "" {
			t.Errorf("HEAD %s: %d %s", path, a.status, a.body)
		}
	}
	if a := s.do(http.MethodGet, "/v1/nothing", ""); a.kind != "no-route" || !strings.Contains(a.body, "/openapi.yaml") {
		t.Errorf("nothing: %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodGet, "/openapi.yaml", ""); a.body != string(openAPI) {
		t.Errorf("/openapi.yaml: %d %.80s", a.status, a.body)
	}
}

// A page of another origin may erase a meeting and resume its events: the browser
// asks first, and goes on only after a 2xx.
func TestPreflights(t *testing.T) {
	s := begin(t, Config{Origins: []string{"https://app.example"}})
	for _, c := range []struct{ method, path, header string }{
		{"DELETE", "/v1/meetings/x", ""},
		{"GET", "/v1/rooms/r/events", "last-event-id"},
		{"GET", "/v1/meetings", "authorization"},
		{"POST", "/v1/meetings/x/end", "authorization"},
	} {
		ask := []string{"Access-Control-Request-Method", c.method, "Access-Control-Request-Headers", c.header, "Origin"}
		a := s.do(http.MethodOptions, c.path, "", append(ask[:5:5], "https://app.example")...)
		if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Methods") != c.method ||
			!strings.EqualFold(a.header.Get("Access-Control-Allow-Headers"), c.header) {
			t.Errorf("%s %s: %d %v", c.method, c.path, a.status, a.header)
		}
		a = s.do(http.MethodOptions, c.path, "", append(ask[:5:5], "https://evil.example")...)
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s from elsewhere: %v", c.method, c.path, a.header)
		}
	}
}

// An origin is one site. What is none lets nobody read anything: the parts that ask for
// it would not understand it alike.
func TestOriginsThatAreNone(t *testing.T) {
	for _, o := range []string{"*", "https://*", "https://*.example.org", "null", "app.example.org", "https://app.example.org/", ""} {
		if CheckOrigin(o) == nil {
			t.Errorf("%q is taken", o)
		}
		s := begin(t, Config{Origins: []string{o, "https://app.example"}})
		for _, from := range []string{"https://evil.example", "https://evil.example.org", "null"} {
			if a := s.do(http.MethodGet, "/v1/nothing", "", "Origin", from); a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("with %q, pages of %s may read: %v", o, from, a.header)
			}
		}
		if a := s.do(http.MethodGet, "/v1/nothing", "", "Origin", "https://app.example"); a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("with %q, those of the good one may not read", o)
		}
	}
	if err := CheckOrigin("http://localhost:3000"); err != nil {
		t.Error(err)
	}
}

// A page of another site has nothing read of a server on loopback that asks nobody who
// they are, although it could not see what.
func TestPagesThatSpy(t *testing.T) {
	const app = "https://app.example"
	servers := map[bool]*service{false: begin(t, Config{}), true: begin(t, Config{Origins: []string{app}})}
	for _, c := range []struct {
		name, path       string
		allowed          bool // app is
		site, mode, dest string
		origin           string
		refused          bool
	}{
		{name: "its own page", path: "/v1/nothing", site: "same-origin", mode: "cors", dest: "empty"},
		{name: "a program", path: "/v1/nothing"},
		{name: "typed into the address bar", path: "/v1/nothing", site: "none", mode: "navigate", dest: "document"},
		{name: "a link", path: "/v1/nothing", site: "cross-site", mode: "navigate", dest: "document"},
		{name: "a frame", path: "/v1/nothing", site: "cross-site", mode: "navigate", dest: "iframe", refused: true},
		{name: "a script", path: "/v1/search?q=a", site: "cross-site", mode: "no-cors", dest: "script", refused: true},
		{name: "a player", path: "/v1/meetings/a/audio.flac", site: "cross-site", mode: "no-cors", dest: "audio", refused: true},
		{name: "fetch", path: "/v1/nothing", site: "cross-site", mode: "cors", dest: "empty", origin: app, refused: true},
		{name: "fetch by a page that may", path: "/v1/nothing", allowed: true, site: "cross-site", mode: "cors", dest: "empty", origin: app},
		{name: "fetch by another", path: "/v1/nothing", allowed: true, site: "cross-site", mode: "cors", dest: "empty", origin: "https://evil.example", refused: true},
		{name: "a player of a page that may", path: "/v1/nothing", allowed: true, site: "cross-site", mode: "no-cors", dest: "audio"},
		{name: "what is for all", path: "/openapi.yaml", site: "cross-site", mode: "cors", dest: "empty", origin: app},
	} {
		s := servers[c.allowed]
		var headers []string
		for k, v := range map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.dest, "Origin": c.origin} {
			if v != "" {
				headers = append(headers, k, v)
			}
		}
		if a := s.do(http.MethodGet, c.path, "", headers...); (a.kind == "foreign-origin") != c.refused || c.refused && a.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
}
