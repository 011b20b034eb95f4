package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

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

// sqlite is for one node, which needs nothing installed.
var sqlite = dialect{
	goose:      goose.DialectSQLite3,
	migrations: "sqlite",
	now:        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
	indexWords: "INSERT INTO search (text, meeting, track, n) VALUES ($1, $2, $3, $4)",
	search:     "search MATCH $1",
	words:      func(text string) string { return text },
	query:      fts5,
	durably:    durablySQLite,
	deleted:    markDeleted,
	erase:      eraseSQLite,
	passing:    func(error) bool { return false },
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

func durablySQLite(ctx context.Context, s *Store, what string, f func(*sql.Tx) error) (err error) {
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
	if err := transact(ctx, conn, nil, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// fts5 is a search in FTS5's language: each word quoted, so that none is an
// operator of it.
func fts5(words []string) string { return `"` + strings.Join(words, `" "`) + `"*` }
