package meeting

import (
	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

// ticksPerMS converts the account's unit to what is shown.
const ticksPerMS = audio.TickRate / 1000

// NewCoverage shows the account of a track: what arrived, and how far the
// transcript has got (through, in ticks) leaving out what was skipped.
//
// Each part is cut at the running total rather than rounded by itself, so that
// the parts add up to DurationMS to the millisecond.
func NewCoverage(a audio.Account, through int64, skipped []Span) Coverage {
	var sum int64
	cut := func(ticks int64) int64 {
		before := sum / ticksPerMS
		sum += ticks
		return sum/ticksPerMS - before
	}
	total := a.Total()
	c := Coverage{
		ReceivedMS:      cut(a.Received),
		RecoveredMS:     cut(a.Recovered),
		ConcealedMS:     cut(a.Concealed),
		SilenceMS:       cut(a.Silence),
		DiscontinuityMS: cut(a.Discontinuity),
		ShedMS:          cut(a.Shed),
		DurationMS:      total / ticksPerMS,
	}
	through = min(max(through, 0), total)
	var gone int64
	for _, s := range skipped {
		gone += max(0, min(s.End, through)-max(s.Start, 0))
	}
	gone = min(gone, through)
	sum = 0
	c.TranscribedMS = cut(through - gone)
	c.SkippedMS = cut(gone)
	c.PendingMS = cut(total - through)
	return c
}

// Plus is the sum of two coverages, as a meeting's is of its tracks'.
func (c Coverage) Plus(d Coverage) Coverage {
	return Coverage{
		DurationMS:      c.DurationMS + d.DurationMS,
		ReceivedMS:      c.ReceivedMS + d.ReceivedMS,
		RecoveredMS:     c.RecoveredMS + d.RecoveredMS,
		ConcealedMS:     c.ConcealedMS + d.ConcealedMS,
		SilenceMS:       c.SilenceMS + d.SilenceMS,
		DiscontinuityMS: c.DiscontinuityMS + d.DiscontinuityMS,
		ShedMS:          c.ShedMS + d.ShedMS,
		TranscribedMS:   c.TranscribedMS + d.TranscribedMS,
		PendingMS:       c.PendingMS + d.PendingMS,
		SkippedMS:       c.SkippedMS + d.SkippedMS,
	}
}

// Missing are the spans of the meeting that no transcript speaks for: those
// that were given up, and those that are still pending. Times are on the
// meeting's clock.
func (m Meeting) Missing() []transcript.Missing {
	var out []transcript.Missing
	for _, t := range m.Tracks {
		offset := t.StartedAt.Sub(m.StartedAt).Milliseconds()
		add := func(start, end int64, reason string) {
			if end > start {
				out = append(out, transcript.Missing{
					Track: t.ID, StartMS: offset + start/ticksPerMS, EndMS: offset + end/ticksPerMS, Reason: reason,
				})
			}
		}
		for _, s := range t.Skipped {
			add(s.Start, s.End, s.Reason)
		}
		add(t.Through, t.Account.Total(), "pending")
	}
	return out
}
