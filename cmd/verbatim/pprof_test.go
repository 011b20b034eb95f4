package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
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
