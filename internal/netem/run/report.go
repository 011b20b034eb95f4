//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"verbatim/internal/harness"
)

// maxPace is how late a sender may be (p99) for its cell to be trusted.
const maxPace = 250 * time.Millisecond

// report writes the tables, and says which bars were missed. That is its error.
func report(w io.Writer, o options, all []result) error {
	tables := table(o, all)
	if _, err := io.WriteString(w, "\n"+tables); err != nil {
		return err
	}
	if o.docs != "" {
		if err := harness.IntoDocs(o.docs, "netem", tables); err != nil {
			return err
		}
	}
	if o.json != "" {
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o600); err != nil {
			return err
		}
	}
	missed := misses(o, all)
	for _, m := range missed {
		if _, err := fmt.Fprintln(w, m); err != nil {
			return err
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%d bars are missed", len(missed))
	}
	return nil
}

// table is one Markdown table for each sender.
func table(o options, all []result) string {
	var b bytes.Buffer
	for _, sender := range o.senders {
		of := slices.DeleteFunc(slices.Clone(all), func(r result) bool { return r.Sender != sender })
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "**%s**, %v a cell, %d words; the network was late by %.1f ms (p99), the sender by %.0f ms.\n\n",
			sender, o.duration, of[0].Words, of[0].LateP99, slowest(of))
		b.WriteString("| loss | round trip | jitter | lost | reordered | recovered | concealed | residual | extra delay p50 | p99 | idle p99 | words lost | added |\n")
		b.WriteString("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
		for _, r := range of {
			fmt.Fprintf(&b, "| %s | %d ms | %d ms | ", r.cell.loss, r.cell.RTT.Milliseconds(), r.cell.Jitter.Milliseconds())
			if r.Err != "" {
				b.WriteString("failed | | | | | | | | | |\n")
				continue
			}
			fmt.Fprintf(&b, "%.1f %% | %.1f %% | %.2f %% | %.3f %% | %.3f %% | %.0f ms | %.0f ms | %.0f ms | ",
				percent(int64(r.Measure.Lost), int64(r.Measure.Sent)),
				percent(int64(r.Measure.Reordered), int64(r.Measure.Sent)), r.recovered(), r.concealed(), r.residual(),
				r.Measure.ExtraP50, r.Measure.ExtraP99, r.Measure.IdleP99)
			if r.Words > 0 {
				fmt.Fprintf(&b, "%d | %d |\n", r.WordsLost, r.WordsAdded)
			} else {
				b.WriteString("– | – |\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func slowest(of []result) (pace float64) {
	for _, r := range of {
		pace = max(pace, r.Measure.PaceP99)
	}
	return pace
}

// misses says which bars were missed, a line for each.
func misses(o options, all []result) (missed []string) {
	for _, r := range all {
		miss := func(format string, args ...any) {
			missed = append(missed, fmt.Sprintf("MISSED: %s, %s: ", r.Sender, r.Cell)+fmt.Sprintf(format, args...))
		}
		if r.Err != "" {
			miss("%s", r.Err)
			continue
		}
		if c := r.concealed(); r.cell.is(10, 100) && c > 0.02 {
			miss("%.3f %% concealed, at most 0.02 %%", c)
		} else if r.cell.is(20, 300) && c >= 0.5 {
			miss("%.3f %% concealed, less than 0.5 %%", c)
		}
		if idle := r.Measure.IdleP99; idle > ms(o.tolerance) {
			miss("delayed by %.0f ms (p99) where nothing was missing, at most %v", idle, o.tolerance)
		}
		if pace := r.Measure.PaceP99; pace > ms(maxPace) {
			miss("the sender was late by %.0f ms (p99), more than %v: this machine is too busy for so many cells (-together)", pace, maxPace)
		}
		if off := r.Measure.Off; off <= -1 || off >= 1 {
			miss("the track is %+.1f ms longer than what was sent", off)
		}
		if r.cell.Loss == 0 && r.concealed() > 0 {
			miss("%.3f %% concealed although nothing was lost", r.concealed())
		}
	}
	return missed
}
