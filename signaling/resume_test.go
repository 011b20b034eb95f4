package signaling

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/pipeline"
	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

// TestResumeAnywhere: a client whose stream is cut after any event, again and
// again, gets every final of two meetings that follow each other in a room, once
// and in the order in which they were stored: those that are stored while it is
// away, while it comes back, and of the first meeting while the second goes on.
// So does one at another node, to which the words of finals do not come, nor all
// events, if it is told now and then that it may have missed some.
func TestResumeAnywhere(t *testing.T) {
	db, hub, front := newFront(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // for what does not come
		defer cancel()
		s := &sitting{t: t, ctx: ctx, db: db, publish: hub.Publish, room: fmt.Sprintf("r%d", n), seen: make(chan struct{})}
		early := rapid.IntRange(0, 6).Draw(t, "finals of the first meeting while it is live")
		late := rapid.IntRange(0, 6).Draw(t, "and when it is over")
		next := rapid.IntRange(1, 6).Draw(t, "finals of the second")
		tracks := rapid.IntRange(1, 3).Draw(t, "tracks")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 7), 1, 12).Draw(t, "events until the stream is cut")
		cuts = append(cuts, 2) // with the state alone no client gets on
		if loss := rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "another node, with so much loss"); rapid.Bool().Draw(t, "another node") {
			s.publish = func(e meeting.Event) {
				if e.Number > 0 {
					e.Data = nil
				}
				if rand.Float64() >= loss {
					hub.Publish(e)
				}
			}
			told, stop := context.WithCancel(ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				for told.Err() == nil {
					hub.Publish(meeting.Event{Room: s.room, Type: meeting.EventMissed})
					time.Sleep(5 * time.Millisecond)
				}
			})
			defer wg.Wait()
			defer stop()
		}

		first := s.begin(fmt.Sprintf("01R%dA", n), tracks)
		var wg sync.WaitGroup
		wg.Go(func() {
			s.follow(front.URL, cuts, tracks*(early+late+next))
			s.once.Do(func() { close(s.seen) })
		})
		<-s.seen
		s.say(first, early)
		s.end(first)
		second := s.begin(fmt.Sprintf("01R%dB", n), tracks)
		wg.Go(func() { s.say(first, late) })
		s.say(second, next)
		wg.Wait()
		for _, m := range []*session{first, second} {
			var want []string
			stored, err := db.Segments(ctx, m.id, 0, 1000)
			for _, seg := range stored {
				want = append(want, seg.ID)
			}
			if got := s.got[m.id]; err != nil || !slices.Equal(got, want) {
				t.Fatalf("of %s came %v, stored are %v (%v)", m.id, got, want, err)
			}
		}
	})
}

// newFront is a server of event streams, with the store that they read and the hub that
// tells of what happens. The test's end closes them.
func newFront(t *testing.T) (*store.Store, *events.Hub, *httptest.Server) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "verbatim.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // the test is over
	hub := &events.Hub{}
	p := pipeline.New(pipeline.Config{Store: db, Logger: slog.New(slog.DiscardHandler)})
	front := httptest.NewServer(New(Config{Meetings: p, Transcripts: p, Events: hub, Logger: slog.New(slog.DiscardHandler)}).Routes())
	t.Cleanup(front.Close)
	return db, hub, front
}

// sitting is what goes on in one room.
type sitting struct {
	t       rapid.TB
	ctx     context.Context
	db      *store.Store
	publish func(meeting.Event)
	room    string
	once    sync.Once
	seen    chan struct{}       // closed when the client has seen the first event
	got     map[string][]string // ids of finals, by meeting
}

// session is one meeting of it, with its tracks.
type session struct {
	id     string
	tracks []meeting.Track
	said   int // of each track
}

func (s *sitting) must(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

func (s *sitting) begin(id string, tracks int) *session {
	m := &session{id: id}
	now := time.Now()
	ada := transcript.Participant{ID: "ada", Name: "Ada"}
	_, _, err := s.db.Join(s.ctx, s.room, ada, "", id, now)
	s.must(err)
	for i := range tracks {
		track := fmt.Sprintf("%sT%d", id, i)
		s.must(s.db.CreateTrack(s.ctx, meeting.Track{ID: track, Meeting: id, Participant: "ada", StartedAt: now}))
		row, err := s.db.Claim(s.ctx, track)
		s.must(err)
		m.tracks = append(m.tracks, row)
	}
	s.publish(meeting.Event{Room: s.room, Meeting: id, Type: meeting.EventState})
	return m
}

func (s *sitting) end(m *session) {
	_, err := s.db.EndMeeting(s.ctx, m.id, time.Now())
	s.must(err)
	s.publish(meeting.Event{Room: s.room, Meeting: m.id, Type: meeting.EventEnded, Data: meeting.Ended{Meeting: m.id, State: meeting.StateEnded}})
}

// say stores finals of all tracks at once and tells of them, each with an interim
// before it, and what takes that back behind it, as if the store had been read
// before the events came. Tracks overtake each other between the one and the other.
func (s *sitting) say(m *session, finals int) {
	var wg sync.WaitGroup
	for _, row := range m.tracks {
		wg.Go(func() {
			for i := range finals {
				seg := transcript.Segment{ID: fmt.Sprintf("%s.%d", row.ID, m.said+i), Meeting: m.id, Track: row.ID, Text: "hello"}
				s.publish(meeting.Event{Room: s.room, Meeting: m.id, Type: meeting.EventCaption, Data: seg})
				seg.Final = true
				number, err := s.db.Commit(s.ctx, store.Commit{Track: row.ID, Epoch: row.Epoch, Segments: []transcript.Segment{seg}})
				s.must(err)
				if number > 0 && i%2 == 0 {
					s.publish(meeting.Event{Room: s.room, Meeting: m.id, Type: meeting.EventMissed})
					back := transcript.Segment{ID: seg.ID, Meeting: m.id, Track: row.ID, Final: true}
					s.publish(meeting.Event{Room: s.room, Meeting: m.id, Type: meeting.EventCaption, Data: back})
				}
				s.publish(meeting.Event{Room: s.room, Meeting: m.id, Type: meeting.EventCaption, Number: number, Data: seg})
			}
		})
	}
	wg.Wait()
	m.said += finals
}

// follow reads the room's events, cut off as cuts say, until all finals are there.
func (s *sitting) follow(url string, cuts []int, total int) {
	s.got = map[string][]string{}
	last := ""
	for i, n := 0, 0; n < total; i++ {
		if s.ctx.Err() != nil {
			s.t.Errorf("%d of %d finals came: %v", n, total, s.got)
			return
		}
		left := cuts[i%len(cuts)]
		last = s.stream(url, last, func(kind string, data []byte) (more bool) {
			if kind == meeting.EventCaption {
				var seg transcript.Segment
				s.must(json.Unmarshal(data, &seg))
				switch {
				case seg.Final && seg.Text == "":
					if slices.Contains(s.got[seg.Meeting], seg.ID) {
						s.t.Errorf("%s is taken back behind its final", seg.ID)
					}
				case seg.Final:
					s.got[seg.Meeting] = append(s.got[seg.Meeting], seg.ID)
					n++
				}
			}
			s.once.Do(func() { close(s.seen) })
			left--
			return left > 0 && n < total
		})
	}
}

// stream reads one connection's events as long as each wants more, and returns the
// last id that came.
func (s *sitting) stream(url, last string, each func(kind string, data []byte) bool) string {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/rooms/"+s.room+"/events", nil)
	s.must(err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return last
	}
	defer resp.Body.Close()
	kind, data, id := "", []byte(nil), last
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = []byte(value)
		case "":
			if kind == "" {
				continue // a comment
			}
			last = id
			if !each(kind, data) {
				return last
			}
			kind = ""
		}
	}
	return last
}
