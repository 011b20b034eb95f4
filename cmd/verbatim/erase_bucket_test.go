package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// While the bucket refuses, a meeting that is to be erased is hidden, and who asks
// again is told that it is not gone yet; the server starts anyhow. With the bucket
// back nothing is left in it.
func TestEraseBucketRefuses(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("meetings"); err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	s3 := gofakes3.New(backend).Server()
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		s3.ServeHTTP(w, r)
	}))
	defer bucket.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	objects := func() int {
		list, err := backend.ListBucket("meetings", nil, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Contents)
	}
	data := t.TempDir()
	start := func() *process {
		return serve(t, data, "none:", "--recordings",
			"s3://meetings?region=us-east-1&use_path_style=true&endpoint="+url.QueryEscape(bucket.URL))
	}
	s := start()
	pcm := speech.PCM("sas-0890")
	c := s.ingest("?name=Bob&participant=bob", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	base := "/v1/meetings/" + c.ready.Meeting
	s.request(http.MethodPost, base+"/end", "")
	m := s.until("it is recorded", func(m meeting.Meeting) bool { return m.RecordedAt != nil })
	if objects() == 0 {
		t.Fatal("nothing is kept")
	}

	away.Store(true)
	pending := func() {
		t.Helper()
		h := s.held(t)
		head, body := h.do(http.StatusServiceUnavailable, http.MethodDelete, base, "")
		if head.Get("Retry-After") == "" || !strings.Contains(body, ":erasing") {
			t.Errorf("erase: %v %s", head, body)
		}
		for _, path := range []string{"", "/stats", "/transcript.json", "/audio.flac", "/tracks/" + m.Tracks[0].ID + "/audio.wav"} {
			h.do(http.StatusNotFound, http.MethodGet, base+path, "")
		}
		if ms := s.meetings(); len(ms) > 0 {
			t.Errorf("it is listed: %v", ms)
		}
	}
	for range 2 {
		pending()
	}
	s.stop()
	s = start()
	pending()

	away.Store(false)
	if resp, b := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("erase: %s %s", resp.Status, b)
	}
	if n := objects(); n > 0 {
		t.Errorf("%d files are left", n)
	}
	if resp, _ := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("of what is gone: %s", resp.Status)
	}
	s.stop()
}
