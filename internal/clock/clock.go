// Package clock is the time that the server stores and puts on timelines. Wall
// clocks are set back, by hand or by NTP, in the middle of a meeting and while
// the server is away. A track that begins after that would begin before its
// meeting.
package clock

import "time"

// Start returns a clock that shows wall now, or latest if that is later, and
// goes on from there by the time that passes (Linux: CLOCK_MONOTONIC, whose
// speed NTP corrects and which nobody sets). latest is the latest time that was
// stored before; behind is how far wall is behind it, at least 0.
//
// The clock's times are wall times to store and to compare with each other. They
// are no deadlines: the clock may differ from time.Now by any amount. While a
// machine sleeps, it stands still.
func Start(wall, latest time.Time) (now func() time.Time, behind time.Duration) {
	base, started := wall.Round(0), time.Now() // without a monotonic reading, and with one
	if behind = max(0, latest.Sub(base)); behind > 0 {
		base = latest.Round(0)
	}
	return func() time.Time { return base.Add(time.Since(started)) }, behind
}
