// Package store keeps meetings, participants, tracks and segments in SQL. It is
// the only package that knows SQL.
//
// # Flow
//
//	Join ─▶ CreateTrack ─▶ Claim ─▶ Commit, Commit, … ─▶ FinishTrack
//	                  EndTrack and EndMeeting come at any time between
//
// A transcript is its own checkpoint: Commit writes the segments and moves the
// point up to which the track is spoken for in one transaction, and only for
// the process that claimed the track last. Who starts again claims the track
// and goes on from Through. So do the gaps: what is missing up to a checkpoint
// is stored with it, once.
//
// # Order
//
// Each segment gets a number that counts 1, 2, 3… in its meeting without
// holes. The counter stands in the meeting's row and moves in the transaction
// that inserts the segment, so that whoever saw number n has seen all before
// it: this is what a reader of live captions resumes by.
//
// # Locks
//
// A transaction that decides about a meeting's state writes the meeting's row
// first (see settle); it is then alone in that, in PostgreSQL as in SQLite. A
// transaction that writes a track and the meeting writes the track first.
//
// # Dialects
//
// All statements are what SQLite and PostgreSQL both understand: $1
// placeholders, RETURNING, ON CONFLICT, integers for times, text for JSON. What
// only SQLite has (its options, how bytes leave its files, and the index of
// words) is in sqlite.go, erase.go and search.go.
//
// # What it does not guarantee
//
// SQLite runs with synchronous=NORMAL: nothing is lost when the process dies,
// but the machine losing power may take the last transactions with it, whole
// ones. Segments and Through go back together then, and the audio is
// transcribed again. CreateTrack and FinishTrack are durable when they return,
// with all that was stored before: without its row nobody knows whose a track's
// audio is, and when a track is finished its audio may be removed.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"verbatim/pipeline/meeting"
)

// What callers tell apart, by errors.Is.
var (
	// ErrNotFound: there is no such meeting, participant or track.
	ErrNotFound = meeting.ErrNotFound
	// ErrNotOwner: another process claimed the track, or it is finished or gone.
	ErrNotOwner = errors.New("the track is no longer ours")
	// ErrEnded: the meeting is over and takes no more tracks.
	ErrEnded = errors.New("the meeting has ended")
	// ErrBadCursor: not a cursor that Meetings gave.
	ErrBadCursor = meeting.ErrBadCursor
)

// Store is the database. Open makes it, whoever opened it closes it; all other
// methods are safe for concurrent use.
type Store struct {
	db *sql.DB
	// erasing keeps one erasure from declaring another's bytes gone.
	erasing sync.Mutex
	outbox  atomic.Pointer[Outbox] // nil: nobody is told of anything
}

// Close closes the database. Calls that are under way fail.
func (s *Store) Close() error { return s.db.Close() }

// update runs f in a transaction that writes. what was tried stands in the
// error.
func (s *Store) update(ctx context.Context, what string, f func(*sql.Tx) error) error {
	return transact(ctx, s.db, what, nil, f)
}

// view runs f in a transaction that reads, all of it at one point in time.
func (s *Store) view(ctx context.Context, what string, f func(*sql.Tx) error) error {
	return transact(ctx, s.db, what, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
}

// beginner is a database, or one connection to it.
type beginner interface {
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

func transact(ctx context.Context, db beginner, what string, o *sql.TxOptions, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // what went wrong before it says more
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// found turns the lack of a row into ErrNotFound.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, tx *sql.Tx, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ts := []T{}
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			return nil, err
		}
		ts = append(ts, t)
	}
	return ts, rows.Err()
}

// clean makes text that every dialect stores: PostgreSQL takes neither broken
// UTF-8 nor NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// fromMicro and fromNullMicro read a time as it is stored.
func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromNullMicro(us sql.NullInt64) *time.Time {
	if !us.Valid {
		return nil
	}
	t := fromMicro(us.Int64)
	return &t
}
