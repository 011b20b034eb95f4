package contract

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

const (
	head    = `"id":"01KAV5Q3ZJ9X6T0M8W2Y4R7B1C","room":"r","state":"live","started_at":"2026-03-04T09:00:00Z","ended_at":null`
	segment = `{"id":"01KAV5Q3ZJ9X6T0M8W2Y4R7B1C.0","meeting":"01KAV5Q3ZJ9X6T0M8W2Y4R7B1C","track":"01KAV5Q3ZJ9X6T0M8W2Y4R7B1C",` +
		`"participant":{"id":"a","name":"A"},"start_ms":0,"end_ms":1,"text":"a","final":true,"revision":0,"engine":"e"}`
	numbers = `"duration_ms":0,"talk_ms":0,"silence_ms":0,"overlap_ms":0,"double_talk_ms":0,"overlaps":0,"turns":0,` +
		`"interruptions":0,"words":null,"words_per_minute":null,"balance":null`
	stats = `{"room":"r","meetings":[{` + head + "," + numbers + `,"participants":1}],` +
		`"trend":{"meetings":0,"metrics":[],"participants":[]},"next":""}`
)

// What a server must not do to its document is found.
func TestCheckFinds(t *testing.T) {
	text, err := os.ReadFile("../../signaling/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const list, found = "/v1/meetings", `{"found":[],"next":""}`
	for name, c := range map[string]struct {
		method, path, mime, body, header string

		status int
		says   string // empty: nothing is wrong
	}{
		"as it should be":       {path: "/v1/search?q=a", body: found},
		"HEAD":                  {method: "HEAD", path: "/v1/search?q=a"},
		"HEAD with a body":      {method: "HEAD", path: "/v1/search?q=a", body: "x", says: "a body of 1 bytes"},
		"a new field":           {path: "/v1/search?q=a", body: `{"found":[],"next":"","more":1}`, says: "/more"},
		"a segment":             {path: "/v1/search?q=a", body: `{"found":[{"meeting":{` + head + `},"segment":` + segment + `}],"next":""}`},
		"a new field inside":    {path: "/v1/search?q=a", body: `{"found":[{"meeting":{"new":1,` + head + `},"segment":` + segment + `}],"next":""}`, says: "/new"},
		"the stats of a room":   {path: "/v1/rooms/r/stats", body: stats},
		"a new field of a part": {path: "/v1/rooms/r/stats", body: strings.Replace(stats, head, `"new":1,`+head, 1), says: "/new"},
		"a field less":          {path: "/v1/search?q=a", body: `{"found":[]}`, says: "'next'"},
		"no JSON":               {path: list, body: `{`, says: "unexpected end"},
		"another type":          {path: "/v1/search?q=a", mime: "text/plain", body: found, says: "Content-Type"},
		"a new header":          {path: "/v1/search?q=a", body: found, header: "X-New", says: "X-New"},
		"a header less":         {method: "OPTIONS", path: "/v1/rooms/r/whip", mime: " ", status: 204, says: "Accept-Post"},
		"a new parameter":       {path: "/v1/search?q=a&new=1", body: found, says: `"new"`},
		"a new status":          {path: list, status: 202, body: "{}", says: "Content-Type"},
		"a new problem":         {path: list, status: 400, mime: "application/problem+json", body: `{"status":400,"type":"urn:verbatim:problem:new","title":"a","detail":"b"}`, says: "does not name new"},
		"a problem elsewhere":   {path: list, status: 400, mime: "application/problem+json", body: `{"status":400,"type":"urn:verbatim:problem:not-opus","title":"a","detail":"b"}`, says: "does not name not-opus"},
		"another status":        {path: list, status: 403, mime: "application/problem+json", body: `{"status":403,"type":"urn:verbatim:problem:internal","title":"a","detail":"b"}`, says: "has the status"},
		"a new route":           {path: "/v1/new", body: "{}", says: "Content-Type"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if c.method == "" {
				c.method = http.MethodGet
			}
			if c.mime == "" {
				c.mime = "application/json"
			}
			if c.status == 0 {
				c.status = http.StatusOK
			}
			h := http.Header{"Content-Type": {c.mime}}
			if c.header != "" {
				h.Set(c.header, "x")
			}
			err = d.Check(httptest.NewRequest(c.method, c.path, nil), c.status, h, []byte(c.body))
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("found %v, want %q", err, c.says)
			}
		})
	}
}

func TestCheckEventFinds(t *testing.T) {
	text, err := os.ReadFile("../../signaling/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for data, ok := range map[string]bool{
		`{"room":"r","meeting":null}`:         true,
		`{"room":"r","meeting":null,"new":1}`: false,
		`{"room":"r","meeting":{}}`:           false,
	} {
		if err := d.CheckEvent("state", data); (err == nil) != ok {
			t.Errorf("%s: %v", data, err)
		}
	}
	if d.CheckEvent("new", "{}") == nil {
		t.Error("an event that is not in the document passes")
	}
	for _, want := range []string{"Meeting.id", "event left", "problem full", "GET /v1/meetings 200"} {
		if !strings.Contains(strings.Join(d.Unseen(), "\n"), want) {
			t.Errorf("%s was not seen, and is not missing", want)
		}
	}
}

// A document that is not valid is refused.
func TestParseFinds(t *testing.T) {
	for _, text := range []string{"openapi: 3.1.0", "{", strings.Repeat("x", 10)} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}
