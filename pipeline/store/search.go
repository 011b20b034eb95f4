package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"verbatim/pipeline/meeting"
)

// maxTerms of a search; what follows is left out.
const maxTerms = 32

// Search returns up to limit (at least 1) segments in which all words of text
// were said, in a room or, if room is empty, in all: those that were committed
// last first. Upper case and accents do not matter; the last word may be the
// beginning of one. cursor is empty at first, and then what the call before
// returned as next, which is empty at the end. Text without a word finds nothing.
func (s *Store) Search(ctx context.Context, text, room string, limit int, cursor string) (found []meeting.Found, next string, err error) {
	words := wordsOf(text)
	if len(words) == 0 {
		return nil, "", nil
	}
	before := int64(math.MaxInt64)
	if cursor != "" {
		if before, err = strconv.ParseInt(cursor, 36, 64); err != nil {
			return nil, "", fmt.Errorf("search: %w", ErrBadCursor)
		}
	}
	limit = max(limit, 1)
	where, args := "", []any{s.query(words), before, limit + 1}
	if room != "" {
		where, args = "AND m.room = $4 ", append(args, room)
	}
	var ids []int64
	scan := func(rows *sql.Rows) (f meeting.Found, err error) {
		var id, n, startedAt int64
		var endedAt sql.NullInt64
		seg := &f.Segment
		err = rows.Scan(&id, &f.Meeting.ID, &f.Meeting.Room, &f.Meeting.State, &startedAt, &endedAt,
			&seg.Track, &n, &seg.Participant.ID, &seg.Participant.Name,
			&seg.StartMS, &seg.EndMS, &seg.Text, &seg.Engine, &seg.Revision)
		f.Meeting.StartedAt, f.Meeting.EndedAt = fromMicro(startedAt), fromNullMicro(endedAt)
		seg.ID, seg.Meeting, seg.Final = seg.Track+"."+strconv.FormatInt(n, 10), f.Meeting.ID, true
		ids = append(ids, id)
		return f, err
	}
	err = s.view(ctx, "search", func(tx *sql.Tx) error {
		found, err = collect(ctx, tx, scan, `
			SELECT search.rowid, m.id, m.room, m.state, m.started_at, m.ended_at, s.track, s.n, p.id, p.name,
				s.start_ms, s.end_ms, s.text, s.engine, s.revision
			FROM search CROSS JOIN segments s CROSS JOIN meetings m CROSS JOIN tracks t CROSS JOIN participants p
			WHERE `+s.search+` AND search.rowid < $2 AND m.erasing = 0 `+where+`
				AND s.track = search.track AND s.n = search.n AND m.id = s.meeting
				AND t.id = s.track AND p.meeting = t.meeting AND p.id = t.participant
			ORDER BY search.rowid DESC LIMIT $3`, args...)
		return err
	})
	if err == nil && len(found) > limit {
		found = found[:limit]
		next = strconv.FormatInt(ids[limit-1], 36)
	}
	return found, next, err
}

// wordsOf are those of a text that is searched for.
func wordsOf(text string) []string {
	words := strings.FieldsFunc(clean(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
	})
	return words[:min(len(words), maxTerms)]
}
