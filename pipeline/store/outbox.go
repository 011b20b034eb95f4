package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// The types of events that the outbox takes.
const (
	MeetingStarted    = "meeting.started"
	ParticipantJoined = "participant.joined"
	ParticipantLeft   = "participant.left"
	SegmentFinal      = "segment.final"
	MeetingComplete   = "meeting.complete"
)

// Outbox says who is told of what. Each event is a row for each endpoint, written
// in the transaction of the change that it tells of: so that none is lost or
// invented when the process dies.
type Outbox struct {
	Endpoints []string // names, not addresses: those may hold secrets
	Types     []string
	// Wake is called after rows were written, from any goroutine. It must not
	// block.
	Wake func()
}

const dropEndpoint = "DELETE FROM outbox WHERE endpoint = $1"

// leaseTime is how long a node has an endpoint to itself; it asks again before each
// event, which takes less time.
const leaseTime = time.Minute

// anyNode stands for the endpoint in events that a store without an outbox has left:
// the operator's program, which does not know who is to be told. A node that does makes
// rows of its endpoints of them.
const anyNode = ""

// forgetAfter is when events for endpoints that this node does not have go although
// other nodes, which may know them, have left them: senders have given them up by then.
const forgetAfter = 25 * time.Hour

// SetOutbox makes the store write events from now on. Rows for endpoints that are
// not in o go: nobody would ever fetch them; dropped says how many. In PostgreSQL
// another node may have these endpoints: their rows go when they are a day old. It is called
// before everything else, or not at all: then there are no events.
func (s *Store) SetOutbox(ctx context.Context, o Outbox) (dropped int64, err error) {
	s.outbox.Store(&o)
	err = s.update(ctx, "begin the outbox", func(tx *sql.Tx) error {
		dropped = 0
		scan := func(rows *sql.Rows) (e string, err error) { return e, rows.Scan(&e) }
		known, err := collect(ctx, tx, scan, "SELECT DISTINCT endpoint FROM outbox WHERE endpoint <> $1", anyNode)
		if err != nil {
			return err
		}
		for _, e := range known {
			if slices.Contains(o.Endpoints, e) {
				continue
			}
			before := time.Unix(1<<40, 0)
			if s.shared {
				before = time.Now().Add(-forgetAfter)
			}
			n, err := remove(ctx, tx, dropEndpoint+" AND created_at < $2", e, before.UnixMicro())
			if err != nil {
				return err
			}
			dropped += n
		}
		return nil
	})
	return dropped, err
}

// CloseEndpoint forgets an endpoint that wants nothing more, and what it was to
// be told.
func (s *Store) CloseEndpoint(ctx context.Context, endpoint string) (dropped int64, err error) {
	for old := s.outbox.Load(); old != nil; old = s.outbox.Load() {
		o := *old
		o.Endpoints = slices.DeleteFunc(slices.Clone(old.Endpoints), func(e string) bool { return e == endpoint })
		if s.outbox.CompareAndSwap(old, &o) {
			break
		}
	}
	return s.drop(ctx, dropEndpoint, endpoint)
}

// The data of events. What a meeting is in the API it is here.
type (
	aboutMeeting struct {
		Meeting meeting.Meeting `json:"meeting"`
	}
	aboutParticipant struct {
		Meeting     inMeeting           `json:"meeting"`
		Participant meeting.Participant `json:"participant"`
	}
	aboutSegment struct {
		Meeting inMeeting          `json:"meeting"`
		Segment transcript.Segment `json:"segment"`
	}
	inMeeting struct {
		ID   string `json:"id"`
		Room string `json:"room"`
	}
)

// wake says that there may be rows: also after a transaction that failed, of which
// it is not known what became.
func (s *Store) wake() {
	if o := s.outbox.Load(); o != nil && o.Wake != nil {
		o.Wake()
	}
}

// tells says whether anybody wants to know of such events.
func (s *Store) tells(kind string) bool {
	o := s.outbox.Load()
	return o != nil && len(o.Endpoints) > 0 && slices.Contains(o.Types, kind)
}

// tell writes an event of a meeting into the outbox. Callers ask tells before.
func (s *Store) tell(ctx context.Context, tx *sql.Tx, meetingID, kind string, at time.Time, data any) error {
	return write(ctx, tx, s.outbox.Load().Endpoints, meetingID, kind, at, data)
}

func write(ctx context.Context, tx *sql.Tx, endpoints []string, meetingID, kind string, at time.Time, data any) error {
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{kind, at.UTC(), data})
	if err != nil {
		return fmt.Errorf("event %s: %w", kind, err)
	}
	return insertEvent(ctx, tx, endpoints, meetingID, "msg_"+rand.Text(), kind, string(body), at.UnixMicro())
}

func insertEvent(ctx context.Context, tx *sql.Tx, endpoints []string, meetingID, id, kind, body string, at int64) error {
	for _, endpoint := range endpoints {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO outbox (endpoint, meeting, id, type, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			endpoint, meetingID, id, kind, body, at)
		if err != nil {
			return fmt.Errorf("event %s: %w", kind, err)
		}
	}
	return nil
}

// leaveWord has a node tell that a meeting is complete, if this store tells nobody.
func (s *Store) leaveWord(ctx context.Context, tx *sql.Tx, meetingID string, at time.Time) error {
	if s.outbox.Load() != nil {
		return nil
	}
	m, err := loadOne(ctx, tx, "FROM meetings WHERE id = $1 AND erasing = 0", meetingID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return write(ctx, tx, []string{anyNode}, meetingID, MeetingComplete, at, aboutMeeting{m})
}

// passOn makes events for this node's endpoints of those that were left for any node,
// and returns the meetings that they tell of.
func (s *Store) passOn(ctx context.Context) (ended []meeting.Ended, err error) {
	if s.outbox.Load() == nil {
		return nil, nil
	}
	var left int
	err = s.view(ctx, "events for any node", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM outbox WHERE endpoint = $1", anyNode).Scan(&left)
	})
	if err != nil || left == 0 {
		return nil, err
	}
	type word struct {
		meeting, id, kind, body string
		at                      int64
	}
	scan := func(rows *sql.Rows) (w word, err error) {
		return w, rows.Scan(&w.meeting, &w.id, &w.kind, &w.body, &w.at)
	}
	err = s.update(ctx, "events for any node", func(tx *sql.Tx) error {
		ended = nil
		words, err := collect(ctx, tx, scan, "DELETE FROM outbox WHERE endpoint = $1 RETURNING meeting, id, type, body, created_at", anyNode)
		if err != nil {
			return err
		}
		for _, w := range words {
			e := meeting.Ended{Meeting: w.meeting}
			err := tx.QueryRowContext(ctx, "SELECT room, state FROM meetings WHERE id = $1", w.meeting).Scan(&e.Room, &e.State)
			if err != nil {
				return err
			}
			ended = append(ended, e)
			if s.tells(w.kind) {
				if err := insertEvent(ctx, tx, s.outbox.Load().Endpoints, w.meeting, w.id, w.kind, w.body, w.at); err != nil {
					return err
				}
			}
		}
		return nil
	})
	s.wake()
	return ended, err
}

// tellOfMeeting writes an event with everything that is known of a meeting.
func (s *Store) tellOfMeeting(ctx context.Context, tx *sql.Tx, id, kind string, at time.Time) error {
	if !s.tells(kind) {
		return nil
	}
	m, err := loadOne(ctx, tx, "FROM meetings WHERE id = $1", id)
	if err != nil {
		return err
	}
	return s.tell(ctx, tx, id, kind, at, aboutMeeting{m})
}

// tellOfParticipant writes an event of somebody who came or went.
func (s *Store) tellOfParticipant(ctx context.Context, tx *sql.Tx, meetingID, id, kind string, at time.Time) error {
	if !s.tells(kind) {
		return nil
	}
	var about aboutParticipant
	var joined int64
	var left sql.NullInt64
	p := &about.Participant
	err := tx.QueryRowContext(ctx, `
		SELECT m.id, m.room, p.id, p.name, p.joined_at, p.left_at FROM participants p JOIN meetings m ON m.id = p.meeting
		WHERE m.id = $1 AND p.id = $2`, meetingID, id).Scan(&about.Meeting.ID, &about.Meeting.Room, &p.ID, &p.Name, &joined, &left)
	if err != nil {
		return err
	}
	p.JoinedAt, p.LeftAt = fromMicro(joined), fromNullMicro(left)
	return s.tell(ctx, tx, meetingID, kind, at, about)
}

// tellOfSegments writes an event for each of the segments of a commit.
func (s *Store) tellOfSegments(ctx context.Context, tx *sql.Tx, meetingID, track string, rows []row, at time.Time) error {
	if len(rows) == 0 || !s.tells(SegmentFinal) {
		return nil
	}
	about := aboutSegment{Meeting: inMeeting{ID: meetingID}}
	var who transcript.Participant
	err := tx.QueryRowContext(ctx, `
		SELECT m.room, p.id, p.name FROM tracks t JOIN meetings m ON m.id = t.meeting
		JOIN participants p ON p.meeting = t.meeting AND p.id = t.participant WHERE t.id = $1`, track).
		Scan(&about.Meeting.Room, &who.ID, &who.Name)
	if err != nil {
		return err
	}
	for _, r := range rows {
		seg := r.Segment
		seg.Meeting, seg.Track, seg.Participant, seg.Final = meetingID, track, who, true
		seg.Text, seg.Engine, seg.Words = clean(seg.Text), clean(seg.Engine), sound(seg.Words)
		about.Segment = seg
		if err := s.tell(ctx, tx, meetingID, SegmentFinal, at, about); err != nil {
			return err
		}
	}
	return nil
}

// Delivery is an event that an endpoint is to be told.
type Delivery struct {
	N         int64 // its place in the order of events
	ID        string
	Type      string
	Body      []byte // JSON
	CreatedAt time.Time
	Attempts  int // that the endpoint refused
}

// NextDelivery returns the first event for an endpoint whose time has come. If
// there is none, ok is false and next is when there will be one: the zero time if
// nothing waits. In PostgreSQL the endpoint is this node's alone for a minute from then
// on, or until nothing waits; another node is told to ask again when that is over.
func (s *Store) NextDelivery(ctx context.Context, endpoint string, now time.Time) (d Delivery, ok bool, next time.Time, err error) {
	run := s.view
	if s.shared {
		run = s.update
	}
	err = run(ctx, "next delivery", func(tx *sql.Tx) error {
		ok, next = false, time.Time{}
		if s.shared {
			wait, err := s.lease(ctx, tx, endpoint)
			if err != nil || wait > 0 {
				next = now.Add(wait)
				return err
			}
		}
		var created int64
		// With the + SQLite walks in order, over what was refused; it would sort all
		// that waits.
		err := tx.QueryRowContext(ctx, `
			SELECT n, id, type, body, created_at, attempts FROM outbox
			WHERE endpoint = $1 AND +next_at <= $2 ORDER BY n LIMIT 1`, endpoint, now.UnixMicro()).
			Scan(&d.N, &d.ID, &d.Type, &d.Body, &created, &d.Attempts)
		if err == nil {
			d.CreatedAt, ok = fromMicro(created), true
			return nil
		}
		if found(err) != ErrNotFound { //nolint:errorlint // what found returns is that or what it was given
			return err
		}
		var at sql.NullInt64
		err = tx.QueryRowContext(ctx, "SELECT MIN(next_at) FROM outbox WHERE endpoint = $1", endpoint).Scan(&at)
		if at.Valid {
			next = fromMicro(at.Int64)
		}
		if err == nil && s.shared { // whoever has something to send next may do it
			_, err = tx.ExecContext(ctx, "UPDATE endpoints SET until = 0 WHERE endpoint = $1", endpoint)
		}
		return err
	})
	return d, ok, next, err
}

// lease makes an endpoint this node's alone for a time. wait is how long it is still
// another's.
func (s *Store) lease(ctx context.Context, tx *sql.Tx, endpoint string) (wait time.Duration, err error) {
	var until int64
	err = tx.QueryRowContext(ctx, `
		INSERT INTO endpoints (endpoint, node, until) VALUES ($1, $2, `+s.now+` + $3)
		ON CONFLICT (endpoint) DO UPDATE SET node = excluded.node, until = excluded.until
		WHERE endpoints.node = excluded.node OR endpoints.until < `+s.now+`
		RETURNING until`, endpoint, s.self.node, leaseTime.Microseconds()).Scan(&until)
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	var us int64
	err = tx.QueryRowContext(ctx, "SELECT until - "+s.now+" FROM endpoints WHERE endpoint = $1", endpoint).Scan(&us)
	return max(time.Duration(us)*time.Microsecond, time.Millisecond), err
}

// Delivered removes an event that an endpoint has taken, or was given up.
func (s *Store) Delivered(ctx context.Context, n int64) error {
	_, err := s.drop(ctx, "DELETE FROM outbox WHERE n = $1", n)
	return err
}

// Refused notes that an endpoint refused an event, which is sent again at that
// time; others may be sent before.
func (s *Store) Refused(ctx context.Context, n int64, next time.Time) error {
	return s.update(ctx, "refused delivery", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE outbox SET attempts = attempts + 1, next_at = $2 WHERE n = $1", n, next.UnixMicro())
		return err
	})
}

// GiveUp removes what an endpoint was to be told before a time, and says how much
// that was: some of it, so that nobody waits for it long.
func (s *Store) GiveUp(ctx context.Context, endpoint string, before time.Time) (int64, error) {
	return s.drop(ctx, `
		DELETE FROM outbox WHERE created_at < $2
		AND n IN (SELECT n FROM outbox WHERE endpoint = $1 ORDER BY n LIMIT 1000)`, endpoint, before.UnixMicro())
}

// PendingDeliveries is how many events an endpoint is still to be told.
func (s *Store) PendingDeliveries(ctx context.Context, endpoint string) (n int64, err error) {
	err = s.view(ctx, "pending deliveries", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM outbox WHERE endpoint = $1", endpoint).Scan(&n)
	})
	return n, err
}

func (s *Store) drop(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.update(ctx, "remove deliveries", func(tx *sql.Tx) error {
		n, err = remove(ctx, tx, query, args...)
		return err
	})
	return n, err
}

// remove runs a DELETE, and says how many rows went.
func remove(ctx context.Context, tx *sql.Tx, query string, args ...any) (int64, error) {
	r, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
