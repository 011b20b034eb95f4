package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"verbatim/pipeline/meeting"
)

// ExpiredTracks returns up to limit finished tracks of this node whose transcript was
// finished at or before that time and whose audio is still kept, in the order in
// which they were finished, from the one that follows after. The zero Track
// comes before all. recorded leaves out those whose meeting is still to be
// recorded, forwarded those that are still to be forwarded.
func (s *Store) ExpiredTracks(ctx context.Context, before time.Time, recorded, forwarded bool, after meeting.Track, limit int) (ts []meeting.Track, err error) {
	var finished int64
	if after.FinishedAt != nil {
		finished = after.FinishedAt.UnixMicro()
	}
	err = s.view(ctx, "expired tracks", func(tx *sql.Tx) error {
		ts, err = loadTracks(ctx, tx, `WHERE id IN (
			SELECT id FROM tracks
			WHERE finished_at IS NOT NULL AND audio_expired_at IS NULL
				AND finished_at <= $1 AND (finished_at, id) > ($2, $3)
				AND (NOT $6 OR node = $7) AND (NOT $8 OR to_forward = 0) AND (NOT $4 OR EXISTS (SELECT 1 FROM meetings WHERE id = tracks.meeting AND recorded_at IS NOT NULL))
			ORDER BY finished_at, id LIMIT $5)`, before.UnixMicro(), finished, after.ID, recorded, limit, s.shared, s.self.node, forwarded)
		return err
	})
	slices.SortFunc(ts, func(a, b meeting.Track) int {
		return cmp.Or(a.FinishedAt.Compare(*b.FinishedAt), strings.Compare(a.ID, b.ID))
	})
	return ts, err
}

// ExpireAudio notes that the audio of a finished track is kept no longer. What
// was noted first stays.
func (s *Store) ExpireAudio(ctx context.Context, trackID string, at time.Time) error {
	return s.update(ctx, "expire audio of track "+trackID, func(tx *sql.Tx) error {
		var id string
		return found(tx.QueryRowContext(ctx, `
			UPDATE tracks SET audio_expired_at = COALESCE(audio_expired_at, $2)
			WHERE id = $1 AND finished_at IS NOT NULL RETURNING id`, trackID, at.UnixMicro()).Scan(&id))
	})
}

// Latest is the latest time that is stored, the zero time in an empty store. How
// long an unfinished track is does not count: what a client sends late and faster
// than time (media/ingest) makes it longer than the time since its start.
func (s *Store) Latest(ctx context.Context) (at time.Time, err error) {
	err = s.view(ctx, "latest time", func(tx *sql.Tx) error {
		var us sql.NullInt64
		err := tx.QueryRowContext(ctx, `
			SELECT MAX(at) FROM (
				SELECT MAX(started_at) AS at FROM meetings
				UNION ALL SELECT MAX(ended_at) FROM meetings
				UNION ALL SELECT MAX(recorded_at) FROM meetings
				UNION ALL SELECT MAX(joined_at) FROM participants
				UNION ALL SELECT MAX(left_at) FROM participants
				UNION ALL SELECT MAX(finished_at) FROM tracks
				UNION ALL SELECT MAX(audio_expired_at) FROM tracks
				UNION ALL SELECT MAX(started_at) FROM tracks
			) AS times`).Scan(&us)
		if us.Valid {
			at = fromMicro(us.Int64)
		}
		return err
	})
	return at, err
}

// TrackIDs are those of a meeting's tracks; none if there is no such meeting.
func (s *Store) TrackIDs(ctx context.Context, meetingID string) (ids []string, err error) {
	err = s.view(ctx, "tracks of meeting "+meetingID, func(tx *sql.Tx) error {
		scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
		ids, err = collect(ctx, tx, scan, "SELECT id FROM tracks WHERE meeting = $1", meetingID)
		return err
	})
	return ids, err
}
