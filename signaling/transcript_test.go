package signaling

import (
	"encoding/json"
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
		a := s.do("GET", "/v1/meetings/OLD/transcript."+format, "")
		if a.status != 200 || a.body != want.body || a.header.Get("Content-Type") != want.mime ||
			a.header.Get("Content-Disposition") != `inline; filename="standup-2026-03-04-0900.`+format+`"` || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v\n%s", format, a.status, a.header, a.body)
		}
		// There are finals only, whatever is asked for.
		if b := s.do("GET", "/v1/meetings/OLD/transcript."+format+"?interim=true&interims=1", ""); a.body != b.body {
			t.Errorf("%s with interims: %s", format, b.body)
		}
	}
	a := s.do("GET", "/v1/meetings/OLD/transcript.json?interim=1", "")
	var d struct {
		Segments []struct{ Text string }
		Complete bool
	}
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || len(d.Segments) != 1 || !d.Complete || a.header.Get("Content-Type") != "application/json" ||
		!strings.HasSuffix(a.header.Get("Content-Disposition"), `.json"`) {
		t.Errorf("json: %d %v, %v: %s", a.status, a.header, err, a.body)
	}
	for path, kind := range map[string]string{"/v1/meetings/OLD/transcript.pdf": "no-format", "/v1/meetings/NONE/transcript.vtt": "not-found"} {
		if a := s.do("GET", path, ""); a.status != 404 || !strings.Contains(a.body, kind) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}
