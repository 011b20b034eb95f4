package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"verbatim/pipeline/meeting"
)

// Meeting returns a meeting with its participants in the order in which they
// joined, its tracks in the order in which they started, and their coverage.
func (s *Store) Meeting(ctx context.Context, id string) (m meeting.Meeting, err error) {
	err = s.view(ctx, "meeting "+id, func(tx *sql.Tx) error {
		m, err = loadOne(ctx, tx, "FROM meetings WHERE id = $1 AND erasing = 0", id)
		return err
	})
	return m, err
}

// Room returns the room of a meeting.
func (s *Store) Room(ctx context.Context, id string) (room string, err error) {
	err = s.view(ctx, "room of meeting "+id, func(tx *sql.Tx) error {
		return found(tx.QueryRowContext(ctx, "SELECT room FROM meetings WHERE id = $1 AND erasing = 0", id).Scan(&room))
	})
	return room, err
}

// LiveMeeting returns the meeting that is going on in a room.
func (s *Store) LiveMeeting(ctx context.Context, room string) (m meeting.Meeting, err error) {
	err = s.view(ctx, "live meeting in "+room, func(tx *sql.Tx) error {
		m, err = loadOne(ctx, tx, "FROM meetings WHERE room = $1 AND state = 'live'", room)
		return err
	})
	return m, err
}

// Mark changes whenever something of a room changes that event streams tell of:
// meetings, who is in them, finals. It says nothing by itself.
func (s *Store) Mark(ctx context.Context, room string) (mark string, err error) {
	err = s.view(ctx, "what is new in "+room, func(tx *sql.Tx) error {
		scan := func(rows *sql.Rows) (string, error) {
			var id, state string
			var segments, members, gone, left int64
			err := rows.Scan(&id, &state, &segments, &members, &gone, &left)
			return fmt.Sprintf("%s %s %d %d %d %d", id, state, segments, members, gone, left), err
		}
		// Older ones than the last few change no more, but for being erased.
		marks, err := collect(ctx, tx, scan, `
			SELECT id, state, segments,
				(SELECT COUNT(*) FROM participants WHERE meeting = meetings.id),
				(SELECT COUNT(left_at) FROM participants WHERE meeting = meetings.id),
				(SELECT COALESCE(MAX(left_at), 0) FROM participants WHERE meeting = meetings.id)
			FROM meetings WHERE room = $1 AND erasing = 0 ORDER BY started_at DESC, id DESC LIMIT 8`, room)
		mark = strings.Join(marks, ", ")
		return err
	})
	return mark, err
}

// LiveMeetings returns all meetings that are going on, the newest first.
func (s *Store) LiveMeetings(ctx context.Context) (ms []meeting.Meeting, err error) {
	err = s.view(ctx, "live meetings", func(tx *sql.Tx) error {
		ms, err = load(ctx, tx, "FROM meetings WHERE state = 'live' ORDER BY started_at DESC, id DESC")
		return err
	})
	return ms, err
}

// Meetings returns up to limit (at least 1) meetings of a room, or of all rooms
// if room is empty, the newest first. cursor is empty at first, and then what
// the call before returned as next, which is empty at the end. Meetings that
// begin while someone pages through come on no later page.
func (s *Store) Meetings(ctx context.Context, room string, limit int, cursor string) (ms []meeting.Meeting, next string, err error) {
	startedAt, id, err := parseCursor(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("meetings: %w", err)
	}
	limit = max(limit, 1)
	// One more than asked for tells whether there is a next page.
	where, args := "", []any{startedAt, id, limit + 1}
	if room != "" {
		where, args = "room = $4 AND ", append(args, room)
	}
	err = s.view(ctx, "meetings", func(tx *sql.Tx) error {
		ms, err = load(ctx, tx, "FROM meetings WHERE "+where+
			"erasing = 0 AND (started_at, id) < ($1, $2) ORDER BY started_at DESC, id DESC LIMIT $3", args...)
		return err
	})
	if len(ms) > limit {
		ms = ms[:limit]
		next = makeCursor(ms[limit-1])
	}
	return ms, next, err
}

// Before returns up to limit (at least 1) meetings of m's room that began before
// m did, the newest first.
func (s *Store) Before(ctx context.Context, m meeting.Meeting, limit int) ([]meeting.Meeting, error) {
	ms, _, err := s.Meetings(ctx, m.Room, limit, makeCursor(m))
	return ms, err
}

func makeCursor(m meeting.Meeting) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", m.StartedAt.UnixMicro(), m.ID))
}

func parseCursor(cursor string) (startedAt int64, id string, err error) {
	if cursor == "" {
		return math.MaxInt64, "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, "", ErrBadCursor
	}
	at, id, ok := strings.Cut(string(b), " ")
	startedAt, err = strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || id != clean(id) {
		return 0, "", ErrBadCursor
	}
	return startedAt, id, nil
}

func loadOne(ctx context.Context, tx *sql.Tx, from string, args ...any) (meeting.Meeting, error) {
	ms, err := load(ctx, tx, from, args...)
	if err != nil {
		return meeting.Meeting{}, err
	}
	if len(ms) == 0 {
		return meeting.Meeting{}, ErrNotFound
	}
	return ms[0], nil
}

// load reads the meetings of a query, which is given from its FROM on, and all
// that belongs to them, in three queries however many they are.
func load(ctx context.Context, tx *sql.Tx, from string, args ...any) ([]meeting.Meeting, error) {
	ms, err := collect(ctx, tx, scanMeeting, "SELECT id, room, state, started_at, ended_at, recorded_at, recorder "+from, args...)
	if err != nil {
		return nil, err
	}
	index := make(map[string]*meeting.Meeting, len(ms))
	for i := range ms {
		index[ms[i].ID] = &ms[i]
	}
	type member struct {
		meeting string
		meeting.Participant
	}
	scan := func(rows *sql.Rows) (p member, err error) {
		var joined int64
		var left sql.NullInt64
		err = rows.Scan(&p.meeting, &p.ID, &p.Name, &joined, &left)
		p.JoinedAt, p.LeftAt = fromMicro(joined), fromNullMicro(left)
		return p, err
	}
	ps, err := collect(ctx, tx, scan, `
		SELECT meeting, id, name, joined_at, left_at FROM participants
		WHERE meeting IN (SELECT id `+from+`) ORDER BY joined_at, id`, args...)
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		m := index[p.meeting]
		m.Participants = append(m.Participants, p.Participant)
	}
	ts, err := loadTracks(ctx, tx, "WHERE meeting IN (SELECT id "+from+")", args...)
	if err != nil {
		return nil, err
	}
	for _, t := range ts {
		m := index[t.Meeting]
		m.Tracks = append(m.Tracks, t)
		m.Coverage = m.Coverage.Plus(t.Coverage)
	}
	return ms, nil
}

func scanMeeting(rows *sql.Rows) (meeting.Meeting, error) {
	m := meeting.Meeting{Participants: []meeting.Participant{}, Tracks: []meeting.Track{}}
	var started int64
	var ended, recorded sql.NullInt64
	err := rows.Scan(&m.ID, &m.Room, &m.State, &started, &ended, &recorded, &m.Recorder)
	m.StartedAt, m.EndedAt, m.RecordedAt = fromMicro(started), fromNullMicro(ended), fromNullMicro(recorded)
	return m, err
}

// loadTracks reads the tracks that a WHERE clause selects, in the order in
// which they started. One that is live on a node that is dead is shown as pending:
// nothing more comes of it. Of their gaps it reads only how much was skipped.
func loadTracks(ctx context.Context, tx *sql.Tx, where string, args ...any) ([]meeting.Track, error) {
	return collect(ctx, tx, scanTrack, `
		SELECT id, meeting, participant,
			CASE WHEN state = 'live' AND EXISTS (SELECT 1 FROM nodes WHERE nodes.id = tracks.node AND nodes.alive = 0) THEN 'pending' ELSE state END,
			node, ended_by, started_at, finished_at, audio_expired_at, epoch, through, next_segment,
			received, recovered, concealed, silence, discontinuity, shed, part, lost,
			(SELECT CAST(COALESCE(SUM(ticks), 0) AS BIGINT) FROM gaps WHERE track = tracks.id AND kind = 'skipped')
		FROM tracks `+where+` ORDER BY started_at, id`, args...)
}

func scanTrack(rows *sql.Rows) (meeting.Track, error) {
	var t meeting.Track
	var started int64
	var lost int
	var finished, expired sql.NullInt64
	a := &t.Account
	err := rows.Scan(&t.ID, &t.Meeting, &t.Participant, &t.State, &t.Node, &t.EndedBy, &started, &finished, &expired,
		&t.Epoch, &t.Through, &t.NextSegment,
		&a.Received, &a.Recovered, &a.Concealed, &a.Silence, &a.Discontinuity, &a.Shed, &t.Part, &lost, &t.Skipped)
	t.StartedAt, t.FinishedAt, t.AudioExpiredAt = fromMicro(started), fromNullMicro(finished), fromNullMicro(expired)
	switch {
	case t.AudioExpiredAt != nil:
		t.Audio = meeting.AudioExpired
	case lost == 1:
		t.Audio = meeting.AudioLost
	default:
		t.Audio = meeting.AudioKept
	}
	t.Coverage = meeting.NewCoverage(t.Account, t.Through, t.Skipped)
	return t, err
}
