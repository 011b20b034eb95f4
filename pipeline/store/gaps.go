package store

import (
	"context"
	"database/sql"
	"fmt"

	"verbatim/pipeline/meeting"
)

// insertGaps stores the gaps of a commit that moves the track from one
// checkpoint to the next. Those before it are there already.
func insertGaps(ctx context.Context, tx *sql.Tx, track string, from, through int64, gaps []meeting.Gap) error {
	for _, g := range gaps {
		if g.Start < from || g.Ticks == 0 {
			continue
		}
		if g.End > through {
			return fmt.Errorf("a gap up to %d, the track is spoken for up to %d", g.End, through)
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO gaps (track, kind, start_tick, end_tick, ticks, start_ms, end_ms, reason)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			track, string(g.Kind), g.Start, g.End, g.Ticks, g.StartMS, g.EndMS, clean(g.Reason))
		if err != nil {
			return fmt.Errorf("gap at %d: %w", g.Start, err)
		}
	}
	return nil
}

// Gaps returns what the transcript of a meeting lacks, up to the checkpoints of
// its tracks: by track, kind and start. There may be thousands.
func (s *Store) Gaps(ctx context.Context, meetingID string) (gaps []meeting.Gap, err error) {
	scan := func(rows *sql.Rows) (g meeting.Gap, err error) {
		err = rows.Scan(&g.Track, &g.Kind, &g.Start, &g.End, &g.Ticks, &g.StartMS, &g.EndMS, &g.Reason)
		return g, err
	}
	err = s.view(ctx, "gaps of meeting "+meetingID, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, meetingID); err != nil {
			return err
		}
		gaps, err = collect(ctx, tx, scan, `
			SELECT track, kind, start_tick, end_tick, ticks, start_ms, end_ms, reason FROM gaps
			WHERE track IN (SELECT id FROM tracks WHERE meeting = $1)
			ORDER BY track, kind, start_tick`, meetingID)
		return err
	})
	return gaps, err
}
