package audio

// Begin says that the source's timeline begins where packet c ends, at
// c.Timestamp; c itself was never sent. What lies between that and the first
// packet is a gap like any other. It is for sources that number from a known
// beginning, which RTP does not, and is called before anything is pushed.
func (t *Timeline) Begin(c Coding) {
	t.base, t.arrived, t.credit = c.Arrived, c.Arrived, leeway
	t.running = true
	t.ext, t.expect, t.rate, t.last = c.Ext, c.Timestamp, c.Rate, c.Samples
}
