//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/transcript"
)

// result is what came of a row.
type result struct {
	Name         string  `json:"name"`
	Title        string  `json:"title"`
	Participants int     `json:"participants"`
	Count        count   `json:"count"`
	CatchUp      float64 `json:"catch_up_s"` // after the fault had ended
	PeakMB       float64 `json:"peak_mb"`    // of the server's resident memory
	Deaths       int     `json:"server_deaths"`
	Seconds      float64 `json:"seconds"`
	// Missed are the bars that were missed, as sentences.
	Missed []string `json:"missed"`
}

func (r *result) miss(format string, args ...any) {
	r.Missed = append(r.Missed, fmt.Sprintf(format, args...))
}

// bars are what depends on the row.
type bars struct {
	off, drift time.Duration // see count
	// What was taken in for that long before the server's death may be missing.
	edge time.Duration
}

// judge compares what was said with the transcripts, which should be one.
func (r *result) judge(truths []truth, docs []document, bars bars) {
	all := words(docs)
	for _, t := range truths {
		c := t.compare(all)
		if c.Said == 0 {
			r.miss("%s said nothing", t.participant)
		}
		if c.Lost+c.Doubled+c.Disordered+c.Wrong > 0 {
			r.miss("%s: %d lost, %d doubled %v, %d out of order, %d that nobody said", t.participant, c.Lost, c.Doubled, c.Which, c.Disordered, c.Wrong)
		}
		r.Count = r.Count.plus(c)
	}
	if r.Count.Off > bars.off.Seconds()*1000 {
		r.miss("a word's time is wrong by %.0f ms", r.Count.Off)
	}
	if r.Count.Drift > bars.drift.Seconds()*1000 {
		r.miss("the times of a participant's tracks are apart by %.0f ms", r.Count.Drift)
	}
	if len(docs) != 1 {
		r.miss("there are %d meetings, should be 1", len(docs))
	}
	for _, d := range docs {
		if !d.Complete {
			r.miss("meeting %s is %s", d.Meeting.ID, d.Meeting.State)
		}
		for _, m := range d.Missing {
			// What a server knew of when it died and had not written.
			if m.Kind != transcript.Shed || time.Duration(m.MissingMS)*time.Millisecond > bars.edge {
				r.miss("track %s misses %d ms at %d ms: %s", m.Track, m.MissingMS, m.StartMS, m.Reason)
			}
		}
		if s := imbalance(d.Meeting.Coverage); s != "" {
			r.miss("%s", s)
		}
		for _, t := range d.Meeting.Tracks {
			if s := imbalance(t.Coverage); s != "" {
				r.miss("track %s: %s", t.ID, s)
			}
		}
	}
}

// table is Markdown.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| fault | numbers said | lost | doubled | out of order | not sent | in memory | sent twice | time off by | drift | caught up after | peak memory |\n")
	b.WriteString("| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n")
	for _, r := range results {
		c := r.Count
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %.0f ms | %.0f ms | %.1f s | %.0f MB |\n",
			r.Title, c.Said, c.Lost, c.Doubled, c.Disordered, c.Unsent, c.Edge, c.Again, c.Off, c.Drift, r.CatchUp, r.PeakMB)
	}
	return b.String()
}

// report writes the table, and says which bars were missed. That is its error.
func report(w io.Writer, o *options, results []result) error {
	head := fmt.Sprintf("%d participants over WebRTC and %d over WebSockets in each row; %v in all.\n\n", o.whip, o.ingest, inAll(results))
	return write(w, o, "faults", head, table(results), results, results)
}

// inAll is how long the rows took.
func inAll(results []result) time.Duration {
	var length time.Duration
	for _, r := range results {
		length += time.Duration(r.Seconds * float64(time.Second))
	}
	return length.Round(time.Minute)
}

// write writes a table and what was missed, also to its place in the docs, and
// whole, all that is known, as JSON.
func write(w io.Writer, o *options, place, head, text string, results []result, whole any) error {
	missed := 0
	for _, r := range results {
		for _, m := range r.Missed {
			text += fmt.Sprintf("\nMISSED: %s: %s\n", r.Title, m)
			missed++
		}
	}
	if _, err := io.WriteString(w, "\n"+text+"\n"); err != nil {
		return err
	}
	if o.docs != "" {
		if err := harness.IntoDocs(o.docs, place, head+text); err != nil {
			return err
		}
	}
	if o.json != "" {
		b, err := json.MarshalIndent(whole, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o600); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d bars are missed", missed)
	}
	return nil
}
