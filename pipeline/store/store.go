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
// only one of them has is in a dialect: sqlite.go (and erase.go: how bytes leave its
// files), postgres.go (and words.go: its index of words). Each has migrations of its
// own; a test compares what they make.
//
// # When PostgreSQL is away
//
// Every call waits up to 8 s for a PostgreSQL that restarts, no longer than its
// context, and then returns an error; nothing is ever stored by halves. What was
// tried may have been stored all the same (the answer was lost): every call may be
// made again but Commit, which Resume is for.
//
// # What it does not guarantee
//
// SQLite runs with synchronous=NORMAL: nothing is lost when the process dies,
// but the machine losing power may take the last transactions with it, whole
// ones. Segments and Through go back together then, and the audio is
// transcribed again. CreateTrack and FinishTrack are durable when they return,
// with all that was stored before: without its row nobody knows whose a track's
// audio is, and when a track is finished its audio may be removed. In PostgreSQL all
// is durable when it returns.
//
// Bytes of what was deleted leave SQLite's files. PostgreSQL gives their room free
// (VACUUM) and writes over it when it needs it; until then they are in its files,
// and its write-ahead log, its replicas and its backups have them for as long as
// these are kept. Who needs more than that runs VACUUM FULL, and has PostgreSQL on
// a disk that is encrypted.
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
	// ErrAway: PostgreSQL does not answer.
	ErrAway = meeting.ErrAway
	// ErrMoved: the participant has a newer session, on this node or another.
	ErrMoved = meeting.ErrMoved
)

// Store is the database. Open makes it, whoever opened it closes it; all other
// methods are safe for concurrent use.
type Store struct {
	*dialect
	db *sql.DB
	// erasing keeps one erasure from declaring another's bytes gone.
	erasing sync.Mutex
	vacuum  atomic.Bool // PostgreSQL: rows were deleted
	self    self
	outbox  atomic.Pointer[Outbox] // nil: nobody is told of anything
}

// Close closes the database. Calls that are under way fail.
func (s *Store) Close() error {
	s.leaveName()
	return s.db.Close()
}

// How long a PostgreSQL that restarts is waited for, and how long one try takes at
// most: it may be that nobody answers at all.
const (
	patience   = 8 * time.Second
	tryTimeout = 10 * time.Second
	firstWait  = 50 * time.Millisecond
	lastWait   = time.Second
)

// update runs f in a transaction that writes. what was tried stands in the
// error. What passes (PostgreSQL restarts, two transactions wait for each other) is
// tried again, with f from its beginning. If it cannot be known whether a
// transaction was stored, it is run again, too: f makes sure that it changes
// nothing then.
func (s *Store) update(ctx context.Context, what string, f func(*sql.Tx) error) error {
	return s.run(ctx, what, nil, true, f)
}

// once is update for an f that must not run again when it may have been stored.
func (s *Store) once(ctx context.Context, what string, f func(*sql.Tx) error) error {
	return s.run(ctx, what, nil, false, f)
}

// view runs f in a transaction that reads, all of it at one point in time.
func (s *Store) view(ctx context.Context, what string, f func(*sql.Tx) error) error {
	return s.run(ctx, what, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, true, f)
}

// run runs f in a transaction. again says that it may be run once more although it
// may have been stored.
func (s *Store) run(ctx context.Context, what string, o *sql.TxOptions, again bool, f func(*sql.Tx) error) error {
	if !s.shared {
		if err := transact(ctx, s.db, o, f); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	began := time.Now()
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		once, cancel := context.WithTimeout(ctx, tryTimeout)
		err := transact(once, s.db, o, f)
		cancel()
		if err == nil {
			return nil
		}
		var unknown *unknownError
		if !s.passing(err) || errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ctx.Err() != nil || time.Since(began) > patience || !again && errors.As(err, &unknown) {
			return fmt.Errorf("%s: %w: %w", what, ErrAway, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w: %w", what, ErrAway, ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// unknownError: it is not known whether a transaction was stored.
type unknownError struct{ err error }

func (e *unknownError) Error() string { return e.err.Error() }
func (e *unknownError) Unwrap() error { return e.err }

// beginner is a database, or one connection to it.
type beginner interface {
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

func transact(ctx context.Context, db beginner, o *sql.TxOptions, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // what went wrong before it says more
		return why(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return &unknownError{why(ctx, err)}
	}
	return nil
}

// why is the error of a transaction, with the end of ctx in it if that has ended the
// transaction between two of its statements: the next one knows only that it is over.
func why(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
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
