//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/whipclient"
)

// watcher sees the finals of a room at one server.
type watcher struct {
	server, room int // their numbers

	mu     sync.Mutex // guards what follows
	finals []final
}

// final is a caption that a watcher saw.
type final struct {
	transcript.Segment
	at time.Time
}

// audience is a watcher of each room at each server.
type audience []*watcher

// watchAll begins to watch; leave ends it.
func watchAll(ctx context.Context, servers []*whipclient.Client, groups []group) (all audience, leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i, client := range servers {
		for j, g := range groups {
			w := &watcher{server: i, room: j}
			all = append(all, w)
			wg.Go(func() { _ = client.Events(ctx, g.room, w.see) }) // what it lacks is counted
		}
	}
	return all, func() {
		cancel()
		wg.Wait()
	}
}

func (w *watcher) see(e whipclient.Event) {
	f := final{at: time.Now()}
	if e.Type != meeting.EventCaption || json.Unmarshal(e.Data, &f.Segment) != nil || !f.Final {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finals = append(w.finals, f)
}

// seen is what the watcher has seen so far.
func (w *watcher) seen() []final {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.finals)
}

// captions is how what watchers saw differs from the transcripts.
type captions struct {
	Seen       int     `json:"seen"` // by all watchers together
	Lost       int     `json:"lost"`
	Doubled    int     `json:"doubled"`
	Disordered int     `json:"out_of_order"` // of a track
	Wrong      int     `json:"wrong"`        // not in the transcript, or taken back though they are
	Spread     float64 `json:"spread_s"`     // from the first watcher of a caption to the last, at most
	Usual      float64 `json:"spread_p50_s"`
	// Which are those that were doubled or wrong, a few at most.
	Which []string `json:"-"`
}

// judge waits until every watcher has seen what is in the transcript of its room,
// and says what is wrong.
func (a audience) judge(ctx context.Context, res *nodeResult, docs [][]document) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		c := a.compare(docs)
		if c.Lost > 0 && harness.Sleep(ctx, 200*time.Millisecond) == nil {
			continue
		}
		res.Captions = c
		if c.Lost+c.Doubled+c.Disordered+c.Wrong > 0 {
			res.miss("captions: %d lost, %d doubled, %d out of order, %d that are not in the transcript: %q", c.Lost, c.Doubled, c.Disordered, c.Wrong, c.Which)
		}
		return
	}
}

func (a audience) compare(docs [][]document) (c captions) {
	first, last := map[string]time.Time{}, map[string]time.Time{}
	for _, w := range a {
		want := map[string]bool{}
		for _, d := range docs[w.room] {
			for _, s := range d.Segments {
				want[s.ID] = true
			}
		}
		count := w.compare(want, first, last)
		c.Seen += count.Seen
		c.Lost += count.Lost
		c.Doubled += count.Doubled
		c.Disordered += count.Disordered
		c.Wrong += count.Wrong
		c.Which = append(c.Which, count.Which...)
	}
	c.Which = c.Which[:min(len(c.Which), 10)]
	var spreads []float64
	for id, t := range last {
		spreads = append(spreads, t.Sub(first[id]).Seconds())
	}
	if len(spreads) > 0 {
		slices.Sort(spreads)
		c.Spread, c.Usual = spreads[len(spreads)-1], spreads[len(spreads)/2]
	}
	return c
}

// compare is about one watcher, who should have seen all of want once. first and
// last are when anybody saw a caption.
func (w *watcher) compare(want map[string]bool, first, last map[string]time.Time) (c captions) {
	seen := map[string]bool{}
	newest := map[string]int{} // by track
	for _, f := range w.seen() {
		switch {
		case f.Text == "": // an interim is taken back; nothing may take back a final
			if seen[f.ID] {
				c.Wrong++
				c.Which = append(c.Which, fmt.Sprintf("%s of %s at node%d is taken back by revision %d", f.ID, f.Participant.ID, w.server+1, f.Revision))
			}
			continue
		case seen[f.ID]:
			c.Doubled++
			c.Which = append(c.Which, fmt.Sprintf("%s of %s at node%d, revision %d", f.ID, f.Participant.ID, w.server+1, f.Revision))
			continue
		case !want[f.ID]:
			c.Wrong++
			c.Which = append(c.Which, fmt.Sprintf("%s of %s at node%d, revision %d: %q", f.ID, f.Participant.ID, w.server+1, f.Revision, f.Text))
			continue
		}
		seen[f.ID] = true
		c.Seen++
		n, _ := strconv.Atoi(f.ID[strings.LastIndexByte(f.ID, '.')+1:]) // the server's
		if at, ok := newest[f.Track]; ok && n < at {
			c.Disordered++
		}
		newest[f.Track] = n
		if t, ok := first[f.ID]; !ok || f.at.Before(t) {
			first[f.ID] = f.at
		}
		if f.at.After(last[f.ID]) {
			last[f.ID] = f.at
		}
	}
	c.Lost = len(want) - len(seen)
	return c
}

// nodeResult is what came of a row of several nodes.
type nodeResult struct {
	result
	Captions  captions  `json:"captions"`
	Forwarded forwarded `json:"forwarded"`
}

// nodeTable is Markdown.
func nodeTable(results []nodeResult) string {
	var b strings.Builder
	b.WriteString("| fault | numbers said | lost | doubled | out of order | not sent | in memory | sent twice | captions seen | lost | doubled | out of order | on all nodes within (half of them; all) | audio messages forwarded | lost, doubled, out of order | caught up after |\n")
	b.WriteString("| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n")
	for _, r := range results {
		n, c, f := r.Count, r.Captions, r.Forwarded
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %.0f ms; %.1f s | %d | %d | %.1f s |\n",
			r.Title, n.Said, n.Lost, n.Doubled, n.Disordered, n.Unsent, n.Edge, n.Again,
			c.Seen, c.Lost, c.Doubled, c.Disordered, c.Usual*1000, c.Spread, f.Messages, f.Lost+f.Doubled, r.CatchUp)
	}
	return b.String()
}

// reportNodes writes the table, and says which bars were missed. That is its error.
func reportNodes(w io.Writer, o *options, results []nodeResult) error {
	plain := make([]result, len(results))
	for i, r := range results {
		plain[i] = r.result
	}
	head := fmt.Sprintf("%d nodes, a PostgreSQL, %d NATS servers; %d participants in %d rooms, each room at all nodes, of them %d over WebSockets; each room watched at all nodes; %v in all.\n\n",
		nodesInAll, nodesInAll, roomsInAll*(o.whip+o.ingest), roomsInAll, roomsInAll*o.ingest, inAll(plain))
	return write(w, o, "faults-nodes", head, nodeTable(results), plain, results)
}
