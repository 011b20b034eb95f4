package meeting

import "verbatim/media/audio"

// ticksPerMS converts the account's unit to what is shown.
const ticksPerMS = audio.TickRate / 1000

// cutter shows ticks as milliseconds. Each part is cut at the running total
// rather than rounded by itself, so that the parts add up to the millisecond.
type cutter struct{ sum int64 }

func (c *cutter) cut(ticks int64) (ms int64) {
	before := c.sum / ticksPerMS
	c.sum += ticks
	return c.sum/ticksPerMS - before
}

// NewCoverage shows the account of a track: what arrived, and how far the
// transcript has got (through, in ticks) leaving out what was skipped of it (in
// ticks, too).
func NewCoverage(a audio.Account, through, skipped int64) Coverage {
	total := a.Total()
	var arrived cutter
	c := Coverage{
		ReceivedMS:      arrived.cut(a.Received),
		RecoveredMS:     arrived.cut(a.Recovered),
		ConcealedMS:     arrived.cut(a.Concealed),
		SilenceMS:       arrived.cut(a.Silence),
		DiscontinuityMS: arrived.cut(a.Discontinuity),
		ShedMS:          arrived.cut(a.Shed),
		DurationMS:      total / ticksPerMS,
	}
	through = min(max(through, 0), total)
	skipped = min(skipped, through)
	var out cutter
	c.TranscribedMS = out.cut(through - skipped)
	c.SkippedMS = out.cut(skipped)
	c.PendingMS = out.cut(total - through)
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
