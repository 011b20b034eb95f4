package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcript"
)

// Latest is the latest time that servers before this one have stored, or put on
// the timeline of a track that is unfinished: a clock that begins later makes no
// track begin before what was said. It has the logs of these tracks open until
// release is called, so that Recover need not read them once more.
func Latest(ctx context.Context, db *store.Store, logs *tracklog.Store, log *slog.Logger) (at time.Time, release func(), err error) {
	var open []*tracklog.Log
	release = sync.OnceFunc(func() {
		for _, l := range open {
			if err := l.Close(); err != nil {
				log.Error("close a track's log", "err", err)
			}
		}
	})
	if at, err = db.Latest(ctx); err != nil {
		return at, release, err
	}
	rows, err := db.UnfinishedTracks(ctx)
	if err != nil {
		return at, release, err
	}
	for _, row := range rows {
		l, err := logs.Open(row.Meeting, row.ID)
		if err != nil {
			continue // Recover tells of it
		}
		open = append(open, l)
		if ends := l.EndsAt(); ends.After(at) {
			at = ends
		}
	}
	return at, release, nil
}

// Recover takes up what a server before this one left unfinished on this node. Erasures are
// done when it returns, unless the bucket is away: EraseRest goes on with those.
// Tracks that were open are ended, and all are transcribed to their end.
func (p *Pipeline) Recover(ctx context.Context) error {
	erasing, cancel := context.WithTimeout(ctx, eraseAtStart)
	defer cancel()
	if err := p.erasePending(erasing, map[string]bool{}); err != nil {
		return err
	}
	if err := p.eraseLogs(ctx); err != nil {
		return err
	}
	rows, err := p.cfg.Store.UnfinishedTracks(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := p.recoverTrack(ctx, row); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p.log.Error("a track that was left unfinished cannot be taken up; it stays pending", "track", row.ID, "err", err)
		}
	}
	if len(rows) > 0 {
		p.log.Info("taking up tracks that were left unfinished", "tracks", len(rows))
	}
	return p.recoverForwards(ctx)
}

func (p *Pipeline) recoverTrack(ctx context.Context, row meeting.Track) (err error) {
	m, err := p.cfg.Store.Meeting(ctx, row.Meeting)
	if err != nil {
		return err
	}
	log, err := p.cfg.Logs.Open(row.Meeting, row.ID)
	if errors.Is(err, fs.ErrNotExist) {
		// The crash came between the row and the file, or someone took the file.
		log, err = p.cfg.Logs.Create(row.Meeting, row.ID)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	if err := p.mend(ctx, row, log); err != nil {
		return err
	}
	next, _, _, _ := log.State()
	by, err := endReason(ctx, log, next)
	if err != nil {
		return err
	}
	if row.State == meeting.TrackLive {
		if err := p.endTrack(ctx, row.ID, by, log); err != nil {
			return err
		}
	}
	who := transcript.Participant{ID: row.Participant}
	for _, q := range m.Participants {
		if q.ID == row.Participant {
			who.Name = q.Name
		}
	}
	if row, err = p.cfg.Store.Claim(ctx, row.ID); err != nil {
		return err
	}
	return p.start(row, m.Room, m.StartedAt, who, log, true)
}

// mend ends the log of a track that is over, if it has no end: it was not
// written before a crash, or what was damaged has been cut off. A track is as
// long as the store knows that it was. What of it is not there any more is shed.
func (p *Pipeline) mend(ctx context.Context, row meeting.Track, log *tracklog.Log) error {
	p.mending.Lock()
	defer p.mending.Unlock()
	next, start, account, ended := log.State()
	if ended {
		return nil
	}
	at := log.EndsAt()
	if at.IsZero() {
		at = row.StartedAt
	}
	if lost := max(row.Account.Total(), row.Through) - start; lost > 0 {
		p.log.Warn("the end of a track's audio is not on the disk: it counts as shed",
			"track", row.ID, "at_ms", start/(audio.TickRate/1000), "lost", audio.Duration(lost))
		shed := audio.Packet{Seq: next, Start: start, Samples: lost, Kind: audio.Shed, At: at}
		if err := log.Append(ctx, shed); err != nil {
			return err
		}
		account.Add(shed)
		next, start, at = next+1, shed.Next(), at.Add(audio.Duration(lost))
	}
	by := audio.ParseReason(row.EndedBy)
	if by == 0 {
		by = audio.ReasonServer
	}
	return log.Append(ctx, audio.NewEnd(next, start, at, audio.EndInfo{Reason: by, Totals: account}))
}

// endReason reads the End packet of a log that has one.
func endReason(ctx context.Context, log *tracklog.Log, next uint64) (audio.Reason, error) {
	for p, err := range log.Read(ctx, next-1) {
		if err != nil {
			return 0, err
		}
		info, err := p.EndInfo()
		return info.Reason, err
	}
	return 0, errors.New("the log's end is missing")
}
