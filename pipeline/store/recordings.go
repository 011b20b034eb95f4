package store

import (
	"context"
	"database/sql"
	"time"
)

// Unrecorded are the ids of all meetings that are complete or incomplete and
// whose recordings are still to be made, the oldest first. In PostgreSQL these are
// those of which this node has all audio.
func (s *Store) Unrecorded(ctx context.Context) (ids []string, err error) {
	err = s.view(ctx, "unrecorded meetings", func(tx *sql.Tx) error {
		scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
		ids, err = collect(ctx, tx, scan, `
			SELECT id FROM meetings WHERE recorded_at IS NULL AND erasing = 0 AND state IN ('complete', 'incomplete') AND (NOT $1 OR
				EXISTS (SELECT 1 FROM tracks WHERE meeting = meetings.id AND node = $2) AND
				NOT EXISTS (SELECT 1 FROM tracks WHERE meeting = meetings.id AND node <> $2))
			ORDER BY started_at, id`, s.shared, s.self.node)
		return err
	})
	return ids, err
}

// SetRecorded notes that a meeting's recordings were made. What was noted first
// stays.
func (s *Store) SetRecorded(ctx context.Context, meetingID string, at time.Time) error {
	return s.update(ctx, "recorded meeting "+meetingID, func(tx *sql.Tx) error {
		var id string
		return found(tx.QueryRowContext(ctx, `
			UPDATE meetings SET recorded_at = COALESCE(recorded_at, $2)
			WHERE id = $1 AND state IN ('complete', 'incomplete') RETURNING id`, meetingID, at.UnixMicro()).Scan(&id))
	})
}
