package signaling

import (
	"encoding/json"
	"net/http"
	"testing"

	"verbatim/pipeline/meeting"
)

func TestSearch(t *testing.T) {
	s := talked(t)
	type page struct {
		Found []meeting.Found
		Next  string
	}
	get := func(query string) (p page) {
		t.Helper()
		a := s.do(http.MethodGet, "/v1/search?"+query, "")
		if a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, a.status, a.body)
		}
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := get("q=good+morn&limit=1&room=standup")
	if len(first.Found) != 1 || first.Next == "" {
		t.Fatalf("first page: %+v", first)
	}
	f := first.Found[0]
	if f.Meeting.ID != newer || f.Meeting.Room != "standup" || f.Segment.ID != newTrack+".0" || f.Segment.Text != "Good morning." || f.Segment.Participant.Name != "Ada" {
		t.Errorf("found %+v", f)
	}
	second := get("q=good+morn&limit=1&room=standup&cursor=" + first.Next)
	if len(second.Found) != 1 || second.Found[0].Meeting.ID != older || second.Next != "" {
		t.Errorf("second page: %+v", second)
	}
	if none := get("q=evening"); none.Found == nil || len(none.Found) > 0 {
		t.Errorf("found %+v", none)
	}
	for query, kind := range map[string]string{
		"":                        "bad-query",
		"q=+":                     "bad-query",
		"q=good&room=no/room":     "bad-room",
		"q=good&limit=1000":       "bad-limit",
		"q=good&cursor=no+cursor": "bad-cursor",
	} {
		if a := s.do(http.MethodGet, "/v1/search?"+query, ""); a.status != http.StatusBadRequest || a.kind != kind {
			t.Errorf("%q: %d %s, want 400 %s", query, a.status, a.kind, kind)
		}
	}
}
