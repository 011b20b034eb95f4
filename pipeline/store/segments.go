package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"verbatim/pipeline/transcript"
)

// Numbered is a segment with its number in the meeting.
type Numbered struct {
	N int64
	transcript.Segment
}

// row is a segment on its way into the database.
type row struct {
	n     int64
	words sql.NullString
	transcript.Segment
}

// encode prepares the segments of a track, outside of the transaction, and
// returns the number that the track's next segment gets.
func encode(track string, segments []transcript.Segment) (rows []row, next int64, err error) {
	for _, s := range segments {
		digits, ok := strings.CutPrefix(s.ID, track+".")
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != digits {
			return nil, 0, fmt.Errorf("segment %q is none of this track", s.ID)
		}
		r := row{n: n, Segment: s}
		if len(s.Words) > 0 {
			b, err := json.Marshal(sound(s.Words))
			if err != nil {
				return nil, 0, fmt.Errorf("segment %s: %w", s.ID, err)
			}
			r.words = sql.NullString{String: string(b), Valid: true}
		}
		rows = append(rows, r)
		next = max(next, n+1)
	}
	return rows, next, nil
}

// sound leaves out confidences that are no numbers. JSON has none of those, and
// an engine's arithmetic is no reason to lose its words.
func sound(words []transcript.Word) []transcript.Word {
	bad := func(w transcript.Word) bool {
		return w.Confidence != nil && (math.IsNaN(*w.Confidence) || math.IsInf(*w.Confidence, 0))
	}
	if !slices.ContainsFunc(words, bad) {
		return words
	}
	words = slices.Clone(words)
	for i := range words {
		if bad(words[i]) {
			words[i].Confidence = nil
		}
	}
	return words
}

// insert gives the rows the meeting's next numbers and returns the last.
func (s *Store) insert(ctx context.Context, tx *sql.Tx, meetingID, track string, rows []row) (last int64, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	err = tx.QueryRowContext(ctx,
		"UPDATE meetings SET segments = segments + $2 WHERE id = $1 RETURNING segments", meetingID, len(rows)).Scan(&last)
	if err != nil {
		return 0, err
	}
	for i, r := range rows {
		text := clean(r.Text)
		_, err := tx.ExecContext(ctx, `
			INSERT INTO segments (track, n, meeting, number, start_ms, end_ms, text, engine, revision, words)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			track, r.n, meetingID, last-int64(len(rows)-1-i),
			r.StartMS, r.EndMS, text, clean(r.Engine), r.Revision, r.words)
		if err != nil {
			return 0, fmt.Errorf("segment %s: %w", r.ID, err)
		}
		_, err = tx.ExecContext(ctx, s.indexWords, s.words(text), meetingID, track, r.n)
		if err != nil {
			return 0, fmt.Errorf("segment %s: %w", r.ID, err)
		}
	}
	return last, nil
}

// selectSegments leaves room for a condition.
const selectSegments = `
	SELECT s.number, s.track, s.n, s.meeting, p.id, p.name, s.start_ms, s.end_ms, s.text, s.engine, s.revision, s.words
	FROM segments s
	JOIN tracks t ON t.id = s.track
	JOIN participants p ON p.meeting = t.meeting AND p.id = t.participant `

func scanSegment(rows *sql.Rows) (Numbered, error) {
	var s Numbered
	var n int64
	var words sql.NullString
	err := rows.Scan(&s.N, &s.Track, &n, &s.Meeting, &s.Participant.ID, &s.Participant.Name,
		&s.StartMS, &s.EndMS, &s.Text, &s.Engine, &s.Revision, &words)
	if err != nil {
		return s, err
	}
	s.ID = s.Track + "." + strconv.FormatInt(n, 10)
	s.Final = true // others are not stored
	if words.Valid {
		if err := json.Unmarshal([]byte(words.String), &s.Words); err != nil {
			return s, fmt.Errorf("words of segment %s: %w", s.ID, err)
		}
	}
	return s, nil
}

// Segments returns up to limit (at least 1) segments of a meeting in the order
// in which they were committed, from the one that follows number after.
func (s *Store) Segments(ctx context.Context, meetingID string, after int64, limit int) (ns []Numbered, err error) {
	err = s.view(ctx, "segments of meeting "+meetingID, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, meetingID); err != nil {
			return err
		}
		ns, err = collect(ctx, tx, scanSegment,
			selectSegments+"WHERE s.meeting = $1 AND s.number > $2 ORDER BY s.number LIMIT $3", meetingID, after, max(limit, 1))
		return err
	})
	return ns, err
}

// transcriptPage is how many segments are read in one transaction, between which
// others get their turn: some 15 ms.
const transcriptPage = 500

// Transcript returns all segments of a meeting in the order of transcript.Sort.
// Who wants to know whether they are all that there will be reads the meeting
// before, not after.
func (s *Store) Transcript(ctx context.Context, meetingID string) ([]transcript.Segment, error) {
	segments := []transcript.Segment{}
	// What is stored does not change, and what comes later has a higher number.
	for last := int64(0); ; {
		page, err := s.Segments(ctx, meetingID, last, transcriptPage)
		if err != nil {
			return nil, err
		}
		for _, n := range page {
			last = n.N
			segments = append(segments, n.Segment)
		}
		if len(page) < transcriptPage {
			break
		}
	}
	// Sorted here, so that there is one order and no database's collation in it.
	transcript.Sort(segments)
	return segments, nil
}

// exists tells a meeting without rows from none, or from one that is being erased.
func exists(ctx context.Context, tx *sql.Tx, meetingID string) error {
	var id string
	return found(tx.QueryRowContext(ctx, "SELECT id FROM meetings WHERE id = $1 AND erasing = 0", meetingID).Scan(&id))
}
