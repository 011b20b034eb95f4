package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/media/red"
	"verbatim/media/reorder"
)

// lastWords is how long an ended session goes on reading when nothing more
// comes: packets that were sent before the HTTP request to leave may arrive
// after it, or wait to be read on a busy machine (150 ms were not enough with
// eight times more work than processors).
const lastWords = 400 * time.Millisecond

// busy is how much later than it was to a Read may return; more says that the
// machine was busy. Then what has arrived meanwhile gets as long to be read
// before anything is given up.
const busy = 50 * time.Millisecond

// maxAhead is how much more audio a session may send than time has passed:
// enough for any burst after a stall, too little to make hours of it.
const maxAhead = time.Minute

// receiveMTU is more than any RTP packet has.
const receiveMTU = 1600

// track takes in the audio of one session. Its session's goroutine makes it and
// calls run; nothing of it is shared.
type track struct {
	s   *Session
	log Log // nil until the first packet came out in order

	reorder   *reorder.Buffer[payload]
	timeline  audio.Timeline
	reception reception
	counts    Counts

	heard    bool              // something came
	ssrc     uint32            // of the source that is read
	left     []uint32          // SSRCs of those before it
	send     func(rtcp.Packet) // to the client
	rtt      time.Duration     // the least that was measured lately; 0: not yet
	reportAt time.Time         // when the next receiver report is due
	held     time.Time         // until then nothing is given up; zero: no such time

	stray  payload // the last one that was far from all others in number
	asked  []uint16
	blocks []red.Block
	out    []audio.Packet // emitted and not yet appended
	err    error          // of the log
}

// payload is what the reorder buffer holds of an RTP packet.
type payload struct {
	timestamp uint32
	rate      int   // clock rate of the timestamp
	samples   int64 // ticks (48 kHz); 0: no audio
	format    audio.Format
	origin    audio.Origin
	unusable  bool // audio that cannot be decoded
	bytes     []byte
}

// Counts are the packets of a track that did not become audio, and those that
// were asked for again.
type Counts struct {
	Asked     uint64 // sequence numbers in the NACKs sent
	Duplicate uint64 // came again
	Replayed  uint64 // came again, and SRTP refused them before they got here
	Forged    uint64 // SRTP found not to be the client's
	Late      uint64 // came after their place had been given up
	Stray     uint64 // far from all others in number
	Malformed uint64
	Unknown   uint64 // of a payload type that was not agreed on
	Dropped   uint64 // came faster than they were read
	Strange   uint64 // timestamps that made no sense
}

// LogValue implements slog.LogValuer: those that are not 0, by name.
func (c Counts) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, n := range []struct {
		name string
		n    uint64
	}{
		{"asked", c.Asked}, {"duplicate", c.Duplicate}, {"replayed", c.Replayed}, {"forged", c.Forged}, {"late", c.Late}, {"stray", c.Stray},
		{"malformed", c.Malformed}, {"unknown", c.Unknown}, {"dropped", c.Dropped}, {"strange", c.Strange},
	} {
		if n.n > 0 {
			attrs = append(attrs, slog.Uint64(n.name, n.n))
		}
	}
	return slog.GroupValue(attrs...)
}

func newTrack(s *Session) *track {
	return &track{
		s: s, send: s.send,
		reorder: reorder.New[payload](reorder.Config{Start: startHold, Wait: minWait}),
		blocks:  make([]red.Block, 0, red.MaxBlocks+1),
	}
}

// run reads until the session has ended and what it had sent is taken in, then
// appends the End. A session of which nothing has come by silent is ended. It
// returns the log's error if there was one.
func (t *track) run(ctx context.Context, silent time.Time) error {
	var (
		buf      [receiveMTU]byte
		pkt      rtp.Packet
		deadline time.Time // that is set
		quiet    time.Time // when an ended session stops waiting for more
		limit    time.Time // when it stops whatever comes
	)
	for over := false; !over && t.err == nil; {
		ended := t.s.endReason() != 0
		want, waiting := t.reorder.Deadline()
		if ended {
			if limit.IsZero() {
				now := time.Now()
				quiet, limit = now.Add(lastWords), now.Add(lastWords+maxWait)
			}
			if !waiting {
				want = quiet
			}
			if want.After(limit) {
				want = limit
			}
		}
		if !t.heard && !ended {
			want = silent
		}
		if !want.IsZero() && want.Before(t.held) {
			want = t.held
		}
		if !want.Equal(deadline) || ended {
			if t.setDeadline(want, ended) {
				deadline = want
			}
		}
		n, err := t.s.read(buf[:])
		now := time.Now()
		switch {
		case t.held.IsZero() && !want.IsZero() && now.Sub(want) > busy:
			t.held = now.Add(busy)
		case !now.Before(t.held):
			t.held = time.Time{}
		}
		switch {
		case err == nil:
			t.receive(ctx, now, buf[:n], &pkt)
			t.report(now)
			if ended {
				quiet = now.Add(lastWords)
			}
		case isTimeout(err):
			over = ended && t.held.IsZero() && !now.Before(quiet) && !waiting
			if !ended && !t.heard && !now.Before(silent) {
				t.s.end(audio.ReasonTimeout)
			}
		case errors.Is(err, io.EOF): // the session was ended before
			over = true
		default:
			t.s.engine.log.Warn("a session's media cannot be read any more", "err", err)
			t.s.end(audio.ReasonTimeout)
			over = true
		}
		over = over || (ended && t.held.IsZero() && !now.Before(limit))
		t.drain(ctx, now)
	}
	t.flush(ctx)
	return t.finish(ctx)
}

// isTimeout tells a read deadline that has passed; pion has more than one error
// for it.
func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// setDeadline sets the read deadline unless the session was interrupted since
// the loop looked: then its own, in the past, must stay.
func (t *track) setDeadline(d time.Time, ended bool) bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if (t.s.reason != 0) != ended {
		return false
	}
	_ = t.s.rtp.SetReadDeadline(d) // never fails
	return true
}

// restart goes on with another stream of the same source.
func (t *track) restart(ctx context.Context) {
	t.flush(ctx)
	t.reorder.Restart()
	t.timeline.Break()
	t.reception = reception{}
}

// receive takes in one RTP packet as it arrived.
func (t *track) receive(ctx context.Context, now time.Time, b []byte, pkt *rtp.Packet) {
	if err := pkt.Unmarshal(b); err != nil {
		t.counts.Malformed++
		return
	}
	e := t.s.payloads[pkt.PayloadType]
	if !t.follow(ctx, pkt.SSRC, e != nil) {
		return
	}
	switch {
	case e == nil:
		t.counts.Unknown++
		t.push(ctx, now, pkt.SequenceNumber, payload{timestamp: pkt.Timestamp, rate: audio.TickRate})
	case e.red && len(pkt.Payload) > 0:
		t.receiveRED(ctx, now, pkt)
	default:
		t.push(ctx, now, pkt.SequenceNumber, t.payload(e, pkt.Timestamp, pkt.Payload))
	}
}

// follow goes on with the source of a packet: a client may change its SSRC. It
// reports whether the packet is to be taken in, which it is not if another source
// has come in the place of its own, or if it would be the first of a source and
// its payload type is not known.
func (t *track) follow(ctx context.Context, ssrc uint32, known bool) bool {
	switch {
	case t.heard && ssrc == t.ssrc:
		return true
	case slices.Contains(t.left, ssrc):
		t.counts.Late++
		return false
	case !known:
		t.counts.Unknown++
		return false
	}
	if t.heard {
		t.restart(ctx)
		t.left = append(t.left, t.ssrc)
		if len(t.left) == maxSSRCs {
			t.s.refuse("it sends too many SSRCs")
		}
	}
	t.heard, t.ssrc = true, ssrc
	return true
}

// payload reads what an encoding's bytes say of themselves.
func (t *track) payload(e *encoding, timestamp uint32, b []byte) payload {
	v := payload{timestamp: timestamp, rate: e.rate}
	if e.format == audio.FormatNone || len(b) == 0 {
		return v
	}
	ticks, err := codec.Duration(e.format, b)
	if err != nil {
		t.counts.Malformed++
		v.unusable = true
		return v
	}
	v.format, v.samples, v.bytes = e.format, ticks, b
	return v
}

// receiveRED takes in a packet that carries those before it once more. Its
// redundant blocks stand for the packets sent right before it (RFC 7587 and
// what browsers do); one whose timestamp contradicts that is left alone.
func (t *track) receiveRED(ctx context.Context, now time.Time, pkt *rtp.Packet) {
	blocks, err := red.Split(t.blocks, pkt.Payload)
	last := len(blocks) - 1
	var e *encoding // of the packet's own audio
	if err == nil {
		e = t.s.payloads[blocks[last].PayloadType]
	}
	if e == nil || e.red {
		t.counts.Malformed++
		t.push(ctx, now, pkt.SequenceNumber, payload{timestamp: pkt.Timestamp, rate: audio.TickRate, unusable: true})
		return
	}
	t.push(ctx, now, pkt.SequenceNumber, t.payload(e, pkt.Timestamp, blocks[last].Data))
	seq, next := pkt.SequenceNumber, pkt.Timestamp
	for _, b := range slices.Backward(blocks[:last]) {
		seq--
		if t.s.payloads[b.PayloadType] != e || !t.reorder.Lacks(seq) {
			next = pkt.Timestamp - b.Offset
			continue
		}
		v := t.payload(e, pkt.Timestamp-b.Offset, b.Data)
		if v.samples == 0 || int64(int32(next-v.timestamp)) < v.samples*int64(e.rate)/audio.TickRate {
			return
		}
		next = v.timestamp
		v.origin, v.bytes = audio.RED, slices.Clone(v.bytes)
		t.reorder.Fill(now, seq, v)
	}
}

// push takes in one packet; v.bytes is only valid until push and the drain that
// follows it are done.
func (t *track) push(ctx context.Context, now time.Time, seq uint16, v payload) {
	if !t.reorder.Passes(seq) {
		v.bytes = slices.Clone(v.bytes)
	}
	verdict := t.reorder.Push(now, seq, v)
	for verdict == reorder.Full {
		if p, ok := t.reorder.Flush(); ok {
			t.place(p)
		}
		verdict = t.reorder.Push(now, seq, v)
	}
	switch verdict {
	case reorder.Accepted:
		t.reception.take(now, seq, v.timestamp, v.rate)
	case reorder.Duplicate:
		t.counts.Duplicate++
	case reorder.Late:
		t.counts.Late++
	case reorder.Stray:
		t.counts.Stray++
		t.stray = v
	case reorder.Jumped:
		t.restart(ctx)
		// The stray one before was the first of those that follow. It may be old;
		// what tells of the new numbers' place in time is the one that came now.
		t.counts.Stray--
		first, at := t.stray, now.Add(-time.Duration(t.stray.samples)*time.Second/audio.TickRate)
		t.stray = payload{}
		t.reorder.Push(at, seq-1, first)
		t.reception.take(at, seq-1, first.timestamp, first.rate)
		t.reorder.Push(now, seq, v)
		t.reception.take(now, seq, v.timestamp, v.rate)
	}
}

// sentAgain tells a packet that came because it was asked for from one that was
// overtaken on its way: the same packet, but not sooner than a round trip after
// its absence was noticed. A quarter of that is for a path that has just become
// faster.
func (t *track) sentAgain(missed time.Duration) bool {
	if t.rtt == 0 { // not measured
		return missed >= 5*time.Millisecond
	}
	return missed >= 3*t.rtt/4
}

// report says once a second how well the client is received, and takes stock of
// the path.
func (t *track) report(now time.Time) {
	if now.Before(t.reportAt) || !t.reception.started {
		return
	}
	t.reportAt = now.Add(time.Second)
	rtt := t.s.roundTrip()
	t.reorder.SetWait(waitFor(rtt, time.Duration(t.reception.jitter)))
	if t.rtt == 0 || rtt < t.rtt {
		t.rtt = rtt
	} else {
		t.rtt += (rtt - t.rtt) / 64
	}
	block := t.reception.report(t.ssrc)
	t.s.reports.name(now, &block)
	t.send(&rtcp.ReceiverReport{SSRC: t.s.ssrc, Reports: []rtcp.ReceptionReport{block}})
}

// ask asks for what is missing (RFC 4585, 6.2.1). Browsers answer although they
// do not negotiate it for audio; whoever does not loses nothing by it.
func (t *track) ask(now time.Time) {
	t.asked = t.reorder.Ask(now, t.asked[:0])
	if len(t.asked) == 0 {
		return
	}
	t.counts.Asked += uint64(len(t.asked))
	t.send(&rtcp.TransportLayerNack{
		SenderSSRC: t.s.ssrc, MediaSSRC: t.ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(t.asked),
	})
}

// drain passes on what is in order by now.
func (t *track) drain(ctx context.Context, now time.Time) {
	by := now
	if now.Before(t.held) {
		by = time.Time{} // no deadline has passed by then
	}
	for {
		p, ok := t.reorder.Pop(by)
		if !ok {
			break
		}
		t.place(p)
	}
	t.ask(now)
	t.append(ctx)
	if t.timeline.Ahead(t.s.engine.onTimeline(now)) > maxAhead {
		t.s.refuse("it sends audio faster than time passes")
	}
}

// flush passes on everything that is held, whatever is missing.
func (t *track) flush(ctx context.Context) {
	for {
		p, ok := t.reorder.Flush()
		if !ok {
			break
		}
		t.place(p)
	}
	t.append(ctx)
}

// place puts a packet on the timeline.
func (t *track) place(p reorder.Packet[payload]) {
	v := &p.Value
	if v.unusable {
		t.timeline.Unusable(p.Ext)
		return
	}
	if v.origin == audio.Wire && t.sentAgain(p.Missed) {
		v.origin = audio.Retransmission
	}
	t.timeline.Push(audio.Coding{
		Ext: p.Ext, Timestamp: v.timestamp, Rate: v.rate, Samples: v.samples,
		Format: v.format, Origin: v.origin, Arrived: t.s.engine.onTimeline(p.Arrived), Payload: v.bytes,
	}, t.emit)
}

func (t *track) emit(p audio.Packet) { t.out = append(t.out, p) }

// append hands over what was emitted, opening the log with the first packet.
func (t *track) append(ctx context.Context) {
	if len(t.out) == 0 || t.err != nil {
		t.out = t.out[:0]
		return
	}
	if t.log == nil {
		t.log, t.err = t.s.engine.cfg.Sink.OpenTrack(ctx, t.s.id, t.out[0].At)
		if t.err != nil {
			t.err = fmt.Errorf("open a track: %w", t.err)
			return
		}
	}
	if err := t.log.Append(ctx, t.out...); err != nil {
		t.err = fmt.Errorf("append to a track: %w", err)
	}
	clear(t.out) // let go of the payloads
	t.out = t.out[:0]
}

// finish appends the End, if there is a log to end.
func (t *track) finish(ctx context.Context) error {
	if t.log == nil || t.err != nil {
		return t.err
	}
	t.counts.Dropped = t.s.dropped.Load()
	t.counts.Replayed = t.s.replayed.Load()
	t.counts.Forged = t.s.forged.Load()
	t.counts.Strange = t.timeline.Strange()
	if t.counts != (Counts{}) {
		t.s.engine.log.Info("a track had packets that did not become audio, or were asked for again", "packets", t.counts)
	}
	t.timeline.End(t.s.engine.onTimeline(time.Now()), t.s.endReason(), t.emit)
	t.append(ctx)
	return t.err
}
