package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"verbatim/signaling"
)

// A page of another site, whose name was resolved to this machine, gets nothing.
func TestProfilesAreOfThisMachineOnly(t *testing.T) {
	ok := ownName(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, want := range map[string]int{
		"127.0.0.1:6060": 200, "localhost:6060": 200, "[::1]:6060": 200, "127.0.0.1": 200,
		"evil.example:6060": 421, "192.0.2.1:6060": 421, "": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil)
		r.Host = host
		w := httptest.NewRecorder()
		ok.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("asked as %q it answers %d, want %d", host, w.Code, want)
		}
	}
}

// What is for operators is on an address of its own, which other machines cannot
// reach unless they are meant to.
func TestAdmin(t *testing.T) {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:", "--admin", "0.0.0.0:0"}
	out, err := verbatim(t.Context(), args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--insecure-admin") {
		t.Errorf("%v: %s", err, out)
	}
	for _, more := range [][]string{nil, {"--insecure-admin"}} {
		s := serve(t, t.TempDir(), "none:", append([]string{"--admin", map[bool]string{true: "127.0.0.1:0", false: "0.0.0.0:0"}[more == nil]}, more...)...)
		for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 200, "/v1/meetings": 404} {
			if got := status(t, s.admin+path); got != want {
				t.Errorf("%v: %s answers %d, want %d", more, path, got, want)
			}
		}
		for path, want := range map[string]int{"/metrics": 404, "/debug/pprof/": 404, "/healthz": 200} {
			if got := status(t, s.url+path); got != want {
				t.Errorf("on the public address, %s answers %d, want %d", path, got, want)
			}
		}
		s.stop()
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// A server that cannot keep audio is not ready, says why, and is alive all the same.
func TestNotReady(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Logf("what is free is not known on %s", runtime.GOOS)
		return
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := serveTo(t, log, t.TempDir(), "none:", "--min-free", "1000000TB")
	resp, err := http.Get(s.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p signaling.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	if p.Type != "urn:verbatim:problem:not-ready" || !strings.HasPrefix(p.Detail, "disk: ") || strings.Contains(p.Detail, "database") || !strings.Contains(p.Detail, "--min-free") {
		t.Errorf("it says %+v", p)
	}
	if got := status(t, s.url+"/healthz"); got != http.StatusOK {
		t.Errorf("alive: %d", got)
	}
	// It says so once.
	for range 3 {
		status(t, s.url+"/readyz")
	}
	s.stop()
	text, err := os.ReadFile(log.Name())
	if err != nil || strings.Count(string(text), "a check fails") != 1 {
		t.Errorf("%v: %s", err, text)
	}
}
