package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

const (
	insistFirst = time.Second
	insistLast  = time.Minute
)

// track is one that is being transcribed. Its goroutine runs it; it is also the
// transcribe.Sink of its own transcript.
type track struct {
	p      *Pipeline
	row    meeting.Track // as claimed
	room   string
	began  time.Time // the meeting's start: 0 of its clock
	who    transcript.Participant
	log    *tracklog.Log
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	late   bool // of an earlier run of the server
	before before

	reached  atomic.Pointer[reached] // a copy from row
	status   atomic.Pointer[meeting.Transcription]
	revision int // of the segment that comes next
	// uncertain is set when it is not known whether the last commit was stored.
	uncertain bool
	// spoken is the sample up to which a commit has spoken that had seemed to fail.
	// Who transcribes does not know of it, and may say it again in several pieces.
	spoken   int64
	finished meeting.State // of the meeting, once the track is done

	mu    sync.Mutex // guards what follows
	clock audio.Clock
	gaps  gaps
}

// ms is the place of a tick of the track on the meeting's clock, which begins at
// 0: a sender's first packets may be older than that. It knows the drift of the sender's clock from the packets that were read.
func (t *track) ms(tick int64) int64 {
	t.mu.Lock()
	at, ok := t.clock.At(tick)
	t.mu.Unlock()
	if !ok {
		return nominalMS(t.began, t.row, tick)
	}
	return max(0, at.Sub(t.began).Milliseconds())
}

// nominalMS is the place of a tick on the clock of a meeting that began then, if
// nothing is known of the sender's clock.
func nominalMS(began time.Time, row meeting.Track, tick int64) int64 {
	return max(0, row.StartedAt.Add(audio.Duration(tick)).Sub(began).Milliseconds())
}

// Read implements transcribe.Log: it reads the track's log, sets the clock by
// what passes, and notes what is missing.
func (t *track) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for p, err := range t.log.Read(ctx, from) {
			if err == nil {
				t.mu.Lock()
				t.clock.Add(p)
				t.gaps.add(p)
				t.mu.Unlock()
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// SeqAt implements transcribe.Log.
func (t *track) SeqAt(tick int64) uint64 { return t.log.SeqAt(tick) }

// Tail implements transcribe.Log.
func (t *track) Tail() int64 {
	_, tail, _, _ := t.log.State()
	return tail
}

func (t *track) segment(u transcribe.Utterance, n int64) transcript.Segment {
	ms := func(sample int64) int64 { return t.ms(sample * audio.TicksPerSample) }
	s := transcript.Segment{
		ID: fmt.Sprintf("%s.%d", t.row.ID, n), Meeting: t.row.Meeting, Track: t.row.ID,
		Participant: t.who, StartMS: ms(u.Start), EndMS: ms(u.End), Text: u.Text,
		Revision: t.revision, Engine: u.Engine,
	}
	for _, w := range u.Words {
		s.Words = append(s.Words, transcript.Word{
			Text: w.Text, StartMS: ms(w.Start), EndMS: ms(w.End), Confidence: w.Confidence,
		})
	}
	return s
}

// Interim implements transcribe.Sink.
func (t *track) Interim(u transcribe.Utterance) {
	t.revision++
	t.caption(t.segment(u, t.row.NextSegment), 0)
}

// State implements transcribe.Sink.
func (t *track) State(s transcribe.Status) {
	t.status.Store(&meeting.Transcription{
		State: string(s.State), Engine: s.Engine, Retries: s.Retries, Since: s.Since.UTC(),
	})
	t.p.changed(t.row.Meeting, t.room)
}

func (t *track) caption(s transcript.Segment, number int64) {
	t.p.cfg.Publish(meeting.Event{
		Room: t.room, Meeting: t.row.Meeting, Type: meeting.EventCaption, Number: number, Data: s,
	})
}

// run transcribes the track and finishes it. When the server shuts down before
// that, the track stays as it is for the next start; when another server has
// taken it over, it is left alone.
func (t *track) run() {
	err := t.transcribe()
	if err == nil && t.row.Through < t.Tail() {
		err = t.insist(func() error { return t.commit(t.ctx, t.Tail(), nil) }) // a track need not end with a whole sample
	}
	if cerr := t.log.Close(); cerr != nil {
		t.p.log.Error("close a track's log", "track", t.row.ID, "err", cerr)
	}
	if err == nil {
		err = t.finish()
	}
	switch {
	case err == nil, t.ctx.Err() != nil:
	case errors.Is(err, transcribe.ErrNotOwner):
		t.p.log.Warn("a track was taken over by another server, or erased: it is left alone", "track", t.row.ID)
	default:
		t.p.log.Error("a track's transcript was left pending", "track", t.row.ID, "err", err)
	}
}

// insist does something that the store refused once more until it is done, the track
// is not ours any more, or the server ends: nobody else would come back to it.
func (t *track) insist(do func() error) error {
	for wait := insistFirst; ; wait = min(2*wait, insistLast) {
		err := do()
		if err == nil || errors.Is(err, transcribe.ErrNotOwner) || errors.Is(err, store.ErrNotFound) {
			return err
		}
		t.p.log.Warn("the end of a track could not be stored; trying again", "track", t.row.ID, "retry_in", wait, "err", err)
		select {
		case <-t.ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func (t *track) transcribe() error {
	if t.late {
		select {
		case t.p.late <- struct{}{}:
			defer func() { <-t.p.late }()
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	if t.p.cfg.Supervisor == nil {
		return t.skip("no recognizer")
	}
	return t.p.cfg.Supervisor.Run(t.ctx, t.row.ID, t, t.row.Through/audio.TicksPerSample, t)
}

// skip reads the track to its end and gives up all of it.
func (t *track) skip(reason string) error {
	for _, err := range t.Read(t.ctx, t.log.SeqAt(t.row.Through)) {
		if err != nil {
			return err
		}
	}
	all := transcribe.Utterance{End: t.Tail()/audio.TicksPerSample + 1, Skipped: reason}
	return t.insist(func() error { return t.commit(t.ctx, t.Tail(), []transcribe.Utterance{all}) })
}

// finish says that nothing more comes of the track. It is incomplete if an
// engine gave up some of it, now or in an earlier run of the server.
func (t *track) finish() error {
	state := meeting.TrackComplete
	if t.p.cfg.Supervisor != nil && t.row.Skipped > 0 {
		state = meeting.TrackIncomplete
	}
	// The End packet reaches the log a moment before the session's goroutine has
	// told the store; telling it twice changes nothing.
	next, _, _, _ := t.log.State()
	by, err := endReason(t.ctx, t.log, next)
	if err != nil {
		return err
	}
	return t.insist(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), storeTimeout)
		defer cancel()
		if err := t.p.endTrack(ctx, t.row.ID, by, t.log); err != nil {
			return err
		}
		st, err := t.p.cfg.Store.FinishTrack(ctx, t.row.ID, t.row.Epoch, state, t.p.cfg.Now())
		if err != nil {
			return owned(err)
		}
		t.finished = st
		t.p.wakeRetain()
		return nil
	})
}

// tellEnd tells those who watch that the track is done, and its meeting if it
// was the last.
func (t *track) tellEnd() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	t.p.showMeeting(ctx, t.row.Meeting, t.room)
	if t.finished == meeting.StateComplete || t.finished == meeting.StateIncomplete {
		t.p.cfg.Publish(meeting.Event{
			Room: t.room, Meeting: t.row.Meeting, Type: meeting.EventEnded,
			Data: meeting.Ended{Meeting: t.row.Meeting, State: t.finished},
		})
	}
}
