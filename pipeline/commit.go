package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

// maxReason bounds, in bytes, what is kept of an engine's reason.
const maxReason = 300

// Commit implements transcribe.Sink. A database makes a stack grow to 32 KB, in
// which whoever calls would wait for the next commit, so it gets one of its own.
func (t *track) Commit(ctx context.Context, through int64, finals []transcribe.Utterance) error {
	done := make(chan error, 1)
	go func() { done <- t.commitAt(ctx, through, finals) }()
	return <-done
}

// commitAt is Commit at a sample.
func (t *track) commitAt(ctx context.Context, through int64, finals []transcribe.Utterance) error {
	tick := through * audio.TicksPerSample
	read, err := t.readTo(ctx, min(tick, t.Tail()))
	if err != nil {
		return err
	}
	if through >= read/audio.TicksPerSample {
		tick = read // packets need not end with a whole sample
	}
	return t.commit(ctx, tick, finals)
}

// readTo reads on to a tick that the log has, if nobody has yet: a stretch that
// is given up may hold gaps that no recognizer came to. It returns how far the
// track was read.
func (t *track) readTo(ctx context.Context, tick int64) (read int64, err error) {
	t.mu.Lock()
	read = t.gaps.read
	t.mu.Unlock()
	if read >= tick {
		return read, nil
	}
	for p, err := range t.Read(ctx, t.log.SeqAt(read)) {
		if err != nil {
			return read, err
		}
		if read = max(read, p.Next()); read >= tick {
			break
		}
	}
	return read, nil
}

// commit stores finals, and what is missing up to the tick `through`, and moves
// the checkpoint there.
func (t *track) commit(ctx context.Context, through int64, finals []transcribe.Utterance) error {
	said := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	stored, err := t.resume(ctx)
	if err != nil {
		return owned(err)
	}
	finals = behind(finals, t.spoken)
	shown := t.revision > 0 && !stored // else the segment is there that takes the interim's place
	t.revision++
	c := t.draft(through, finals)
	asked := time.Now()
	last, err := t.p.cfg.Store.Commit(ctx, c)
	if err != nil {
		t.uncertain = !errors.Is(err, store.ErrNotOwner)
		return owned(err)
	}
	written := time.Now()
	t.p.counts.committed(asked, t.began, c.Segments)
	t.stored(c)
	if shown && len(c.Segments) == 0 {
		// Nothing came of what was shown: take it back.
		s := t.segment(transcribe.Utterance{}, t.row.NextSegment)
		s.Final = true
		t.caption(s, 0)
	}
	t.revision = 0
	for i, s := range c.Segments {
		t.caption(s, last-int64(len(c.Segments)-1-i))
	}
	if t.p.cfg.Traced != nil {
		t.trace(c.Segments, finals, said, written)
	}
	return nil
}

// trace tells when what happened to segments, which are those of finals.
func (t *track) trace(segments []transcript.Segment, finals []transcribe.Utterance, said, written time.Time) {
	finals = slices.DeleteFunc(slices.Clone(finals), func(u transcribe.Utterance) bool { return u.Skipped != "" })
	now := time.Now()
	for i, s := range segments {
		t.p.cfg.Traced(Times{
			Track: t.row.ID, Engine: s.Engine, Due: t.began.Add(time.Duration(s.EndMS) * time.Millisecond),
			Heard: finals[i].Heard, Said: said, Stored: written, Sent: now,
		})
	}
}

// draft is what a commit stores. What engines refused for good becomes a gap.
func (t *track) draft(through int64, finals []transcribe.Utterance) store.Commit {
	_, _, account, _ := t.log.State()
	c := store.Commit{Track: t.row.ID, Epoch: t.row.Epoch, At: t.p.cfg.Now(), Through: max(through, t.row.Through), Account: account}
	t.mu.Lock()
	c.Gaps = t.gaps.until(c.Through)
	t.mu.Unlock()
	spokenFor := t.row.Through
	for _, u := range finals {
		if u.Skipped == "" {
			s := t.segment(u, t.row.NextSegment+int64(len(c.Segments)))
			s.Final = true
			c.Segments = append(c.Segments, s)
			continue
		}
		start, end := max(u.Start*audio.TicksPerSample, spokenFor), min(u.End*audio.TicksPerSample, c.Through)
		if start < end {
			c.Gaps = append(c.Gaps, meeting.Gap{
				Kind: transcript.Skipped, Start: start, End: end, Ticks: end - start, Reason: brief(u.Skipped),
			})
			spokenFor = end
		}
	}
	for i := range c.Gaps {
		c.Gaps[i].StartMS, c.Gaps[i].EndMS = t.ms(c.Gaps[i].Start), t.ms(c.Gaps[i].End)
	}
	return c
}

// stored says that a commit is in the store.
func (t *track) stored(c store.Commit) {
	t.row.Through = c.Through
	t.row.NextSegment += int64(len(c.Segments))
	for _, g := range c.Gaps {
		if g.Kind == transcript.Skipped {
			t.row.Skipped += g.Ticks
		}
	}
	t.reach()
	t.mu.Lock()
	t.gaps.forget(c.Through)
	t.mu.Unlock()
}

// resume finds out what became of the last commit, if that is not known, and
// reports whether it was stored after all.
func (t *track) resume(ctx context.Context) (stored bool, err error) {
	if !t.uncertain {
		return false, nil
	}
	row, err := t.p.cfg.Store.Resume(ctx, t.row.ID, t.row.Epoch)
	if err != nil {
		return false, err
	}
	if stored = row.Through > t.row.Through || row.NextSegment > t.row.NextSegment; stored {
		t.spoken = row.Through / audio.TicksPerSample
	}
	t.row.Through, t.row.NextSegment, t.row.Skipped, t.uncertain = row.Through, row.NextSegment, row.Skipped, false
	t.reach()
	t.mu.Lock()
	t.gaps.forget(row.Through)
	t.mu.Unlock()
	return stored, nil
}

// behind leaves out what of finals lies before a sample, by position: those are
// the words of a commit that was stored although it had seemed to fail.
func behind(finals []transcribe.Utterance, from int64) (rest []transcribe.Utterance) {
	for _, u := range finals {
		before := func(w transcribe.Word) bool { return (w.Start+w.End)/2 < from }
		words := slices.DeleteFunc(slices.Clone(u.Words), before)
		switch {
		case u.End <= from || len(u.Words) > 0 && len(words) == 0:
			continue
		case len(words) < len(u.Words):
			texts := make([]string, len(words))
			for i, w := range words {
				texts[i] = w.Text
			}
			u.Start, u.Text, u.Words = words[0].Start, strings.Join(texts, " "), words
		}
		rest = append(rest, u)
	}
	return rest
}

// owned says in the supervisor's terms that a track is not ours any more.
func owned(err error) error {
	if errors.Is(err, store.ErrNotOwner) {
		return transcribe.ErrNotOwner
	}
	return err
}

// brief bounds a reason.
func brief(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "") + "…"
}
