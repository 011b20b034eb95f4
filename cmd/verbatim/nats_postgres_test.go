//go:build postgres

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/internal/natstest"
	"verbatim/internal/pgtest"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// Two servers, a PostgreSQL and a NATS: who watches at the one hears what is said at
// the other, live, and by the database while NATS is away; a participant who moves is
// let go at once.
func TestNodesOverNATS(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	c := pgtest.Start(t)
	t.Setenv("VERBATIM_DB", c.URL(c.Database("")))
	broker := natstest.New(t, nil)
	node := func(i int) *process {
		return serve(t, t.TempDir(), "command:"+os.Args[0], "--linger", "1h", "--node", fmt.Sprint("n", i), "--nats", broker.URL)
	}
	a, b := node(1), node(2)
	within(t, "they know each other", func() bool {
		return a.scrape()["verbatim_nats_peers"] == 1 && b.scrape()["verbatim_nats_peers"] == 1
	})

	var mu sync.Mutex // guards what follows
	var kinds, finals []string
	interims := 0
	watching, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		b.watch(watching, "r", "", func(e seen) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, e.kind)
			var s transcript.Segment
			if e.kind != meeting.EventCaption || json.Unmarshal(e.data, &s) != nil {
				return
			}
			if s.Final && e.id != "" {
				finals = append(finals, s.ID)
			} else {
				interims++
			}
		})
	})
	within(t, "a knows that b watches", func() bool { return b.scrape()["verbatim_event_streams"] == 1 })
	heard := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(finals)
	}

	pcm := speech.PCM("sas-0880")
	ada := a.ingest("?participant=ada&name=Ada", 16000, "")
	ada.send(pcm, 0, len(pcm)/2)
	within(t, "interims, finals and accounts at the other node", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return interims > 0 && len(finals) > 2 && slices.Contains(kinds, meeting.EventJoined) && slices.Contains(kinds, meeting.EventCoverage)
	})
	broker.Stop()
	before := heard()
	ada.send(pcm, len(pcm)/2, len(pcm))
	within(t, "finals while NATS is away", func() bool { return heard() > before+2 })
	broker.Start()
	within(t, "NATS is back", func() bool {
		return a.scrape()["verbatim_nats_peers"] == 1 && b.scrape()["verbatim_nats_peers"] == 1
	})
	soonest := time.Hour
	for _, to := range []*process{b, a, b} { // others use the machine, too
		began := time.Now()
		moved := to.ingest("?participant=ada&name=Ada", 16000, "")
		ada.closed(websocket.StatusCode(4409))
		soonest, ada = min(soonest, time.Since(began)), moved
	}
	if soonest > 3*time.Second {
		t.Errorf("a session that was replaced at another node ends after %v", soonest)
	}
	_ = ada.ws.CloseNow()

	// Everything, in its order, once.
	m := b.until("all is transcribed", func(m meeting.Meeting) bool {
		return len(m.Tracks) > 0 && m.Tracks[0].State == meeting.TrackComplete
	})
	var doc struct {
		Segments []transcript.Segment `json:"segments"`
	}
	if err := json.Unmarshal(b.get("/v1/meetings/"+m.ID+"/transcript.json"), &doc); err != nil {
		t.Fatal(err)
	}
	within(t, "the last final", func() bool { return heard() >= len(doc.Segments) })
	mu.Lock()
	defer mu.Unlock()
	var want []string
	for _, s := range doc.Segments {
		want = append(want, s.ID)
	}
	if !slices.Equal(finals, want) {
		t.Errorf("finals %v, want %v", finals, want)
	}
}

// within waits for something that no meeting tells, at most a minute.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
