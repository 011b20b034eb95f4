package audio

import "time"

const (
	// leeway is how far timestamps may lead the wall clock, in ticks, before
	// they are not believed any more.
	leeway = 5 * TickRate
	// maxDrift is how fast clocks may drift apart: 1 in 1,000. Real ones stay
	// below 300 ppm.
	maxDrift = 1000
	// patience is for how long packets have to stay behind the wall clock without
	// catching up to count as those of a sender that had paused. What the network
	// held up comes faster than it lasts.
	patience = 2 * time.Second
)

// Coding is one RTP packet on its way from the reorder buffer to the timeline.
type Coding struct {
	// Ext is the extended sequence number, larger than that before it.
	Ext int64
	// Timestamp is the RTP timestamp, in units of 1/Rate.
	Timestamp uint32
	Rate      int // clock rate of the format in Hz; divides 48,000
	// Samples is the duration in ticks (48 kHz) that the payload itself states,
	// 0 for a packet that carries no audio (padding).
	Samples int64
	Format  Format
	Origin  Origin
	Arrived time.Time
	Payload []byte
}

// Timeline gives the packets of a track their place in time: it tells loss from
// silence that was not sent, and turns what an RTP timestamp cannot mean into a
// discontinuity. It is pure; one goroutine uses it.
//
// What a coded packet lasts comes from the packet itself. Timestamps only say
// how much time passed where nothing came, and the wall clock bounds that: the
// timeline never leads the clock by more than 5 s through anything but audio
// that really came, so no sequence of packets makes hours out of seconds. Nor
// does it stay behind the clock by more, but while the network holds things up.
type Timeline struct {
	seq     uint64
	start   int64
	account Account
	strange uint64

	running bool   // a coded packet came before, in this numbering
	broken  bool   // the numbering ended: the next packet begins another
	ext     int64  // of the last packet
	expect  uint32 // RTP timestamp that would follow without a gap
	rate    int
	last    int64 // duration of the last coded packet
	bad     int64 // packets since the last coded one that arrived but were unusable

	base    time.Time // wall time of the first arrival: what elapsed is counted from
	arrived time.Time // of the last coded packet
	// lead is the least time from a tick of the track to its arrival, as wall
	// time since base minus Start. It rises again at maxDrift.
	lead time.Duration
	// credit is how far, in ticks, gaps may still bring the timeline forward of
	// the wall clock: at most leeway, won back at twice maxDrift.
	credit int64
	at     time.Time // of the newest packet

	late   int64     // how far packets are behind the wall clock, while that is more than leeway
	lateAt time.Time // since when
}

// Account adds up what was emitted so far.
func (t *Timeline) Account() Account { return t.account }

// Strange counts timestamps that made no sense: they ran backwards, overlapped
// what came before, or left the wall clock.
func (t *Timeline) Strange() uint64 { return t.strange }

// Ahead is how much longer the track is than the time since its first packet.
func (t *Timeline) Ahead(now time.Time) time.Duration {
	return duration(t.start) - now.Sub(t.base)
}

// Begin says that the source's timeline begins where packet c ends, at
// c.Timestamp; c itself was never sent. What lies between that and the first
// packet is a gap like any other. It is for sources that number from a known
// beginning, which RTP does not, and is called before anything is pushed.
func (t *Timeline) Begin(c Coding) {
	t.anchor(c.Arrived)
	t.running = true
	t.ext, t.expect, t.rate, t.last = c.Ext, c.Timestamp, c.Rate, c.Samples
}

// anchor sets the wall time that all else is counted from.
func (t *Timeline) anchor(arrived time.Time) {
	t.base, t.arrived, t.credit = arrived, arrived, leeway
}

// Break says that what comes next does not continue the numbering or the
// timestamps so far: a new SSRC, another format, a jump.
func (t *Timeline) Break() {
	if t.running {
		t.running, t.broken = false, true
	}
}

// Unusable says that a packet arrived in its place but cannot be decoded: its
// time counts as lost.
func (t *Timeline) Unusable(ext int64) {
	if t.running {
		t.bad++
		t.bad += t.holes(ext)
		t.ext = ext
	}
}

// Push takes the next packet in order, and emits it after what has to stand
// before it. Payloads are passed on, not copied.
func (t *Timeline) Push(c Coding, emit func(Packet)) {
	if c.Samples == 0 {
		if t.running {
			t.bad += t.holes(c.Ext)
			t.ext = c.Ext
		}
		return
	}
	if t.base.IsZero() {
		t.anchor(c.Arrived)
	}
	if t.running && c.Rate != t.rate {
		t.Break()
	}
	if t.running && c.Origin == RED && int32(c.Timestamp-t.expect) < 0 {
		// Of an earlier packet: senders leave out of RED what is too long for it
		// (1,024 bytes), so blocks need not be of the packets right before.
		t.strange++
		t.Unusable(c.Ext)
		return
	}
	switch {
	case t.broken:
		t.emit(Packet{Kind: Discontinuity, Samples: t.passed(c.Arrived)}, emit)
	case t.running:
		t.gap(c, emit)
		t.resume(c, emit)
	}
	t.running, t.broken, t.bad = true, false, 0
	t.ext, t.rate, t.last = c.Ext, c.Rate, c.Samples
	t.expect = c.Timestamp + uint32(c.Samples*int64(c.Rate)/TickRate)
	t.measure(c.Arrived)
	t.emit(Packet{Kind: Coded, Samples: c.Samples, Origin: c.Origin, Format: c.Format, Payload: c.Payload}, emit)
}

// End emits the last packet. now is the wall time of the end.
func (t *Timeline) End(now time.Time, reason Reason, emit func(Packet)) {
	at := t.at
	if at.IsZero() {
		at = now
	}
	emit(NewEnd(t.seq, t.start, at, EndInfo{Reason: reason, Totals: t.account}))
}

func (t *Timeline) holes(ext int64) int64 { return max(0, ext-t.ext-1) }

// gap emits what lies between the last packet and c.
func (t *Timeline) gap(c Coding, emit func(Packet)) {
	step := int64(int32(c.Timestamp-t.expect)) * (TickRate / int64(c.Rate))
	holes := t.holes(c.Ext) + t.bad
	ahead := max(0, t.start+step-t.elapsed(c.Arrived))
	switch {
	case step > 0 && ahead > t.credit, step < -leeway:
		t.strange++
		t.emit(Packet{Kind: Discontinuity, Samples: t.passed(c.Arrived)}, emit)
	case step < 0:
		t.strange++ // begin anew from this timestamp
	case step > 0:
		// The lost ones stand next to the packet that tells of them: DTX goes
		// silent after its last packet, not before it.
		lost := min(step, holes*t.last)
		t.credit -= ahead
		t.emit(Packet{Kind: Silence, Samples: step - lost}, emit)
		t.emit(Packet{Kind: Lost, Samples: lost}, emit)
	}
}

// resume notices a sender whose timestamps stood still while it paused, and
// emits what the wall clock says has passed. (Browsers count what their source
// gives: one that stops for ten minutes goes on as if nothing had been.) PCM is
// counted by its sender, by contract.
func (t *Timeline) resume(c Coding, emit func(Packet)) {
	late := t.passed(c.Arrived)
	switch {
	case late <= leeway || c.Format == FormatPCM:
		t.late = 0
	case t.late == 0 || late < t.late-TickRate/2:
		t.late, t.lateAt = late, c.Arrived
	case c.Arrived.Sub(t.lateAt) >= patience:
		t.strange++
		t.emit(Packet{Kind: Discontinuity, Samples: min(late, t.late)}, emit)
		t.late = 0
	}
}

// passed is the wall clock time, in ticks, that lies between the end of the
// timeline and the arrival of a packet that continues it in no other way.
func (t *Timeline) passed(arrived time.Time) int64 {
	return max(0, t.elapsed(arrived)-t.start)
}

// elapsed is where on the timeline a packet would stand that arrived now after
// the least delay.
func (t *Timeline) elapsed(arrived time.Time) int64 {
	return ticks(arrived.Sub(t.base) - t.lead)
}

// measure lets what is known of the clocks age, and keeps the delay of the
// fastest packet; the one that arrived is about to be emitted at t.start.
func (t *Timeline) measure(arrived time.Time) {
	d := max(0, arrived.Sub(t.arrived)) / maxDrift
	t.arrived = arrived
	t.lead = min(t.lead+d, arrived.Sub(t.base)-duration(t.start))
	// Twice: once for what lead rose, once for a sender whose clock is fast.
	t.credit = min(leeway, t.credit+2*ticks(d))
}

func (t *Timeline) emit(p Packet, emit func(Packet)) {
	if p.Samples == 0 && p.Kind != Discontinuity {
		return
	}
	at := t.base.Add(t.lead + duration(t.start))
	if at.After(t.at) {
		t.at = at
	}
	p.Seq, p.Start, p.At = t.seq, t.start, t.at
	t.seq++
	t.start += p.Samples
	t.account.Add(p)
	emit(p)
}

// Duration is how long that many ticks (48 kHz) last.
func Duration(ticks int64) time.Duration { return duration(ticks) }

// duration and ticks convert by whole seconds first: a track may last for days.
func duration(ticks int64) time.Duration {
	return time.Duration(ticks/TickRate)*time.Second + time.Duration(ticks%TickRate)*time.Second/TickRate
}

func ticks(d time.Duration) int64 {
	return int64(d/time.Second)*TickRate + int64(d%time.Second)*TickRate/int64(time.Second)
}
