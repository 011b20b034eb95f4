package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// dialect is what SQLite and PostgreSQL do not have in common.
type dialect struct {
	goose      goose.Dialect
	migrations string // their folder
	// lock has one process at a time migrate, until unlock; waits is called if it has to
	// wait. nil: nobody else may be there.
	lock func(ctx context.Context, db *sql.DB, waits func()) (unlock func() error, err error)
	// shared: other processes use the database too.
	shared bool
	// now is an expression: the time in microseconds by the database's clock.
	now string
	// indexWords takes what words makes of a text, the meeting, the track and n; search
	// is the condition for $1, which query makes of the words that are looked for.
	indexWords, search string
	words              func(text string) string
	query              func(words []string) string
	// durably is update for what has to survive the loss of power, with all that was
	// written before it.
	durably func(ctx context.Context, s *Store, what string, f func(*sql.Tx) error) error
	// deleted is called in the transaction that deleted a meeting's rows, erase after
	// it and by Open.
	deleted func(ctx context.Context, tx *sql.Tx) error
	erase   func(ctx context.Context, s *Store) error
	// passing says that an error is of the connection or of what others did, and not
	// of what was asked for.
	passing func(err error) bool
}

// Open opens the database at where: the path of a SQLite database, which it makes
// if there is none, or postgres://…, a URL or what else PostgreSQL's libpq takes
// after that. It brings it up to this version's schema; of several that open one
// PostgreSQL one does that, and the others wait, which OnWait tells of. Erasures that
// were interrupted are done before it returns. Errors have no password in them.
func Open(ctx context.Context, where string, options ...Option) (*Store, error) {
	o := openOptions{waits: func() {}}
	for _, option := range options {
		option(&o)
	}
	s, name := &Store{dialect: &sqlite, self: self{deadAfter: deadAfter}}, where
	open := openSQLite
	if IsPostgres(where) {
		s.dialect, open, name = &postgres, openPostgres, "PostgreSQL"
	}
	db, err := open(where)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	s.db = db
	if err := s.prepare(ctx, o.waits); err != nil {
		_ = db.Close() // what went wrong before it says more
		return nil, fmt.Errorf("open %s: %w", name, nameServer(err))
	}
	return s, nil
}

// Option is one of Open.
type Option func(*openOptions)

type openOptions struct{ waits func() }

// OnWait has Open call f, once, when it has to wait for another process that brings
// the database up to its version.
func OnWait(f func()) Option { return func(o *openOptions) { o.waits = f } }

// IsPostgres says whether Open takes where for a PostgreSQL.
func IsPostgres(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

func (d *dialect) migrator(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+d.migrations)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(d.goose, db, dir, goose.WithDisableGlobalRegistry(true))
}

// prepare migrates the database and finishes what an earlier process began.
func (s *Store) prepare(ctx context.Context, waits func()) (err error) {
	if s.lock != nil {
		unlock, lerr := s.lock(ctx, s.db, waits)
		if lerr != nil {
			return lerr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	p, err := s.migrator(s.db)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	is, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if is > knows {
		return fmt.Errorf("the database has schema %d, this version knows up to %d: use the version that wrote it, or a newer one", is, knows)
	}
	return s.erase(ctx, s)
}
