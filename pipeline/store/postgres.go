package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// postgres is for one node or more.
//
// Every transaction waits until it is on the disk (synchronous_commit), not those
// alone that are durable in SQLite: a PostgreSQL that dies and comes back goes on
// under nodes that live, and that take what was said to be stored for stored. A
// database that is replicated has to wait for its replica as well
// (synchronous_standby_names), or what the replica lacks is lost when it takes over.
var postgres = dialect{
	goose:      goose.DialectPostgres,
	migrations: "postgres",
	lock:       lockPostgres,
	shared:     true,
	now:        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
	indexWords: "INSERT INTO search (words, meeting, track, n) VALUES (array_to_tsvector(string_to_array($1, ' ')), $2, $3, $4)",
	search:     "search.words @@ CAST(CAST($1 AS TEXT) AS TSQUERY)",
	words:      lexemes,
	query:      tsquery,
	durably: func(ctx context.Context, s *Store, what string, f func(*sql.Tx) error) error {
		return s.update(ctx, what, f)
	},
	deleted: func(context.Context, *sql.Tx) error { return nil },
	erase:   erasePostgres,
	passing: passingPostgres,
}

const (
	postgresConns   = 16 // of a node; PostgreSQL has 100 for all unless it is told otherwise
	connectTimeout  = 5 * time.Second
	vacuumTimeout   = 10 * time.Second
	lockTimeout     = 5 * time.Minute
	lockEvery       = 100 * time.Millisecond
	connMaxIdleTime = 5 * time.Minute
)

// afterConnect sets up a connection. A node that is cut off in the middle of a
// transaction must not keep others from what it holds.
const afterConnect = `
	SELECT set_config('idle_in_transaction_session_timeout', '15s', false),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit')
			WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)`

// lockPostgres takes the lock that goose's own programs, and earlier versions of this
// one, take to migrate. goose itself would look at the database before it takes it, and
// ask for it every few seconds only.
func lockPostgres(ctx context.Context, db *sql.DB, waits func()) (unlock func() error, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // what went wrong before it says more
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("another process has been migrating the database for %v", lockTimeout))
	defer cancel()
	for told := false; ; told = true {
		var ours bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", lock.DefaultLockID).Scan(&ours); err != nil {
			return nil, fmt.Errorf("lock the database to migrate it: %w", err)
		}
		if ours {
			return func() error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
				defer cancel()
				_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", lock.DefaultLockID)
				return errors.Join(err, conn.Close())
			}, nil
		}
		if !told {
			waits()
		}
		select {
		case <-time.After(lockEvery):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// CheckPostgres says what is wrong with a PostgreSQL for Open, as far as that can be
// known without asking it: its URL, and the files that this names, such as sslrootcert.
// Errors have no password in them.
func CheckPostgres(where string) error {
	_, err := parsePostgres(where)
	return err
}

func parsePostgres(where string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(where)
	if file := new(fs.PathError); errors.As(err, &file) {
		return nil, file
	}
	if err != nil {
		return nil, errors.New("its address is not a URL such as postgres://USER:PASSWORD@HOST/DATABASE") // the error has the password in it
	}
	return c, nil
}

func openPostgres(where string) (*sql.DB, error) {
	c, err := parsePostgres(where)
	if err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "verbatim"
	}
	db := stdlib.OpenDB(*c, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, afterConnect)
		return err
	}))
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	db.SetConnMaxIdleTime(connMaxIdleTime)
	return db, nil
}

// nameServer has the error of a connection begin with the servers that were tried, and
// tells each reason once: pgx tries the same server with and without TLS.
func nameServer(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return err
	}
	c := failed.Config
	var servers, reasons []string
	add := func(to *[]string, text string) {
		if !slices.ContainsFunc(*to, func(has string) bool { return strings.HasSuffix(has, text) }) {
			*to = append(*to, text)
		}
	}
	for _, s := range append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port}}, c.Fallbacks...) {
		_, address := pgconn.NetworkAddress(s.Host, s.Port)
		add(&servers, address)
	}
	for line := range strings.Lines(failed.Unwrap().Error()) {
		add(&reasons, strings.TrimSpace(line))
	}
	what := "cannot be reached: is it running, and is its address right?"
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		what = fmt.Sprintf("refuses user %s and database %s.", c.User, c.Database)
	}
	return fmt.Errorf("%s %s %s", strings.Join(servers, ", "), what, strings.Join(reasons, "; "))
}

// erasePostgres frees the room of what was deleted, so that it is written over.
// That it may not have happened is no error: PostgreSQL does it by itself, later.
// See the package's documentation for what is left of the bytes.
func erasePostgres(ctx context.Context, s *Store) error {
	if !s.vacuum.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, vacuumTimeout)
	defer cancel()
	_, _ = s.db.ExecContext(ctx, "VACUUM (SKIP_LOCKED) segments, search, gaps, outbox, tracks, participants, meetings")
	return nil
}

// passingCodes are errors of PostgreSQL that pass, the first two characters of a
// class of them or all five (https://www.postgresql.org/docs/current/errcodes-appendix.html).
var passingCodes = []string{
	"08",    // connection exceptions
	"40001", // serialization failure
	"40P01", // deadlock
	"53300", // too many connections
	"57P01", // it shuts down
	"57P02", // it has crashed
	"57P03", // it starts
	"25P03", // we were too slow in a transaction
	"25006", // it became a replica
}

func passingPostgres(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		for _, code := range passingCodes {
			if strings.HasPrefix(answer.Code, code) {
				return true
			}
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, context.DeadlineExceeded)
}
