package web

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, r)
	return w.Result()
}

func TestServes(t *testing.T) {
	for path, want := range map[string]string{
		"/":                   "text/html; charset=utf-8",
		"/meetings":           "text/html; charset=utf-8",
		"/meetings/01ABC":     "text/html; charset=utf-8",
		"/meetings.css":       "text/css; charset=utf-8",
		"/app.js":             "text/javascript; charset=utf-8",
		"/app/words.js":       "text/javascript; charset=utf-8",
		"/client/verbatim.js": "text/javascript; charset=utf-8",
		"/client/example/":    "text/html; charset=utf-8",
		"/style.css":          "text/css; charset=utf-8",
		"/favicon.svg":        "image/svg+xml",
	} {
		t.Run(path, func(t *testing.T) {
			res := get(t, "GET", path)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("status %d", res.StatusCode)
			}
			h := res.Header
			if got := h.Get("Content-Type"); got != want {
				t.Errorf("Content-Type %q, want %q", got, want)
			}
			if h.Get("Cache-Control") != "no-cache" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", h)
			}
			if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self';") {
				t.Errorf("Content-Security-Policy %q", csp)
			}
			if got := h.Get("Access-Control-Allow-Origin") == "*"; got != strings.HasPrefix(path, "/client/") {
				t.Errorf("open to other origins: %v", got)
			}
			if res = get(t, "GET", path, "If-None-Match", h.Get("ETag")); res.StatusCode != http.StatusNotModified {
				t.Errorf("with its own ETag %s: status %d", h.Get("ETag"), res.StatusCode)
			}
		})
	}
}

// Pages may speak to other nodes, where their sessions are, and play what these
// have; scripts know nothing of them.
func TestOtherNodes(t *testing.T) {
	h := Handler(func(context.Context) []string { return []string{"https://n1.example", "https://n2.example:8443"} })
	const nodes = " 'self' https://n1.example https://n2.example:8443"
	for path, want := range map[string]bool{"/meetings/01ABC": true, "/meetings": true, "/": true, "/app.js": false} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		csp := w.Result().Header.Get("Content-Security-Policy")
		if got := strings.HasSuffix(csp, "; connect-src"+nodes+"; media-src"+nodes); got != want || !strings.HasPrefix(csp, "default-src 'self';") {
			t.Errorf("%s: %q", path, csp)
		}
	}
}

func TestNotServed(t *testing.T) {
	for _, path := range []string{
		"/index.html", "/meeting.html", "/meetings/", "/meetings/01ABC/x", "/meeting", "/nothing", "/client/", "/client", "/app", "/v1/rooms",
		"/client/sse.test.js", "/client/package.json", "/client/example/index.html", "/app/words.test.js", "/web.go", "/e2e/package.json",
	} {
		if res := get(t, "GET", path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
	if res := get(t, "POST", "/"); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
		t.Errorf("POST /: status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

// A module that is imported but was forgotten in the list of embedded files
// would leave a blank page behind.
func TestNothingForgotten(t *testing.T) {
	for _, dir := range []string{"app", "client", "client/example"} {
		on, err := fs.Glob(os.DirFS("."), dir+"/*.js")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range on {
			_, err := fs.Stat(files, name)
			if embedded := err == nil; embedded == strings.HasSuffix(name, ".test.js") {
				t.Errorf("%s: embedded is %v", name, embedded)
			}
		}
	}
}

// The policy forbids what stands in the markup, so nothing may.
func TestPolicyHolds(t *testing.T) {
	for _, name := range pages {
		page, err := files.ReadFile(name[1:])
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{`\sstyle=`, `\son[a-z]+=`, `<style`, `<script>`, `https?://`} {
			if m := regexp.MustCompile(bad).Find(page); m != nil {
				t.Errorf("%s has %q", name, m)
			}
		}
	}
}
