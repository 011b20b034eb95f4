package store

import (
	"context"
	"database/sql"

	"verbatim/pipeline/meeting"
)

// TracksToForward returns this node's tracks that were created with ToForward and are not
// Forwarded yet, in the order in which they started.
func (s *Store) TracksToForward(ctx context.Context) (ts []meeting.Track, err error) {
	err = s.view(ctx, "tracks to forward", func(tx *sql.Tx) error {
		ts, err = loadTracks(ctx, tx, `WHERE to_forward = 1
			AND (NOT $1 OR node = $2) AND EXISTS (SELECT 1 FROM meetings WHERE id = tracks.meeting AND erasing = 0)`, s.shared, s.self.node)
		return err
	})
	return ts, err
}

// Forwarded says that all of a track is with the broker, or can never be.
func (s *Store) Forwarded(ctx context.Context, trackID string) error {
	return s.update(ctx, "forwarded track "+trackID, func(tx *sql.Tx) error {
		var id string
		return found(tx.QueryRowContext(ctx, "UPDATE tracks SET to_forward = 0 WHERE id = $1 RETURNING id", trackID).Scan(&id))
	})
}
