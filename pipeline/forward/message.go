package forward

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
)

// Lengths are in samples (16 kHz).
const (
	batch     = audio.FrameRate / 5  // what a message holds when the stage keeps up
	batchLate = 2 * audio.FrameRate  // and at most, when it is behind
	zerosMost = 10 * audio.FrameRate // a message that says how long there was nothing
	// patience is how long nothing comes until what there is goes out.
	patience = 200 * time.Millisecond
)

// The headers of a message; docs/FORWARD.md.
const (
	hVersion      = "Verbatim-Version"
	hSeq          = "Verbatim-Seq"
	hEpoch        = "Verbatim-Epoch"
	hWriter       = "Verbatim-Writer"
	hStart        = "Verbatim-Start"
	hSamples      = "Verbatim-Samples"
	hSpans        = "Verbatim-Spans"
	hAccount      = "Verbatim-Account"
	hEnd          = "Verbatim-End"
	hRoom         = "Verbatim-Room"
	hMeeting      = "Verbatim-Meeting"
	hMeetingStart = "Verbatim-Meeting-Start"
	hTrack        = "Verbatim-Track"
	hTrackStart   = "Verbatim-Track-Start"
	hParticipant  = "Verbatim-Participant"
	hName         = "Verbatim-Name"

	version = "1"
)

// kinds are the names of what samples are, as in the account of a meeting; what
// was recovered is received. Those from silence on are zeros.
var kinds = [...]string{"received", "concealed", "silence", "discontinuity", "shed"}

const silence = 2

func kindOf(k audio.Kind) int {
	switch k {
	case audio.Coded:
		return 0
	case audio.Lost:
		return 1
	case audio.Discontinuity:
		return 3
	case audio.Shed:
		return 4
	default:
		return silence
	}
}

// account counts samples by kinds.
type account [len(kinds)]int64

func (a account) String() string {
	parts := make([]string, len(kinds))
	for i, n := range a {
		parts[i] = kinds[i] + " " + strconv.FormatInt(n, 10)
	}
	return strings.Join(parts, ", ")
}

func parseAccount(text string) (a account, err error) {
	parts := strings.Split(text, ", ")
	if len(parts) != len(kinds) {
		return a, errors.New("not an account")
	}
	for i, part := range parts {
		name, n, _ := strings.Cut(part, " ")
		if a[i], err = strconv.ParseInt(n, 10, 64); err != nil || name != kinds[i] || a[i] < 0 {
			return a, errors.New("not an account")
		}
	}
	return a, nil
}

func (a account) total() (n int64) {
	for _, v := range a {
		n += v
	}
	return n
}

// parse reads where a message of ours ends.
func parse(h nats.Header) (p position, err error) {
	number := func(name string) (n int64) {
		v, e := strconv.ParseInt(h.Get(name), 10, 64)
		if err == nil && (e != nil || v < 0) {
			err = fmt.Errorf("the last message of the track has no good %s", name)
		}
		return v
	}
	p.epoch, p.seq = uint64(number(hEpoch)), uint64(number(hSeq))+1
	p.next = number(hStart) + number(hSamples)
	p.writer, p.ended = h.Get(hWriter), h.Get(hEnd) != ""
	if err != nil {
		return p, err
	}
	if p.sum, err = parseAccount(h.Get(hAccount)); err != nil || p.sum.total() != p.next {
		return p, fmt.Errorf("the last message of the track has no good %s", hAccount)
	}
	return p, nil
}

// pending is what was decoded and not yet published.
type pending struct {
	pcm   []byte // empty if all of it is zeros
	n     int64
	zeros bool
	spans []span
}

type span struct {
	kind int
	n    int64
}

func (b *pending) add(f audio.Frame) {
	k, n := kindOf(f.Kind), int64(len(f.PCM))
	if last := len(b.spans) - 1; last >= 0 && b.spans[last].kind == k {
		b.spans[last].n += n
	} else {
		b.spans = append(b.spans, span{k, n})
	}
	b.n += n
	if b.zeros = k >= silence; b.zeros {
		return
	}
	for _, v := range f.PCM {
		b.pcm = binary.LittleEndian.AppendUint16(b.pcm, uint16(v))
	}
}

// full reports whether it is to be published, behind says whether more is there
// already.
func (b *pending) full(behind bool) bool {
	switch {
	case b.zeros:
		return b.n >= zerosMost || b.n > 0 && !behind
	case behind:
		return b.n >= batchLate
	}
	return b.n >= batch
}

func (b *pending) reset() { *b = pending{pcm: b.pcm[:0], spans: b.spans[:0]} }

// run publishes all that follows w.next.
func (w *writer) run(ctx context.Context) error {
	if w.ended {
		return nil
	}
	d := decode.New()
	var from uint64
	var b pending
	for {
		done, err := w.some(ctx, d, &from, &b)
		if done || err != nil {
			return err
		}
		if err := w.flush(ctx, &b); err != nil {
			return err
		}
	}
}

// some is run until nothing has come for some time.
func (w *writer) some(ctx context.Context, d *decode.Decoder, from *uint64, b *pending) (done bool, err error) {
	rctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	for p, err := range w.log.Read(rctx, *from) {
		timer.Stop()
		switch {
		case err != nil && ctx.Err() != nil:
			return false, ctx.Err()
		case err != nil && rctx.Err() != nil:
			return false, nil
		case err != nil:
			return false, &logError{err}
		}
		d.Packet(p, func(f audio.Frame) bool {
			err = w.frame(ctx, b, f)
			return err == nil
		})
		if err != nil {
			return false, err
		}
		*from = p.Seq + 1
		if p.Kind == audio.End {
			return true, w.end(ctx, b, p)
		}
		_, tail, _, _ := w.log.State()
		if b.full(tail > p.Next()) {
			if err := w.flush(ctx, b); err != nil {
				return false, err
			}
		}
		timer.Reset(patience)
	}
	return false, &logError{errors.New("the log stopped before its end")}
}

// frame takes what of a frame is not with the broker.
func (w *writer) frame(ctx context.Context, b *pending, f audio.Frame) error {
	if skip := w.next + b.n - f.Start; skip >= int64(len(f.PCM)) {
		return nil
	} else if skip > 0 {
		f.PCM = f.PCM[skip:]
	}
	if zeros := kindOf(f.Kind) >= silence; b.n > 0 && zeros != b.zeros || b.n >= zerosMost || !zeros && b.n >= batchLate {
		if err := w.flush(ctx, b); err != nil {
			return err
		}
	}
	b.add(f)
	return nil
}

// flush publishes what there is.
func (w *writer) flush(ctx context.Context, b *pending) error {
	if b.n == 0 {
		return nil
	}
	sum := w.sum
	spans := make([]string, len(b.spans))
	for i, s := range b.spans {
		sum[s.kind] += s.n
		spans[i] = kinds[s.kind] + " " + strconv.FormatInt(s.n, 10)
	}
	m := w.message(b.n, sum)
	m.Header.Set(hSpans, strings.Join(spans, ", "))
	m.Data = b.pcm
	if err := w.publish(ctx, m); err != nil {
		return err
	}
	w.forwarded.Add(b.n)
	w.seq, w.next, w.sum = w.seq+1, w.next+b.n, sum
	w.at.Store(w.next)
	b.reset()
	return nil
}

// end publishes the rest, and that nothing follows.
func (w *writer) end(ctx context.Context, b *pending, p audio.Packet) error {
	info, err := p.EndInfo()
	if err != nil {
		return &logError{err}
	}
	if err := w.flush(ctx, b); err != nil {
		return err
	}
	m := w.message(0, w.sum)
	m.Header.Set(hEnd, info.Reason.String())
	return w.publish(ctx, m)
}

// message is the next one, of n samples, without what is in it.
func (w *writer) message(n int64, sum account) *nats.Msg {
	t := &w.t
	m := nats.NewMsg(w.f.Subject(t.Meeting, t.ID))
	for name, value := range map[string]string{
		hVersion: version, hEpoch: strconv.FormatUint(w.epoch, 10), hWriter: w.id, hSeq: strconv.FormatUint(w.seq, 10),
		hStart: strconv.FormatInt(w.next, 10), hSamples: strconv.FormatInt(n, 10), hAccount: sum.String(),
		hRoom: t.Room, hMeeting: t.Meeting, hMeetingStart: stamp(t.MeetingStart),
		hTrack: t.ID, hTrackStart: stamp(t.Start), hParticipant: t.Participant.ID, hName: quote(t.Participant.Name),
	} {
		m.Header.Set(name, value)
	}
	return m
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// quote writes text as a JSON string of ASCII: header lines hold nothing else
// safely.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // a string can always be written
	}
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		}
	}
	return out.String()
}
