package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// CreateTrack begins the live track t.ID of t.Participant in t.Meeting. The
// rest of t but StartedAt and ToForward is not looked at. The meeting must be live (else
// ErrEnded), so that one that is complete stays it.
func (s *Store) CreateTrack(ctx context.Context, t meeting.Track) error {
	insert, tries := "INSERT INTO tracks (id, meeting, participant, state, started_at, node, to_forward) VALUES ($1, $2, $3, 'live', $4, $5, $6)", 0
	forward := 0
	if t.ToForward {
		forward = 1
	}
	return s.durably(ctx, s, "create track "+t.ID, func(tx *sql.Tx) error {
		if tries++; tries == 2 { // it may be there
			insert += " ON CONFLICT (id) DO NOTHING"
		}
		st, err := s.settle(ctx, tx, t.Meeting, t.StartedAt)
		if err != nil {
			return err
		}
		if st != meeting.StateLive {
			return ErrEnded
		}
		_, err = tx.ExecContext(ctx, insert, t.ID, t.Meeting, t.Participant, t.StartedAt.UnixMicro(), s.self.node, forward)
		return err
	})
}

// EndTrack ends a live track: its audio is all there and its transcript is
// outstanding. a is its final account. A track that has ended before stays as
// it is.
func (s *Store) EndTrack(ctx context.Context, trackID, by string, a audio.Account) error {
	return s.update(ctx, "end track "+trackID, func(tx *sql.Tx) error {
		var was meeting.TrackState
		err := tx.QueryRowContext(ctx, "SELECT state FROM tracks WHERE id = $1", trackID).Scan(&was)
		if err != nil {
			return found(err)
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE tracks SET state = 'pending', ended_by = $2,
				received = $3, recovered = $4, concealed = $5, silence = $6, discontinuity = $7, shed = $8
			WHERE id = $1 AND state = 'live'`,
			trackID, by, a.Received, a.Recovered, a.Concealed, a.Silence, a.Discontinuity, a.Shed)
		return err
	})
}

// Claim makes the caller the one that writes the track's transcript, under the
// epoch of the returned track, and takes that from whoever had it. The caller
// goes on from its Through with segment number NextSegment. A track that is
// finished can be claimed too, but not committed to: look at its State.
func (s *Store) Claim(ctx context.Context, trackID string) (t meeting.Track, err error) {
	err = s.update(ctx, "claim track "+trackID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE tracks SET epoch = epoch + 1 WHERE id = $1", trackID)
		if err != nil {
			return err
		}
		ts, err := loadTracks(ctx, tx, "WHERE id = $1", trackID)
		if err != nil {
			return err
		}
		if len(ts) == 0 {
			return ErrNotFound
		}
		t = ts[0]
		return nil
	})
	return t, err
}

// Resume returns a track to the one that claimed it under this epoch and does
// not know what became of its last commit: by now that is stored or never will
// be. ErrNotOwner says that someone else has the track.
func (s *Store) Resume(ctx context.Context, trackID string, epoch int64) (t meeting.Track, err error) {
	err = s.update(ctx, "resume track "+trackID, func(tx *sql.Tx) error {
		// The update changes nothing; it waits for a commit that is under way.
		_, err := tx.ExecContext(ctx, "UPDATE tracks SET epoch = epoch WHERE id = $1", trackID)
		if err != nil {
			return err
		}
		ts, err := loadTracks(ctx, tx, "WHERE id = $1 AND epoch = $2", trackID, epoch)
		if err != nil {
			return err
		}
		if len(ts) == 0 {
			return ErrNotOwner
		}
		t = ts[0]
		return nil
	})
	return t, err
}

// UnfinishedTracks returns this node's tracks that are live or pending, in the order
// in which they started.
func (s *Store) UnfinishedTracks(ctx context.Context) (ts []meeting.Track, err error) {
	err = s.view(ctx, "unfinished tracks", func(tx *sql.Tx) error {
		ts, err = loadTracks(ctx, tx, `WHERE state IN ('live', 'pending')
			AND (NOT $1 OR node = $2) AND EXISTS (SELECT 1 FROM meetings WHERE id = tracks.meeting AND erasing = 0)`, s.shared, s.self.node)
		return err
	})
	return ts, err
}

// Commit is progress in a track's transcript.
type Commit struct {
	Track string
	Epoch int64 // as claimed
	// Through is the point in ticks up to which the audio is now spoken for. It
	// never moves back: a smaller one than is stored has no effect.
	Through int64
	// Account is what has arrived so far. One that covers less of the track than
	// the stored one has no effect: a track may have ended since it was taken.
	Account audio.Account
	// Segments are finals of this track, each with an ID that was not used
	// before. Meeting, Participant and Final are the track's own and not looked
	// at.
	Segments []transcript.Segment
	// At is when the segments were made; webhooks are told.
	At time.Time
	// Gaps lie between the checkpoint as it is stored and Through, those of a
	// kind apart from each other; their Track is not looked at. Those that begin
	// before the checkpoint are left out: a commit that is tried again counts
	// nothing twice.
	Gaps []meeting.Gap
}

// Commit stores c, all of it or nothing, if the epoch is still the track's and
// the track is neither finished nor deleted; else it returns ErrNotOwner. It returns the number
// of the last segment, 0 if there is none in c.
//
// After any other error it is not known whether c was stored (the context may
// have ended during the commit): Resume, and see.
func (s *Store) Commit(ctx context.Context, c Commit) (last int64, err error) {
	rows, next, err := encode(c.Track, c.Segments)
	if err != nil {
		return 0, fmt.Errorf("commit to track %s: %w", c.Track, err)
	}
	err = s.once(ctx, "commit to track "+c.Track, func(tx *sql.Tx) error {
		id, from, err := advance(ctx, tx, c, next)
		if err != nil {
			return err
		}
		if err := insertGaps(ctx, tx, c.Track, from, c.Through, c.Gaps); err != nil {
			return err
		}
		if last, err = s.insert(ctx, tx, id, c.Track, rows); err != nil {
			return err
		}
		return s.tellOfSegments(ctx, tx, id, c.Track, rows, c.At)
	})
	if len(rows) > 0 {
		s.wake()
	}
	if err != nil {
		return 0, err
	}
	return last, nil
}

// advance moves the track's checkpoint and returns its meeting, and where the
// checkpoint was.
func advance(ctx context.Context, tx *sql.Tx, c Commit, next int64) (meetingID string, from int64, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE tracks SET next_segment = CASE WHEN next_segment < $3 THEN $3 ELSE next_segment END
		WHERE id = $1 AND epoch = $2 AND state IN ('live', 'pending')
		RETURNING meeting, through`, c.Track, c.Epoch, next).Scan(&meetingID, &from)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, ErrNotOwner
	}
	if err != nil {
		return "", 0, err
	}
	if c.Through > from {
		if _, err := tx.ExecContext(ctx, "UPDATE tracks SET through = $2 WHERE id = $1", c.Track, c.Through); err != nil {
			return "", 0, err
		}
	}
	a := c.Account
	_, err = tx.ExecContext(ctx, `
		UPDATE tracks SET
			received = $2, recovered = $3, concealed = $4, silence = $5, discontinuity = $6, shed = $7
		WHERE id = $1 AND received + recovered + concealed + silence + discontinuity + shed <= $8`,
		c.Track, a.Received, a.Recovered, a.Concealed, a.Silence, a.Discontinuity, a.Shed, a.Total())
	return meetingID, from, err
}

// FinishTrack says that at that time nothing more will be written to the
// transcript of a pending track: st is TrackComplete or TrackIncomplete. When the meeting has
// ended and this was its last track, the meeting is complete or incomplete from
// then on. It returns the meeting's state. To finish a track again in the same
// way changes nothing.
func (s *Store) FinishTrack(ctx context.Context, trackID string, epoch int64, st meeting.TrackState, at time.Time) (ms meeting.State, err error) {
	err = s.durably(ctx, s, "finish track "+trackID, func(tx *sql.Tx) error {
		if st != meeting.TrackComplete && st != meeting.TrackIncomplete {
			return fmt.Errorf("a track does not finish as %q", st)
		}
		_, err := tx.ExecContext(ctx,
			"UPDATE tracks SET state = $3, finished_at = $4 WHERE id = $1 AND epoch = $2 AND state = 'pending'",
			trackID, epoch, string(st), at.UnixMicro())
		if err != nil {
			return err
		}
		var meetingID string
		var owner int64
		var is meeting.TrackState
		err = tx.QueryRowContext(ctx, "SELECT meeting, epoch, state FROM tracks WHERE id = $1", trackID).Scan(&meetingID, &owner, &is)
		switch {
		case err != nil:
			return found(err)
		case owner != epoch:
			return ErrNotOwner
		case is != st:
			return fmt.Errorf("the track is %s", is)
		}
		ms, err = s.settle(ctx, tx, meetingID, at)
		return err
	})
	s.wake()
	return ms, err
}
