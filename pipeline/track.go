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
	late   bool          // of an earlier run of the server
	before audio.Account // what an earlier run of the server had of it

	reached  atomic.Pointer[reached]
	status   atomic.Pointer[meeting.Transcription]
	revision int // of the segment that comes next
	// uncertain is set when it is not known whether the last commit was stored.
	uncertain bool
	finished  meeting.State // of the meeting, once the track is done

	mu    sync.Mutex // guards clock
	clock audio.Clock
}

// ms is the place of a sample (16 kHz) of the track on the meeting's clock. It
// knows the drift of the sender's clock from the packets that were read.
func (t *track) ms(sample int64) int64 {
	t.mu.Lock()
	at, ok := t.clock.At(sample * audio.TicksPerSample)
	t.mu.Unlock()
	if !ok {
		at = t.row.StartedAt.Add(time.Duration(sample) * time.Second / audio.FrameRate)
	}
	return at.Sub(t.began).Milliseconds()
}

// Read implements transcribe.Log: it reads the track's log, and sets the clock
// by what passes.
func (t *track) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for p, err := range t.log.Read(ctx, from) {
			if err == nil {
				t.mu.Lock()
				t.clock.Add(p)
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

func (t *track) segment(u transcribe.Utterance, n int64) transcript.Segment {
	s := transcript.Segment{
		ID: fmt.Sprintf("%s.%d", t.row.ID, n), Meeting: t.row.Meeting, Track: t.row.ID,
		Participant: t.who, StartMS: t.ms(u.Start), EndMS: t.ms(u.End), Text: u.Text,
		Revision: t.revision, Engine: t.p.cfg.Engine,
	}
	for _, w := range u.Words {
		s.Words = append(s.Words, transcript.Word{
			Text: w.Text, StartMS: t.ms(w.Start), EndMS: t.ms(w.End), Confidence: w.Confidence,
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
	t.p.changed(t.row.Meeting)
}

// Commit implements transcribe.Sink.
func (t *track) Commit(ctx context.Context, through int64, finals []transcribe.Utterance) error {
	_, _, account, _ := t.log.State()
	c := store.Commit{Track: t.row.ID, Through: through * audio.TicksPerSample, Account: account}
	if total := account.Total(); through >= total/audio.TicksPerSample {
		c.Through = total // a track need not end with a whole sample
	}
	return t.commit(ctx, c, finals)
}

func (t *track) commit(ctx context.Context, c store.Commit, finals []transcribe.Utterance) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if t.uncertain {
		row, err := t.p.cfg.Store.Claim(ctx, t.row.ID)
		if err != nil {
			return err
		}
		known := row.NextSegment > t.row.NextSegment
		t.row.Epoch, t.row.NextSegment, t.uncertain = row.Epoch, row.NextSegment, false
		if known && row.Through >= c.Through {
			t.reach(row.Through, c.Skipped)
			return nil
		}
	}
	c.Epoch = t.row.Epoch
	n := t.row.NextSegment
	shown := t.revision > 0
	t.revision++
	for _, u := range finals {
		s := t.segment(u, n)
		s.Final = true
		c.Segments = append(c.Segments, s)
		n++
	}
	asked := time.Now()
	last, err := t.p.cfg.Store.Commit(ctx, c)
	if errors.Is(err, store.ErrNotOwner) {
		return transcribe.ErrNotOwner
	}
	if err != nil {
		t.uncertain = true
		return err
	}
	t.p.counts.committed(asked, t.began, c.Segments)
	t.reach(c.Through, c.Skipped)
	t.row.NextSegment = n
	if shown && len(finals) == 0 {
		// Nothing came of what was shown: take it back.
		s := t.segment(transcribe.Utterance{}, n)
		s.Final = true
		t.caption(s, 0)
	}
	t.revision = 0
	for i, s := range c.Segments {
		t.caption(s, last-int64(len(c.Segments)-1-i))
	}
	return nil
}

func (t *track) caption(s transcript.Segment, number int64) {
	t.p.cfg.Publish(meeting.Event{
		Room: t.room, Meeting: t.row.Meeting, Type: meeting.EventCaption, Number: number, Data: s,
	})
}

// run transcribes the track and finishes it. When the server shuts down before
// that, the track stays as it is for the next start.
func (t *track) run() {
	state := meeting.TrackComplete
	err := t.transcribe()
	var incomplete *transcribe.Incomplete
	switch {
	case err == nil && t.p.cfg.Supervisor != nil && len(t.row.Skipped) > 0:
		state = meeting.TrackIncomplete // given up by a server that died before it could say so
	case err == nil:
	case t.ctx.Err() != nil:
		if cerr := t.log.Close(); cerr != nil {
			t.p.log.Error("close a track's log", "track", t.row.ID, "err", cerr)
		}
		return
	case errors.As(err, &incomplete):
		t.p.log.Error("a part of a track could not be transcribed", "track", t.row.ID, "err", err)
		state = meeting.TrackIncomplete
		err = t.skip(incomplete.From*audio.TicksPerSample, incomplete.Reason)
	}
	if cerr := t.log.Close(); cerr != nil {
		t.p.log.Error("close a track's log", "track", t.row.ID, "err", cerr)
	}
	if err == nil {
		err = t.finish(state)
	}
	if err != nil {
		t.p.log.Error("a track's transcript was left pending", "track", t.row.ID, "err", err)
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
		if err := t.waitEnd(); err != nil {
			return err
		}
		return t.skip(t.row.Through, "no recognizer")
	}
	return t.p.cfg.Supervisor.Run(t.ctx, t.row.ID, t, t.row.Through/audio.TicksPerSample, t)
}

// waitEnd reads the log to its end.
func (t *track) waitEnd() error {
	next, _, _, _ := t.log.State()
	for _, err := range t.log.Read(t.ctx, next-min(next, 1)) {
		if err != nil {
			return err
		}
	}
	return nil
}

// skip gives up what lies between from (ticks) and the end of the track.
func (t *track) skip(from int64, reason string) error {
	_, end, account, _ := t.log.State()
	return t.commit(t.ctx, store.Commit{
		Track: t.row.ID, Through: end, Account: account,
		Skipped: []meeting.Span{{Start: from, End: end, Reason: reason}},
	}, nil)
}

func (t *track) finish(state meeting.TrackState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), storeTimeout)
	defer cancel()
	// The End packet reaches the log a moment before the session's goroutine has
	// told the store; telling it twice changes nothing.
	next, _, _, _ := t.log.State()
	by, err := endReason(ctx, t.log, next)
	if err != nil {
		return err
	}
	if err := t.p.endTrack(ctx, t.row.ID, by, t.log); err != nil {
		return err
	}
	st, err := t.p.cfg.Store.FinishTrack(ctx, t.row.ID, t.row.Epoch, state)
	if err != nil {
		return err
	}
	t.finished = st
	return nil
}

// tellEnd tells those who watch that the track is done, and its meeting if it
// was the last.
func (t *track) tellEnd() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	t.p.showMeeting(ctx, t.row.Meeting)
	if t.finished == meeting.StateComplete || t.finished == meeting.StateIncomplete {
		t.p.cfg.Publish(meeting.Event{
			Room: t.room, Meeting: t.row.Meeting, Type: meeting.EventEnded,
			Data: meeting.Ended{Meeting: t.row.Meeting, State: t.finished},
		})
	}
}
