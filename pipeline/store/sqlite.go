package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

//go:embed migrations/*.sql
var migrations embed.FS

// sqliteOptions of every connection. Transactions that write take the lock at
// once, so that none fails half-way for having read before it wrote. What
// sorting spills stays in memory: a temporary file would hold words of meetings
// that are erased later.
var sqliteOptions = url.Values{
	"_txlock": {"immediate"},
	"_dqs":    {"0"},
	"_pragma": {
		"busy_timeout(5000)",
		"journal_mode(WAL)",
		"synchronous(NORMAL)",
		"foreign_keys(1)",
		"secure_delete(1)",
		"temp_store(MEMORY)",
	},
}

// Open opens the SQLite database at path, makes it if there is none, and brings
// it up to this version's schema. Erasures that were interrupted are done
// before it returns.
func Open(ctx context.Context, path string) (*Store, error) {
	db, err := openSQLite(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.prepare(ctx); err != nil {
		_ = db.Close() // what went wrong before it says more
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func openSQLite(path string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// What is said in meetings is for its owner only. SQLite gives its other
	// files the permissions of this one.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: abs, RawQuery: sqliteOptions.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	// SQLite has one writer. Queueing for it here is cheaper and fairer than in
	// its busy handler, and reads take microseconds.
	db.SetMaxOpenConns(1)
	return db, nil
}

func migrator(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true))
}

// prepare migrates the database and finishes what an earlier process began.
func (s *Store) prepare(ctx context.Context) error {
	p, err := migrator(s.db)
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
	return s.erase(ctx)
}

// durably is update for what has to survive the loss of power, with all that was
// written before it.
func (s *Store) durably(ctx context.Context, what string, f func(*sql.Tx) error) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer conn.Close() // gives it back
	// With FULL a commit waits for the write-ahead log to be on disk, and what is
	// in that before.
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() {
		if _, e := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous=NORMAL"); err == nil && e != nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}()
	return transact(ctx, conn, what, nil, f)
}
