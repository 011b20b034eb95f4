package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
)

const (
	retainEvery = time.Minute
	retainBatch = 100 // tracks that are read from the store at a time
)

// Retain removes the audio of tracks whose transcript was finished that long
// ago, until ctx ends: 0 removes it as soon as the transcript is finished, below
// 0 none is ever removed. Audio that is still to be transcribed or recorded is
// not touched, nor is what is still to be forwarded, whatever its age. It begins with looking for logs that belong to no track.
func (p *Pipeline) Retain(ctx context.Context, keep time.Duration) {
	p.clearStrays(ctx)
	if keep < 0 {
		return
	}
	var now chan struct{}
	if keep == 0 {
		now = p.finished
	}
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	var failed map[string]bool
	for {
		failed = p.expireTracks(ctx, p.cfg.Now().Add(-keep), failed)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-now:
		}
	}
}

// wakeRetain says that there may be audio that nothing needs any more.
func (p *Pipeline) wakeRetain() {
	select {
	case p.finished <- struct{}{}:
	default:
	}
}

// expireTracks takes the audio of all tracks that were finished before that
// time. It returns those for which that failed, which is logged unless it had
// failed before.
func (p *Pipeline) expireTracks(ctx context.Context, before time.Time, known map[string]bool) (failed map[string]bool) {
	failed = map[string]bool{}
	var last meeting.Track
	for ctx.Err() == nil {
		rows, err := p.cfg.Store.ExpiredTracks(ctx, before, p.cfg.Recordings != nil, p.cfg.Forward != nil, last, retainBatch)
		if err != nil {
			const key = "" // the store's own
			if failed[key] = true; !known[key] && ctx.Err() == nil {
				p.log.Error("tracks whose audio is to be removed cannot be found; trying again", "err", err)
			}
			return failed
		}
		for _, row := range rows {
			if ctx.Err() != nil {
				return failed
			}
			if err := p.expireTrack(ctx, row); err != nil {
				if failed[row.ID] = true; !known[row.ID] && ctx.Err() == nil {
					p.log.Error("the audio of a track could not be removed; trying again", "track", row.ID, "err", err)
				}
			}
		}
		if len(rows) < retainBatch {
			break
		}
		last = rows[len(rows)-1]
	}
	return failed
}

// expireTrack takes the audio of a track, and then notes that. Should the server
// die in between, it is done again, which changes nothing more.
func (p *Pipeline) expireTrack(ctx context.Context, row meeting.Track) error {
	err := p.expireLog(ctx, row)
	switch {
	case errors.Is(err, tracklog.ErrRemoved):
		return nil // the meeting is being erased
	case errors.Is(err, fs.ErrNotExist): // someone took the file, or the meeting was erased
	case errors.Is(err, tracklog.ErrCorrupt):
		// It is not known where its audio is in it.
		if err := p.cfg.Logs.Remove(row.Meeting, row.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case err != nil:
		return err
	}
	err = p.cfg.Store.ExpireAudio(ctx, row.ID, p.cfg.Now())
	if errors.Is(err, store.ErrNotFound) {
		return nil // the meeting was erased
	}
	return err
}

func (p *Pipeline) expireLog(ctx context.Context, row meeting.Track) error {
	log, err := p.cfg.Logs.Open(row.Meeting, row.ID)
	if err != nil {
		return err
	}
	if err = p.mend(ctx, row, log); err == nil {
		err = log.Expire()
	}
	if cerr := log.Close(); err == nil {
		err = cerr
	}
	return err
}

// clearStrays looks for logs that belong to no track. Empty ones are what a
// crash leaves between a log and its row, and go. Audio is nothing to remove on
// suspicion: the database may be an older copy.
func (p *Pipeline) clearStrays(ctx context.Context) {
	meetings, err := p.cfg.Logs.Meetings()
	if err != nil {
		p.log.Error("look for logs that belong to no track", "err", err)
		return
	}
	for _, id := range meetings {
		if ctx.Err() != nil {
			return
		}
		if err := p.clearStraysOf(ctx, id); err != nil && ctx.Err() == nil {
			p.log.Error("look for logs that belong to no track", "meeting", id, "err", err)
		}
	}
}

func (p *Pipeline) clearStraysOf(ctx context.Context, id string) error {
	strays, err := p.cfg.Logs.Strays(id, func() ([]string, error) { return p.cfg.Store.TrackIDs(ctx, id) })
	if err != nil {
		return err
	}
	for _, s := range strays {
		if !s.Empty {
			p.log.Warn("a log with audio belongs to no track that is known; it is kept: remove it if nobody misses it",
				"path", s.Path, "bytes", s.Bytes)
			continue
		}
		if err := p.cfg.Logs.Remove(s.Meeting, s.Track); err != nil && !errors.Is(err, tracklog.ErrNotFound) {
			return fmt.Errorf("remove an empty log: %w", err)
		}
	}
	return nil
}
