package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// ErrAlive is returned for a node that is alive, and so not given up.
var ErrAlive = errors.New("the node is alive: stop it first; it counts as alive for 30 s after it was last seen, which `verbatim nodes` shows")

// deadAfter is how long a node may be silent. One that does not beat for a third of
// it has made a pause.
const deadAfter = 30 * time.Second

// givenUp is the reason of what was skipped because its node is gone.
const givenUp = "node given up"

// self is the node that a Store acts for.
type self struct {
	node, url string
	deadAfter time.Duration
	name      nodeName

	mu            sync.Mutex // guards what follows
	since, last   int64      // since when it has beaten without a pause, and when last, in the database's microseconds
	bucket, links string     // what SetBucket and SetLinks have said
}

// SetNode says which node the store acts for: new tracks and sessions are its, and
// it finishes no others' in PostgreSQL. (What SQLite has is all one node's.) url is
// by what clients reach it, "" if that is not known. The node is alive when SetNode
// returns; ErrNameTaken says that it is so by another process. It is called before
// everything else.
func (s *Store) SetNode(ctx context.Context, id, url string) error {
	s.self.node, s.self.url = id, url
	if s.shared {
		if err := s.takeName(ctx); err != nil {
			return err
		}
	}
	_, err := s.heartbeat(ctx)
	return err
}

// Node is what SetNode has said, "" if it was not called.
func (s *Store) Node() string { return s.self.node }

// Shared says whether there may be other nodes.
func (s *Store) Shared() bool { return s.shared }

// SetLinks says by what mark other nodes know whether they sign links with the secret
// of this one (signaling.LinkMark).
func (s *Store) SetLinks(ctx context.Context, mark string) error {
	return s.describe(ctx, func() { s.self.links = mark })
}

// describe changes what other nodes have to know of this one, now or with the next beat.
func (s *Store) describe(ctx context.Context, change func()) error {
	s.self.mu.Lock()
	bucket, links := s.self.bucket, s.self.links
	change()
	changed := bucket != s.self.bucket || links != s.self.links
	bucket, links = s.self.bucket, s.self.links
	s.self.mu.Unlock()
	if !changed {
		return nil
	}
	return s.update(ctx, "tell of this node", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE nodes SET bucket = $2, links = $3 WHERE id = $1", s.self.node, bucket, links)
		return err
	})
}

// Beat says that this node is alive, to be called every five seconds. Who has not
// done that for 30 s by the database's clock is declared dead, and who was there
// by its sessions has left at that time; but only by a node that has beaten for
// 30 s without a pause, so that a database that was away kills nobody. It also tells
// of what an operator has had completed (GiveUpNode). ErrNameTaken says that another
// process has taken the node's name while the database was away. Of SQLite's one node
// nothing is asked.
func (s *Store) Beat(ctx context.Context, at time.Time) (b meeting.Beat, err error) {
	if !s.shared || s.self.node == "" {
		return b, nil
	}
	if err := s.keepName(ctx); err != nil {
		return b, err
	}
	if b.Dead, err = s.heartbeat(ctx); err != nil {
		return b, err
	}
	if b.Ended, err = s.passOn(ctx); err != nil {
		return b, err
	}
	s.self.mu.Lock()
	steady := s.self.last-s.self.since >= s.self.deadAfter.Microseconds()
	s.self.mu.Unlock()
	if !steady {
		return b, nil
	}
	err = s.update(ctx, "look for dead nodes", func(tx *sql.Tx) error {
		scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
		b.Nodes, err = collect(ctx, tx, scan, "UPDATE nodes SET alive = 0 WHERE alive = 1 AND seen_at < "+s.now+" - $1 RETURNING id",
			s.self.deadAfter.Microseconds())
		b.Left = nil
		for _, node := range b.Nodes {
			left, err := s.nodeLeaves(ctx, tx, node, at)
			if err != nil {
				return err
			}
			b.Left = append(b.Left, left...)
		}
		return err
	})
	s.wake()
	return b, err
}

// heartbeat makes the node alive. dead says that it was declared dead before.
func (s *Store) heartbeat(ctx context.Context) (dead bool, err error) {
	var alive int
	var seen int64
	s.self.mu.Lock()
	bucket, links := s.self.bucket, s.self.links
	s.self.mu.Unlock()
	err = s.update(ctx, "heartbeat", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `
			INSERT INTO nodes (id, url, alive, seen_at, bucket, links) VALUES ($1, $2, 1, `+s.now+`, $3, $4)
			ON CONFLICT (id) DO UPDATE SET url = excluded.url, seen_at = excluded.seen_at, bucket = excluded.bucket, links = excluded.links
			RETURNING alive, seen_at`, s.self.node, s.self.url, bucket, links).Scan(&alive, &seen)
		if err != nil || alive == 1 {
			return err
		}
		if _, err = tx.ExecContext(ctx, "UPDATE nodes SET alive = 1 WHERE id = $1", s.self.node); err != nil {
			return err
		}
		// It may have been given up. What it has is not lost, then.
		_, err = tx.ExecContext(ctx, "UPDATE tracks SET lost = 0 WHERE node = $1 AND lost = 1", s.self.node)
		return err
	})
	if err != nil {
		return false, err
	}
	s.self.mu.Lock()
	defer s.self.mu.Unlock()
	if seen-s.self.last > s.self.deadAfter.Microseconds()/3 {
		s.self.since = seen
	}
	s.self.last = seen
	return alive == 0, nil
}

// nodeLeaves notes that everybody has left who is there by a session of a node.
func (s *Store) nodeLeaves(ctx context.Context, tx *sql.Tx, node string, at time.Time) ([]meeting.Seat, error) {
	all, err := collect(ctx, tx, scanSeat, selectSeats+"WHERE p.left_at IS NULL AND p.node = $1 ORDER BY m.id, p.id", node)
	if err != nil {
		return nil, err
	}
	var left []meeting.Seat
	for _, seat := range all {
		if err := lockMeeting(ctx, tx, seat.Meeting); err != nil {
			return nil, err
		}
		n, err := remove(ctx, tx, `
			UPDATE participants SET left_at = $3 WHERE meeting = $1 AND id = $2 AND session = $4 AND left_at IS NULL`,
			seat.Meeting, seat.Participant.ID, at.UnixMicro(), seat.Session)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue // meanwhile gone, or on another node
		}
		if err := s.tellOfParticipant(ctx, tx, seat.Meeting, seat.Participant.ID, ParticipantLeft, at); err != nil {
			return nil, err
		}
		at := fromMicro(at.UnixMicro())
		seat.Participant.LeftAt = &at
		left = append(left, seat)
	}
	return left, nil
}

// lockMeeting keeps others from deciding about the meeting until the transaction
// ends.
func lockMeeting(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, "UPDATE meetings SET state = state WHERE id = $1", id)
	return err
}

const selectSeats = `
	SELECT m.room, m.id, p.id, p.name, p.joined_at, p.left_at, p.session
	FROM participants p JOIN meetings m ON m.id = p.meeting `

func scanSeat(rows *sql.Rows) (seat meeting.Seat, err error) {
	var joined int64
	var left sql.NullInt64
	p := &seat.Participant
	err = rows.Scan(&seat.Room, &seat.Meeting, &p.ID, &p.Name, &joined, &left, &seat.Session)
	p.JoinedAt, p.LeftAt = fromMicro(joined), fromNullMicro(left)
	return seat, err
}

// Seats returns the participants of live meetings whose newest session is one of
// this node, also those that have left. open are the sessions that the node has:
// who has left by one of those (the node was taken for dead) is back.
func (s *Store) Seats(ctx context.Context, open map[string]bool, now time.Time) (seats []meeting.Seat, err error) {
	read := func(tx *sql.Tx) error {
		seats, err = collect(ctx, tx, scanSeat, selectSeats+"WHERE m.state = 'live' AND (NOT $1 OR p.node = $2) ORDER BY m.id, p.id",
			s.shared, s.self.node)
		return err
	}
	if err := s.view(ctx, "sessions of this node", read); err != nil {
		return nil, err
	}
	back := false
	for _, seat := range seats {
		back = back || seat.Participant.LeftAt != nil && open[seat.Session]
	}
	if !back {
		return seats, nil
	}
	err = s.update(ctx, "participants are back", func(tx *sql.Tx) error {
		if err := read(tx); err != nil {
			return err
		}
		for i := range seats {
			seat := &seats[i]
			if seat.Participant.LeftAt == nil || !open[seat.Session] {
				continue
			}
			if err := lockMeeting(ctx, tx, seat.Meeting); err != nil {
				return err
			}
			n, err := remove(ctx, tx, `
				UPDATE participants SET left_at = NULL WHERE meeting = $1 AND id = $2 AND session = $3 AND left_at IS NOT NULL
				AND EXISTS (SELECT 1 FROM meetings WHERE id = $1 AND state = 'live')`, seat.Meeting, seat.Participant.ID, seat.Session)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			seat.Participant.LeftAt, seat.Back = nil, true
			if err := s.tellOfParticipant(ctx, tx, seat.Meeting, seat.Participant.ID, ParticipantJoined, now); err != nil {
				return err
			}
		}
		return nil
	})
	s.wake()
	return seats, err
}

// EndEmpty ends the live meetings in which nobody is, by no node, and which the last
// one left at or before that time; at is when they end. A join that comes at the
// same time finds the meeting or begins another one.
func (s *Store) EndEmpty(ctx context.Context, before, at time.Time) (ended []meeting.Ended, err error) {
	const empty = `state = 'live'
		AND NOT EXISTS (SELECT 1 FROM participants WHERE meeting = meetings.id AND (left_at IS NULL OR left_at > $1))`
	type row struct{ id, room string }
	scan := func(rows *sql.Rows) (r row, err error) { return r, rows.Scan(&r.id, &r.room) }
	var found []row
	err = s.view(ctx, "empty meetings", func(tx *sql.Tx) error {
		found, err = collect(ctx, tx, scan, "SELECT id, room FROM meetings WHERE "+empty+" ORDER BY id", before.UnixMicro())
		return err
	})
	for _, r := range found {
		if err != nil {
			break
		}
		var e meeting.Ended
		err = s.update(ctx, "end meeting "+r.id, func(tx *sql.Tx) error {
			e = meeting.Ended{}
			if err := lockMeeting(ctx, tx, r.id); err != nil {
				return err
			}
			var n int
			err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM meetings WHERE id = $2 AND "+empty, before.UnixMicro(), r.id).Scan(&n)
			if err != nil || n == 0 {
				return err
			}
			st, err := s.endMeeting(ctx, tx, r.id, at)
			e = meeting.Ended{Meeting: r.id, Room: r.room, State: st}
			return err
		})
		if err == nil && e.Meeting != "" {
			ended = append(ended, e)
		}
	}
	if len(found) > 0 {
		s.wake()
	}
	return ended, err
}

// Node is one that has ever used the database.
type Node struct {
	ID, URL    string
	Alive      bool
	SeenAt     time.Time // by the database's clock
	Unfinished int       // tracks that it has still to finish
	Bucket     string    // where it keeps recordings; "" as long as that is not known
	Awaited    int       // tracks whose audio others wait for to make recordings
}

// Nodes are all that have ever used the database, those that were seen last first.
func (s *Store) Nodes(ctx context.Context) (nodes []Node, err error) {
	scan := func(rows *sql.Rows) (n Node, err error) {
		var seen int64
		err = rows.Scan(&n.ID, &n.URL, &n.Alive, &seen, &n.Unfinished, &n.Bucket, &n.Awaited)
		n.SeenAt = fromMicro(seen)
		return n, err
	}
	err = s.view(ctx, "nodes", func(tx *sql.Tx) error {
		nodes, err = collect(ctx, tx, scan, `
			SELECT id, url, alive = 1 AND seen_at >= `+s.now+` - $1, seen_at, (SELECT COUNT(*) FROM tracks WHERE node = nodes.id AND state IN ('live', 'pending')), bucket,
				(SELECT COUNT(*) FROM tracks WHERE node = nodes.id AND lost = 0 AND audio_expired_at IS NULL AND part = '' AND meeting IN (
					SELECT id FROM meetings WHERE `+over+` AND EXISTS (SELECT 1 FROM tracks o WHERE o.meeting = meetings.id AND o.node <> nodes.id)))
			FROM nodes ORDER BY id`, s.self.deadAfter.Microseconds())
		return err
	})
	return nodes, err
}

// Peer is how another node is reached. ErrNotFound: there never was one of that name.
func (s *Store) Peer(ctx context.Context, node string) (p meeting.Peer, err error) {
	err = s.view(ctx, "node "+node, func(tx *sql.Tx) error {
		return found(tx.QueryRowContext(ctx, "SELECT url, links, alive = 1 AND seen_at >= "+s.now+" - $2 FROM nodes WHERE id = $1",
			node, s.self.deadAfter.Microseconds()).Scan(&p.URL, &p.Links, &p.Alive))
	})
	return p, err
}

// GiveUpNode gives up what a dead node has not finished, for it will not come back:
// its tracks become incomplete, with the rest of them skipped, and their meetings
// are complete or incomplete if nothing else is outstanding. Who is told of that is
// known to nodes alone: of those that run, one tells (Beat), or the next that starts.
// Its audio is lost, so that recordings wait for it no longer. Should it come back, it
// is told that the tracks are not its any more (ErrNotOwner), and its audio is there
// again. It returns how many tracks it had not finished; ErrNotFound for a node that was
// never there, ErrAlive for one that is.
func (s *Store) GiveUpNode(ctx context.Context, node string, at time.Time) (tracks int, err error) {
	err = s.update(ctx, "give up node "+node, func(tx *sql.Tx) error {
		var alive int
		var silent bool
		err := tx.QueryRowContext(ctx, "UPDATE nodes SET alive = alive WHERE id = $1 RETURNING alive, seen_at < "+s.now+" - $2",
			node, s.self.deadAfter.Microseconds()).Scan(&alive, &silent)
		switch {
		case err != nil:
			return found(err)
		case alive == 1 && !silent:
			return ErrAlive
		case alive == 1: // no other node was there to find it dead
			if _, err := tx.ExecContext(ctx, "UPDATE nodes SET alive = 0 WHERE id = $1", node); err != nil {
				return err
			}
			if _, err := s.nodeLeaves(ctx, tx, node, at); err != nil {
				return err
			}
		}
		// Whoever writes to them waits from here on, and is not the owner then.
		_, err = tx.ExecContext(ctx, "UPDATE tracks SET epoch = epoch + 1 WHERE node = $1 AND state IN ('live', 'pending')", node)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE tracks SET lost = 1 WHERE node = $1 AND audio_expired_at IS NULL", node); err != nil {
			return err
		}
		rows, err := loadTracks(ctx, tx, "WHERE node = $1 AND state IN ('live', 'pending')", node)
		if err != nil {
			return err
		}
		tracks = len(rows)
		for _, t := range rows {
			if err := giveUpTrack(ctx, tx, t, at); err != nil {
				return fmt.Errorf("track %s: %w", t.ID, err)
			}
		}
		meetings := map[string]bool{}
		for _, t := range rows {
			if meetings[t.Meeting] {
				continue
			}
			meetings[t.Meeting] = true
			st, err := s.settle(ctx, tx, t.Meeting, at)
			if err == nil && st != meeting.StateLive && st != meeting.StateEnded {
				err = s.leaveWord(ctx, tx, t.Meeting, at)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.wake()
	return tracks, err
}

// giveUpTrack skips what of a track is not spoken for.
func giveUpTrack(ctx context.Context, tx *sql.Tx, t meeting.Track, at time.Time) error {
	end := t.Account.Total()
	if end > t.Through {
		const tickMS = 48
		var began int64
		if err := tx.QueryRowContext(ctx, "SELECT started_at FROM meetings WHERE id = $1", t.Meeting).Scan(&began); err != nil {
			return err
		}
		offset := t.StartedAt.Sub(fromMicro(began)).Milliseconds()
		rest := meeting.Gap{
			Kind: transcript.Skipped, Start: t.Through, End: end, Ticks: end - t.Through,
			StartMS: max(0, offset+t.Through/tickMS), EndMS: max(0, offset+end/tickMS), Reason: givenUp,
		}
		if err := insertGaps(ctx, tx, t.ID, t.Through, end, []meeting.Gap{rest}); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE tracks SET state = 'incomplete', finished_at = $2, through = CASE WHEN through < $3 THEN $3 ELSE through END,
			ended_by = CASE ended_by WHEN '' THEN 'server' ELSE ended_by END
		WHERE id = $1`, t.ID, at.UnixMicro(), end)
	return err
}

// Elsewhere says whether a track's audio is on another node.
func (s *Store) Elsewhere(t meeting.Track) bool { return s.shared && t.Node != s.self.node }

// RecordedElsewhere says whether another node has made a meeting's recordings.
func (s *Store) RecordedElsewhere(m meeting.Meeting) bool {
	return s.shared && m.RecordedAt != nil && m.Recorder != "" && m.Recorder != s.self.node
}

// ErasedElsewhere are meetings that were erased by other nodes, and of which this
// one may still have logs. LogsErased says that it has none any more.
func (s *Store) ErasedElsewhere(ctx context.Context) (ids []string, err error) {
	scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
	err = s.view(ctx, "erased meetings", func(tx *sql.Tx) error {
		ids, err = collect(ctx, tx, scan, "SELECT meeting FROM erased WHERE node = $1 ORDER BY meeting", s.self.node)
		return err
	})
	return ids, err
}

// LogsErased says that this node has no logs any more of a meeting that was erased.
func (s *Store) LogsErased(ctx context.Context, meetingID string) error {
	return s.update(ctx, "logs of meeting "+meetingID+" erased", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM erased WHERE meeting = $1 AND node = $2", meetingID, s.self.node)
		return err
	})
}
