//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"verbatim/internal/netem"
	"verbatim/pipeline/meeting"
)

// cell is one network.
type cell struct {
	netem.Conditions

	loss string // as in the table
}

// cells are all combinations.
func cells(losses, rtts, jitters string) ([]cell, error) {
	rtt, err := percents(rtts)
	if err != nil {
		return nil, fmt.Errorf("-rtt: %w", err)
	}
	jitter, err := percents(jitters)
	if err != nil {
		return nil, fmt.Errorf("-jitter: %w", err)
	}
	var all []cell
	for l := range strings.SplitSeq(losses, ",") {
		c := cell{loss: l + " %", Conditions: netem.Conditions{Loss: 0.05, Burst: 4}}
		if l == "burst" {
			c.loss = "5 % bursts"
		} else {
			v, err := percents(l)
			if err != nil || v[0] >= 100 {
				return nil, fmt.Errorf("-loss: %q is neither a part of 100 nor burst", l)
			}
			c.Loss, c.Burst = v[0]/100, 0
		}
		for _, r := range rtt {
			for _, j := range jitter {
				c.RTT = time.Duration(r * float64(time.Millisecond))
				c.Jitter = time.Duration(j * float64(time.Millisecond))
				all = append(all, c)
			}
		}
	}
	return all, nil
}

func (c cell) String() string {
	return fmt.Sprintf("%s, %d ms, jitter %d ms", c.loss, c.RTT.Milliseconds(), c.Jitter.Milliseconds())
}

// is tells whether the cell has that random loss (%) and round trip (ms).
func (c cell) is(loss float64, rtt int64) bool {
	return c.Burst == 0 && c.Loss == loss/100 && c.RTT.Milliseconds() == rtt
}

// result is what came of a cell.
type result struct {
	Sender   string           `json:"sender"`
	Cell     string           `json:"cell"`
	Err      string           `json:"error,omitempty"` // why there is nothing else
	Coverage meeting.Coverage `json:"coverage"`
	Measure  measure          `json:"measure"`
	// LateP99 is how late the network was, in milliseconds.
	LateP99 float64 `json:"late_p99_ms"`
	// Words are those of the clean run, 0 if they were not counted; WordsLost of
	// them are not in this one, which has WordsAdded others.
	Words      int `json:"words"`
	WordsLost  int `json:"words_lost"`
	WordsAdded int `json:"words_added"`
	Attempts   int `json:"attempts"` // to connect
	// Stats are Chromium's own.
	Stats map[string]any `json:"stats,omitempty"`

	cell cell
	wav  string
}

// concealed is the part of the track, in %, that was lost; recovered the part
// that was lost on the way and is there all the same.
func (r *result) concealed() float64 { return percent(r.Coverage.ConcealedMS, r.Coverage.DurationMS) }
func (r *result) recovered() float64 { return percent(r.Coverage.RecoveredMS, r.Coverage.DurationMS) }

// residual is the part of the packets sent, in %, whose audio is not in the
// track: besides what is concealed, what was lost before the first packet that
// arrived and after the last one, which no receiver can know of.
func (r *result) residual() float64 {
	sent := int64(r.Measure.Sent) * packetTime.Milliseconds()
	return max(0, percent(sent-r.Coverage.ReceivedMS-r.Coverage.RecoveredMS, sent))
}

func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
