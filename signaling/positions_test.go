package signaling

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline"
	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// A client comes back in each of many meetings of a room. What is over leaves its
// position, and however many there are, the live meeting stays in it.
func TestManyMeetings(t *testing.T) {
	for name, test := range map[string]struct {
		events int // that it sees before it is cut off
		most   int // positions of one id
	}{
		"sees every final":     {2, 2},
		"sees no more than it": {1, maxPositions + 1},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "verbatim.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			p := pipeline.New(pipeline.Config{Store: db, Logger: slog.New(slog.DiscardHandler)})
			front := httptest.NewServer(New(Config{Meetings: p, Transcripts: p, Events: &events.Hub{}, Logger: slog.New(slog.DiscardHandler)}).Routes())
			defer front.Close()
			s := &sitting{t: t, ctx: t.Context(), db: db, publish: func(meeting.Event) {}, room: "r"}
			last := ""
			var got []string
			// watch reads up to n events, or as far as a meeting.
			watch := func(n int, until string) {
				last = s.stream(front.URL, last, func(kind string, data []byte) bool {
					n--
					if kind != meeting.EventCaption {
						return n != 0
					}
					var seg transcript.Segment
					s.must(json.Unmarshal(data, &seg))
					got = append(got, seg.Meeting)
					return n != 0 && seg.Meeting != until
				})
			}
			for i := range 2 * maxPositions {
				m := s.begin(fmt.Sprintf("01R%02d", i), 1)
				s.say(m, 1)
				watch(test.events, "")
				watch(1, "") // it is cut off again at once
				if n := strings.Count(last, ",") + 1; n > test.most || !strings.Contains(last, m.id) {
					t.Fatalf("after %d meetings: %s", i+1, last)
				}
				s.finish(m)
			}
			live := s.begin("01RZZ", 1)
			s.say(live, 1)
			watch(-1, live.id)
			s.say(live, 1)
			watch(-1, live.id)
			if n := len(got); n < 2 || got[n-1] != live.id || got[n-2] != live.id {
				t.Errorf("got finals of %v", got)
			}
			if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got)-1 {
				t.Errorf("finals came twice: %v", got)
			}
		})
	}
}

// finish ends a meeting that is transcribed to its end.
func (s *sitting) finish(m *session) {
	s.end(m)
	for _, row := range m.tracks {
		s.must(s.db.EndTrack(s.ctx, row.ID, "left", row.Account))
		_, err := s.db.FinishTrack(s.ctx, row.ID, row.Epoch, meeting.TrackComplete, time.Now())
		s.must(err)
	}
}
