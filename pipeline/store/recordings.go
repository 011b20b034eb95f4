package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"verbatim/pipeline/meeting"
)

// ClaimFor is how long a node has a meeting's recordings to itself; it claims them
// again while it makes them.
const ClaimFor = 20 * time.Second

// NoBucket is the bucket of a node that keeps no recordings.
const NoBucket = "none"

// over is the condition for meetings whose recordings are still to be made.
const over = "recorded_at IS NULL AND erasing = 0 AND state IN ('complete', 'incomplete')"

// awaited selects the tracks of a meeting, in a statement on meetings, whose audio the
// node $2 has to wait for: it is another's, and is not in the bucket $3 yet, but will be.
const awaited = `SELECT 1 FROM tracks t WHERE t.meeting = meetings.id AND t.node <> $2
	AND t.lost = 0 AND t.audio_expired_at IS NULL AND (t.part = '' OR t.part <> $3)`

// SetBucket says in which bucket this node keeps recordings: its id, or NoBucket.
func (s *Store) SetBucket(ctx context.Context, id string) error {
	return s.describe(ctx, func() { s.self.bucket = id })
}

// Bucket is what SetBucket has said; "" as long as it is not known.
func (s *Store) Bucket() string {
	s.self.mu.Lock()
	defer s.self.mu.Unlock()
	return s.self.bucket
}

// HandedOver says whether the node that has a track's audio has put a copy of it into
// the bucket of this one.
func (s *Store) HandedOver(t meeting.Track) bool { return t.Part != "" && t.Part == s.Bucket() }

// Unrecorded are the ids of all meetings that are complete or incomplete and
// whose recordings are still to be made, the oldest first. In PostgreSQL these are
// those of which this node has all audio, be it its own or in its bucket, and that no
// other node has claimed.
func (s *Store) Unrecorded(ctx context.Context) (ids []string, err error) {
	bucket := s.Bucket()
	err = s.view(ctx, "unrecorded meetings", func(tx *sql.Tx) error {
		scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
		ids, err = collect(ctx, tx, scan, `
			SELECT id FROM meetings WHERE `+over+` AND (NOT $1 OR
				(recorder = $2 OR recorder_until < `+s.now+`) AND NOT EXISTS (`+awaited+`) AND
				EXISTS (SELECT 1 FROM tracks WHERE meeting = meetings.id AND (node = $2 OR part <> '' AND part = $3)))
			ORDER BY started_at, id`, s.shared, s.self.node, bucket)
		return err
	})
	return ids, err
}

// ClaimRecording makes this node the one that makes the recordings of a meeting, for
// ClaimFor. It is false if another one does, or they are made, or not all audio is
// there any more. In SQLite there is nobody else.
func (s *Store) ClaimRecording(ctx context.Context, meetingID string) (mine bool, err error) {
	if !s.shared {
		return true, nil
	}
	bucket := s.Bucket()
	err = s.update(ctx, "claim the recording of meeting "+meetingID, func(tx *sql.Tx) error {
		var id string
		err := tx.QueryRowContext(ctx, `
			UPDATE meetings SET recorder = $2, recorder_until = `+s.now+` + $4
			WHERE id = $1 AND `+over+` AND (recorder = $2 OR recorder_until < `+s.now+`) AND NOT EXISTS (`+awaited+`)
			RETURNING id`, meetingID, s.self.node, bucket, ClaimFor.Microseconds()).Scan(&id)
		mine = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return mine, err
}

// SetRecorded notes that a meeting's recordings were made. What was noted first
// stays. A meeting that is being erased is not found.
func (s *Store) SetRecorded(ctx context.Context, meetingID string, at time.Time) error {
	return s.update(ctx, "recorded meeting "+meetingID, func(tx *sql.Tx) error {
		var id string
		return found(tx.QueryRowContext(ctx, `
			UPDATE meetings SET recorded_at = COALESCE(recorded_at, $2)
			WHERE id = $1 AND erasing = 0 AND state IN ('complete', 'incomplete') RETURNING id`, meetingID, at.UnixMicro()).Scan(&id))
	})
}

// ToHandOver are the tracks of this node whose audio others may need to make
// recordings: of meetings of which they have tracks, too. Where one that is waited for
// keeps its recordings in another bucket there are none: that meeting cannot be
// recorded.
func (s *Store) ToHandOver(ctx context.Context) (ts []meeting.Track, err error) {
	bucket := s.Bucket()
	if !s.shared || bucket == "" || bucket == NoBucket {
		return nil, nil
	}
	err = s.view(ctx, "tracks to hand over", func(tx *sql.Tx) error {
		ts, err = loadTracks(ctx, tx, `WHERE node = $1 AND part <> $3 AND lost = 0 AND audio_expired_at IS NULL AND meeting IN (
			SELECT id FROM meetings WHERE `+over+`
				AND EXISTS (SELECT 1 FROM tracks t WHERE t.meeting = meetings.id AND t.node <> $2 AND t.audio_expired_at IS NULL AND (t.lost = 0 OR t.part <> ''))
				AND NOT EXISTS (`+awaited+` AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = t.node AND nodes.bucket = $3)))`,
			s.self.node, s.self.node, bucket)
		return err
	})
	return ts, err
}

// SetPart says that a copy of the audio of one of this node's tracks is in a bucket.
// ErrNotFound: its meeting was erased, or is being erased.
func (s *Store) SetPart(ctx context.Context, trackID, bucket string) error {
	return s.update(ctx, "track "+trackID+" handed over", func(tx *sql.Tx) error {
		var id string
		return found(tx.QueryRowContext(ctx, `
			UPDATE tracks SET part = $2 WHERE id = $1
				AND EXISTS (SELECT 1 FROM meetings WHERE id = tracks.meeting AND erasing = 0) RETURNING id`, trackID, bucket).Scan(&id))
	})
}

// UsedParts are the tracks, with their meetings, that were handed over in this node's
// bucket to make recordings that are made by now. PartGone says that the bucket has
// nothing of one any more.
func (s *Store) UsedParts(ctx context.Context) (ts []meeting.Track, err error) {
	bucket := s.Bucket()
	if !s.shared || bucket == "" {
		return nil, nil
	}
	err = s.view(ctx, "parts of recordings", func(tx *sql.Tx) error {
		ts, err = loadTracks(ctx, tx, `WHERE part <> '' AND part = $1
			AND EXISTS (SELECT 1 FROM meetings WHERE id = tracks.meeting AND recorded_at IS NOT NULL)`, bucket)
		return err
	})
	return ts, err
}

// PartGone is the end of SetPart.
func (s *Store) PartGone(ctx context.Context, trackID, bucket string) error {
	return s.update(ctx, "part of track "+trackID+" removed", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE tracks SET part = '' WHERE id = $1 AND part = $2", trackID, bucket)
		return err
	})
}

// LoseAudio notes that the audio of one of this node's tracks is not there any more,
// although it should be.
func (s *Store) LoseAudio(ctx context.Context, trackID string) error {
	return s.update(ctx, "audio of track "+trackID+" lost", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE tracks SET lost = 1 WHERE id = $1", trackID)
		return err
	})
}
