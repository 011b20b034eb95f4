package signaling

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestTranscript(t *testing.T) {
	s := talked(t)
	for format, want := range map[string]struct{ mime, body string }{
		"vtt": {"text/vtt; charset=utf-8", "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\n<v Ada>Good morning.</v>\n"},
		"srt": {"application/x-subrip; charset=utf-8", "1\n00:00:01,000 --> 00:00:03,000\nAda: Good morning.\n"},
		"txt": {"text/plain; charset=utf-8", "[00:00:01] Ada: Good morning.\n"},
	} {
		a := s.do("GET", "/v1/meetings/"+older+"/transcript."+format, "")
		if a.status != 200 || a.body != want.body || a.header.Get("Content-Type") != want.mime ||
			a.header.Get("Content-Disposition") != `inline; filename="standup-2026-03-04-0900.`+format+`"` || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v\n%s", format, a.status, a.header, a.body)
		}
		// There are finals only, whatever is asked for. (The document has no such
		// parameter, so do would fail.)
		resp, err := http.Get(s.url + "/v1/meetings/" + older + "/transcript." + format + "?interim=true&interims=1")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(b) != a.body {
			t.Errorf("%s with interims: %v: %s", format, err, b)
		}
	}
	a := s.do("GET", "/v1/meetings/"+older+"/transcript.json", "")
	var d struct {
		Segments []struct{ Text string }
		Complete bool
	}
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || len(d.Segments) != 1 || !d.Complete || a.header.Get("Content-Type") != "application/json" ||
		!strings.HasSuffix(a.header.Get("Content-Disposition"), `.json"`) {
		t.Errorf("json: %d %v, %v: %s", a.status, a.header, err, a.body)
	}
	for path, kind := range map[string]string{"/v1/meetings/" + older + "/transcript.pdf": "no-format", "/v1/meetings/01AAAAAAAAAAAAAAAAAAAAAAAA/transcript.vtt": "not-found"} {
		if a := s.do("GET", path, ""); a.status != 404 || !strings.Contains(a.body, kind) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}
