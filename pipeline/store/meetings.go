package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// Join puts p into the room's live meeting. If there is none it begins one,
// with newID; created says so. session is the key of the session by which p comes
// (meeting.SessionKey); an older one is no longer p's from here on. Whoever was in
// the meeting before keeps the time
// of joining, and gets the new name. The meeting is returned with p as its only
// participant and without tracks: what a join costs does not grow with the room.
func (s *Store) Join(ctx context.Context, room string, p transcript.Participant, session, newID string, now time.Time) (m meeting.Meeting, created bool, err error) {
	m = meeting.Meeting{Room: room, State: meeting.StateLive, Participants: []meeting.Participant{{ID: p.ID}}, Tracks: []meeting.Track{}}
	who := &m.Participants[0]
	err = s.update(ctx, "join "+room, func(tx *sql.Tx) error {
		// The update changes nothing; it is what makes the row come back (and be
		// locked) when the meeting is there already.
		var began, joined int64
		err := tx.QueryRowContext(ctx, `
			INSERT INTO meetings (id, room, state, started_at) VALUES ($1, $2, 'live', $3)
			ON CONFLICT (room) WHERE state = 'live' DO UPDATE SET room = excluded.room
			RETURNING id, started_at`, newID, room, now.UnixMicro()).Scan(&m.ID, &began)
		if err != nil {
			return err
		}
		created = m.ID == newID
		var present int
		err = tx.QueryRowContext(ctx, `
			SELECT COUNT(*) FROM participants WHERE meeting = $1 AND id = $2 AND left_at IS NULL`, m.ID, p.ID).Scan(&present)
		if err != nil {
			return err
		}
		if created && present == 0 { // else this is tried again, and was stored
			if err := s.tellOfMeeting(ctx, tx, m.ID, MeetingStarted, now); err != nil {
				return err
			}
		}
		err = tx.QueryRowContext(ctx, `
			INSERT INTO participants (meeting, id, name, joined_at, node, session) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (meeting, id) DO UPDATE SET name = excluded.name, left_at = NULL, node = excluded.node, session = excluded.session
			RETURNING name, joined_at`,
			m.ID, p.ID, clean(p.Name), now.UnixMicro(), s.self.node, session).Scan(&who.Name, &joined)
		if err != nil {
			return err
		}
		m.StartedAt, who.JoinedAt = fromMicro(began), fromMicro(joined)
		if present > 0 {
			return nil
		}
		return s.tellOfParticipant(ctx, tx, m.ID, p.ID, ParticipantJoined, now)
	})
	s.wake()
	return m, created, err
}

// Leave notes that a participant has left by the session of that key. Who has left
// already keeps that time; who has a newer session stays (ErrMoved).
func (s *Store) Leave(ctx context.Context, meetingID, participantID, session string, at time.Time) error {
	err := s.update(ctx, "leave "+meetingID, func(tx *sql.Tx) error {
		// Events of a meeting are written one after the other.
		if err := lockMeeting(ctx, tx, meetingID); err != nil {
			return err
		}
		r, err := tx.ExecContext(ctx, `
			UPDATE participants SET left_at = $3 WHERE meeting = $1 AND id = $2 AND session = $4 AND left_at IS NULL`,
			meetingID, participantID, at.UnixMicro(), session)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n > 0 {
			return errors.Join(err, s.tellOfParticipant(ctx, tx, meetingID, participantID, ParticipantLeft, at))
		}
		var is string // who has left already, has come again, or was never there?
		err = tx.QueryRowContext(ctx, "SELECT session FROM participants WHERE meeting = $1 AND id = $2", meetingID, participantID).Scan(&is)
		if err == nil && is != session {
			return ErrMoved
		}
		return found(err)
	})
	s.wake()
	return err
}

// EndMeeting ends a live meeting, and everyone in it has left. The meeting is
// complete or incomplete at once when all its tracks are. It returns the state
// that the meeting is in then; a meeting that is not live stays as it is.
func (s *Store) EndMeeting(ctx context.Context, id string, at time.Time) (st meeting.State, err error) {
	err = s.update(ctx, "end meeting "+id, func(tx *sql.Tx) error {
		st, err = s.endMeeting(ctx, tx, id, at)
		return err
	})
	s.wake()
	return st, err
}

func (s *Store) endMeeting(ctx context.Context, tx *sql.Tx, id string, at time.Time) (meeting.State, error) {
	var ended string
	err := tx.QueryRowContext(ctx, `
		UPDATE meetings SET state = 'ended', ended_at = $2 WHERE id = $1 AND state = 'live'
		RETURNING id`, id, at.UnixMicro()).Scan(&ended)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", err
	}
	if err == nil {
		if err := s.everybodyLeaves(ctx, tx, id, at); err != nil {
			return "", err
		}
	}
	return s.settle(ctx, tx, id, at)
}

func (s *Store) everybodyLeaves(ctx context.Context, tx *sql.Tx, id string, at time.Time) error {
	scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
	present, err := collect(ctx, tx, scan, `
		UPDATE participants SET left_at = $2 WHERE meeting = $1 AND left_at IS NULL RETURNING id`, id, at.UnixMicro())
	slices.Sort(present)
	for _, p := range present {
		if err == nil {
			err = s.tellOfParticipant(ctx, tx, id, p, ParticipantLeft, at)
		}
	}
	return err
}

// settle makes an ended meeting complete or incomplete when all its tracks are,
// and returns its state. at is when that is.
func (s *Store) settle(ctx context.Context, tx *sql.Tx, id string, at time.Time) (meeting.State, error) {
	// The update is a lock that every dialect has. Two processes that finish the
	// last two tracks at once would otherwise each see the other's unfinished.
	var st meeting.State
	err := tx.QueryRowContext(ctx,
		"UPDATE meetings SET state = state WHERE id = $1 RETURNING state", id).Scan(&st)
	if err != nil {
		return "", found(err)
	}
	if st != meeting.StateEnded {
		return st, nil
	}
	var open, incomplete int
	err = tx.QueryRowContext(ctx, `
		SELECT COUNT(CASE WHEN state IN ('live', 'pending') THEN 1 END),
		       COUNT(CASE WHEN state = 'incomplete' THEN 1 END)
		FROM tracks WHERE meeting = $1`, id).Scan(&open, &incomplete)
	switch {
	case err != nil:
		return "", err
	case open > 0:
		return st, nil
	case incomplete > 0:
		st = meeting.StateIncomplete
	default:
		st = meeting.StateComplete
	}
	if _, err = tx.ExecContext(ctx, "UPDATE meetings SET state = $2 WHERE id = $1", id, string(st)); err != nil {
		return "", err
	}
	return st, s.tellOfMeeting(ctx, tx, id, MeetingComplete, at)
}

// BeginErase notes that a meeting is to be erased, durably: whatever becomes of
// this process, Erasures tells the next one. From here on the meeting is not found
// any more by those who read, and nobody is told of it. A live meeting is not
// erased (meeting.ErrLive). It returns the meeting's room.
func (s *Store) BeginErase(ctx context.Context, meetingID string) (room string, err error) {
	err = s.durably(ctx, s, "begin to erase meeting "+meetingID, func(tx *sql.Tx) error {
		var st meeting.State
		err := tx.QueryRowContext(ctx, `
			UPDATE meetings SET erasing = CASE WHEN state = 'live' THEN erasing ELSE 1 END WHERE id = $1
			RETURNING state, room`, meetingID).Scan(&st, &room)
		if err != nil {
			return found(err)
		}
		if st == meeting.StateLive {
			return meeting.ErrLive
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM outbox WHERE meeting = $1", meetingID)
		return err
	})
	return room, err
}

// Erasures are the meetings whose erasure was begun and is not done.
func (s *Store) Erasures(ctx context.Context) (ids []string, err error) {
	scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
	err = s.view(ctx, "unfinished erasures", func(tx *sql.Tx) error {
		ids, err = collect(ctx, tx, scan, "SELECT id FROM meetings WHERE erasing = 1 ORDER BY id")
		return err
	})
	return ids, err
}

// Delete erases everything of a meeting. When it returns nil, no byte of what
// was said in it, nor of who was there, is left in SQLite's files (of PostgreSQL's
// see the package's documentation). Once
// the rows are gone it goes on when ctx ends; if the rest fails it can be called
// again, and is done by the next Open at the latest.
func (s *Store) Delete(ctx context.Context, meetingID string) error {
	s.erasing.Lock()
	defer s.erasing.Unlock()
	s.vacuum.Store(true)
	err := s.update(ctx, "delete meeting "+meetingID, func(tx *sql.Tx) error {
		if s.shared { // other nodes have logs to remove, or may be about to put a recording into the bucket
			_, err := tx.ExecContext(ctx, `
				INSERT INTO erased (meeting, node)
				SELECT meeting, node FROM tracks WHERE meeting = $1 AND node <> $2
				UNION SELECT id, recorder FROM meetings WHERE id = $1 AND recorder NOT IN ('', $2)
				ON CONFLICT DO NOTHING`, meetingID, s.self.node)
			if err != nil {
				return err
			}
		}
		for _, q := range []string{
			// Nobody writes to its tracks from here on, nor ends them.
			"UPDATE tracks SET epoch = epoch WHERE meeting = $1",
			"UPDATE meetings SET state = state WHERE id = $1",
			"DELETE FROM gaps WHERE track IN (SELECT id FROM tracks WHERE meeting = $1)",
			"DELETE FROM search WHERE meeting = $1",
			"DELETE FROM outbox WHERE meeting = $1",
			"DELETE FROM segments WHERE meeting = $1",
			"DELETE FROM tracks WHERE meeting = $1",
			"DELETE FROM participants WHERE meeting = $1",
		} {
			if _, err := tx.ExecContext(ctx, q, meetingID); err != nil {
				return err
			}
		}
		var id string
		err := tx.QueryRowContext(ctx, "DELETE FROM meetings WHERE id = $1 RETURNING id", meetingID).Scan(&id)
		if err != nil {
			return found(err)
		}
		return s.deleted(ctx, tx)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	// Also for what is not found: that may be the second try of one whose
	// erasure failed half-way.
	if err := s.erase(context.WithoutCancel(ctx), s); err != nil {
		return err
	}
	return err
}
