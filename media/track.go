package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/media/reorder"
)

// lastWords is how long an ended session goes on reading when nothing more
// comes: packets that were sent before the HTTP request to leave may arrive
// after it, or wait to be read on a busy machine (150 ms were not enough with
// eight times more work than processors).
const lastWords = 400 * time.Millisecond

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

	reorder  *reorder.Buffer[payload]
	timeline audio.Timeline
	counts   Counts

	out []audio.Packet // emitted and not yet appended
	err error          // of the log
}

// payload is what the reorder buffer holds of an RTP packet.
type payload struct {
	timestamp uint32
	format    audio.Format // FormatNone: not audio that we know
	rate      int
	bytes     []byte
}

// Counts are the packets of a track that did not become audio.
type Counts struct {
	Duplicate, Late, Stray, Malformed, Dropped, Strange uint64
}

func newTrack(s *Session) *track {
	return &track{
		s:       s,
		reorder: reorder.New[payload](reorder.Config{Start: startHold, Wait: s.engine.cfg.Wait}),
	}
}

// run reads until the session has ended and what it had sent is taken in, then
// appends the End. It returns the log's error if there was one.
func (t *track) run(ctx context.Context) error {
	var (
		buf      [receiveMTU]byte
		pkt      rtp.Packet
		deadline time.Time // that is set on the remote
		quiet    time.Time // when an ended session stops waiting for more
		limit    time.Time // when it stops whatever comes
	)
	for t.err == nil {
		remote, changed, ended := t.remote()
		if changed {
			deadline = time.Unix(1, 0)
			t.restart(ctx)
		}
		want, waiting := t.reorder.Deadline()
		if ended {
			now := time.Now()
			if limit.IsZero() {
				quiet, limit = now.Add(lastWords), now.Add(lastWords+2*t.s.engine.cfg.Wait)
			}
			if !waiting {
				want = quiet
			}
			if want.After(limit) {
				want = limit
			}
			if !now.Before(limit) || (!now.Before(quiet) && !waiting) {
				break
			}
		}
		if !want.Equal(deadline) || ended {
			if t.setDeadline(remote, want, ended) {
				deadline = want
			}
		}
		n, _, err := remote.Read(buf[:])
		now := time.Now()
		switch {
		case err == nil, errors.Is(err, webrtc.ErrCodecNotFound):
			t.receive(ctx, now, buf[:n], &pkt, remote)
			if ended {
				quiet = now.Add(lastWords)
			}
		case isTimeout(err):
		case errors.Is(err, io.EOF) && ended:
			limit = now.Add(-1)
		case errors.Is(err, io.EOF):
			t.s.end(audio.ReasonLeft)
		case n > 0:
			t.counts.Malformed++
		default:
			t.s.engine.log.Warn("a session's media cannot be read any more", "err", err)
			t.s.end(audio.ReasonTimeout)
			limit = now.Add(-1)
		}
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

// remote is the stream to read now; changed says that it was another before.
func (t *track) remote() (r *webrtc.TrackRemote, changed, ended bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	changed = t.s.remote != t.s.newest
	t.s.remote = t.s.newest
	return t.s.remote, changed, t.s.reason != 0
}

// setDeadline sets the read deadline unless the session was interrupted since
// the loop looked: then its own, in the past, must stay.
func (t *track) setDeadline(r *webrtc.TrackRemote, d time.Time, ended bool) bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.newest != r || (t.s.reason != 0) != ended {
		return false
	}
	_ = r.SetReadDeadline(d) // fails only once it is closed, and then Read does
	return true
}

// restart goes on with another stream of the same source.
func (t *track) restart(ctx context.Context) {
	t.flush(ctx)
	t.reorder.Restart()
	t.timeline.Break()
}

// receive takes in one RTP packet as it arrived.
func (t *track) receive(ctx context.Context, now time.Time, b []byte, pkt *rtp.Packet, r *webrtc.TrackRemote) {
	if err := pkt.Unmarshal(b); err != nil {
		t.counts.Malformed++
		return
	}
	v := payload{timestamp: pkt.Timestamp, rate: audio.TickRate}
	if c := r.Codec(); uint8(c.PayloadType) == pkt.PayloadType && c.MimeType == webrtc.MimeTypeOpus {
		v.format, v.bytes = audio.FormatOpus, pkt.Payload
	}
	t.push(ctx, now, pkt.SequenceNumber, v)
}

// push takes in one packet; v.bytes is only valid until push and the drain that
// follows it are done.
func (t *track) push(ctx context.Context, now time.Time, seq uint16, v payload) {
	if !t.reorder.Passes(seq) {
		v.bytes = slices.Clone(v.bytes)
	}
	verdict, _ := t.reorder.Push(now, seq, v)
	switch verdict {
	case reorder.Accepted:
	case reorder.Duplicate:
		t.counts.Duplicate++
	case reorder.Late:
		t.counts.Late++
	case reorder.Stray:
		t.counts.Stray++
	case reorder.Jumped:
		t.restart(ctx)
		t.reorder.Push(now, seq, v)
	}
}

// drain passes on what is in order by now.
func (t *track) drain(ctx context.Context, now time.Time) {
	for {
		p, ok := t.reorder.Pop(now)
		if !ok {
			break
		}
		t.place(p)
	}
	t.append(ctx)
	if t.timeline.Ahead(now) > maxAhead {
		t.s.engine.log.Warn("a session is closed: it sends audio faster than time passes")
		t.s.end(audio.ReasonServer)
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
	c := audio.Coding{
		Ext: p.Ext, Timestamp: p.Value.timestamp, Rate: p.Value.rate,
		Format: p.Value.format, Arrived: p.Arrived, Payload: p.Value.bytes,
	}
	if p.Value.format == audio.FormatOpus && len(p.Value.bytes) > 0 {
		n, err := codec.OpusTicks(p.Value.bytes)
		if err != nil {
			t.counts.Malformed++
			t.timeline.Unusable(p.Ext)
			return
		}
		c.Samples = n
	}
	t.timeline.Push(c, t.emit)
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
	t.counts.Strange = t.timeline.Strange()
	if t.counts != (Counts{}) {
		t.s.engine.log.Info("packets that did not become audio", "counts", t.counts)
	}
	t.timeline.End(time.Now(), t.s.endReason(), t.emit)
	t.append(ctx)
	return t.err
}
