package signaling

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// Two meetings, and the last track of the newer one.
const (
	older    = "01KAV5Q3ZJ9X6T0M8W2Y4R7B1C"
	newer    = "01KAXR4S0G2H8N5V7Z1D3F6J9K"
	newTrack = "01KAXR4S0G2H8N5V7Z1D3F6J9T"
)

// talked is a service that knows the meetings older and newer of the room standup, of
// ten seconds, in which Ada says two words in two seconds.
func talked(t *testing.T) *service {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "verbatim.db"))
	check(err)
	t.Cleanup(func() { check(db.Close()) })
	ada := transcript.Participant{ID: "ada", Name: "Ada"}
	account := audio.Account{Received: 10 * audio.TickRate}
	for i, id := range []string{older, newer} {
		at := time.Date(2026, 3, 4+i, 9, 0, 0, 0, time.UTC)
		_, _, err := db.Join(t.Context(), "standup", ada, "", id, at)
		check(err)
		check(db.CreateTrack(t.Context(), meeting.Track{ID: id[:25] + "T", Meeting: id, Participant: "ada", StartedAt: at}))
		row, err := db.Claim(t.Context(), id[:25]+"T")
		check(err)
		check(db.EndTrack(t.Context(), row.ID, "left", account))
		_, err = db.Commit(t.Context(), store.Commit{
			Track: row.ID, Epoch: row.Epoch, Through: account.Total(), Account: account,
			Segments: []transcript.Segment{{ID: row.ID + ".0", StartMS: 1000, EndMS: 3000, Text: "Good morning."}},
		})
		check(err)
		_, err = db.FinishTrack(t.Context(), row.ID, row.Epoch, meeting.TrackComplete, at)
		check(err)
		_, err = db.EndMeeting(t.Context(), id, at.Add(time.Minute))
		check(err)
	}
	p := pipeline.New(pipeline.Config{Store: db, Logger: slog.New(slog.DiscardHandler)})
	return begin(t, Config{Insight: p, Transcripts: p})
}

// keys are those of a JSON object, sorted.
func keys(t *testing.T, text []byte) string {
	t.Helper()
	var o map[string]json.RawMessage
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var ks []string
	for k := range o {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return strings.Join(ks, " ")
}

func TestStats(t *testing.T) {
	s := talked(t)
	for path, want := range map[string]struct{ keys, part string }{
		"/v1/meetings/" + newer + "/stats": {
			"balance coverage double_talk_ms duration_ms ended_at id interruptions overlap_ms overlaps participants room " +
				"silence_ms started_at state talk_ms timeline trend turns words words_per_minute",
			`"participants":[{"id":"ada","name":"Ada","talk_ms":2000,"share":1,"overlapped_ms":0,"turns":1,` +
				`"longest_turn":{"start_ms":1000,"end_ms":3000},"short_talks":0,"interruptions":0,"interrupted":0,"words":2,"words_per_minute":60}],` +
				`"timeline":{"bucket_ms":10000,"buckets":[{"start_ms":0,"end_ms":10000,"talk_ms":[2000],"balance":null}]},"trend":{"meetings":1,`,
		},
		"/v1/rooms/standup/stats": {"meetings next room trend", `"participants":[{"id":"ada","name":"Ada","meetings":2,"talk_ms":4000,"usual_share":1}]`},
		"/v1/rooms/nobody/stats": {
			"meetings next room trend",
			`{"room":"nobody","meetings":[],"trend":{"meetings":0,"metrics":[],"participants":[]},"next":""}`,
		},
		"/v1/rooms/standup/stats?limit=1": {"meetings next room trend", `"meetings":[{"id":"` + newer + `","room":"standup","state":"complete","started_at":"2026-03-05T09:00:00Z",` +
			`"ended_at":"2026-03-05T09:01:00Z","participants":1,"duration_ms":10000,`},
	} {
		a := s.do(http.MethodGet, path, "")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		if got := keys(t, []byte(a.body)); got != want.keys {
			t.Errorf("%s has %s\nwant %s", path, got, want.keys)
		}
		if !strings.Contains(a.body, want.part) {
			t.Errorf("%s: %s\ndoes not have %s", path, a.body, want.part)
		}
	}
}

func TestStatsByPages(t *testing.T) {
	s := talked(t)
	var got []string
	cursor := ""
	for range 3 {
		var page struct {
			Meetings []struct{ ID string }
			Next     string
		}
		a := s.do(http.MethodGet, "/v1/rooms/standup/stats?limit=1&cursor="+cursor, "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err, a.body)
		}
		for _, m := range page.Meetings {
			got = append(got, m.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if strings.Join(got, " ") != newer+" "+older {
		t.Error(got)
	}
}

func TestStatsProblems(t *testing.T) {
	s := talked(t)
	for path, want := range map[string]struct {
		status int
		kind   string
	}{
		"/v1/meetings/NONE/stats":          {http.StatusNotFound, "not-found"},
		"/v1/rooms/Stand%20Up/stats":       {http.StatusBadRequest, "bad-room"},
		"/v1/rooms/standup/stats?limit=0":  {http.StatusBadRequest, "bad-limit"},
		"/v1/rooms/standup/stats?limit=51": {http.StatusBadRequest, "bad-limit"},
		"/v1/rooms/standup/stats?cursor=x": {http.StatusBadRequest, "bad-cursor"},
	} {
		if a := s.do(http.MethodGet, path, ""); a.status != want.status || a.kind != want.kind {
			t.Errorf("%s: %d %s, want %d %s", path, a.status, a.kind, want.status, want.kind)
		}
	}
	if a := s.do(http.MethodPost, "/v1/meetings/"+newer+"/stats", ""); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}
