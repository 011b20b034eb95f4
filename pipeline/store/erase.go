package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
)

// How deleted bytes leave SQLite's files.
//
// secure_delete overwrites deleted rows with zeros where they stand. That is
// not all: when SQLite moves rows between pages to keep its trees balanced, it
// leaves copies in the space between a page's cell pointers and its cells,
// where secure_delete never looks again (measured: words of 1 to 3 of 20
// deleted meetings were still in the file). And the write-ahead log keeps pages
// as they were. So erase zeroes that space in all pages, then writes the log
// back and truncates it.
//
// SQLite's defragmentation zeroes the same space, so nothing reads it. It is
// done a few pages at a time, between which others get their turn: rows that
// move meanwhile are living ones, so that a page that was done stays clean of
// what was deleted before. VACUUM would do as well, but keep everyone waiting
// while it writes the whole database twice.

// A Delete raises this in SQLite's own header, in its transaction; erase lowers
// it when the bytes are gone. So an erasure survives a crash.
const (
	markErase   = "PRAGMA user_version = 1"
	unmarkErase = "PRAGMA user_version = 0"
)

// scrubPages is how many pages are scrubbed in one transaction: about
// two milliseconds.
const scrubPages = 128

// errBusy: someone else has the database open and reads from its log.
var errBusy = errors.New("erased, but another process that reads the database keeps bytes of it in the write-ahead log: close it and erase again")

// markDeleted says in the transaction that deletes what eraseSQLite is to do.
func markDeleted(ctx context.Context, tx *sql.Tx) error {
	// Words stay in the index as separators until it is built anew, which takes
	// 0.6 s for a hundred hours of meetings.
	if _, err := tx.ExecContext(ctx, "INSERT INTO search (search) VALUES ('rebuild')"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, markErase)
	return err
}

// eraseSQLite makes the bytes of what was deleted leave the disk. It does nothing
// when nothing was deleted.
func eraseSQLite(ctx context.Context, s *Store) error {
	var marked int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&marked); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if marked == 0 {
		return nil
	}
	var pages int64
	if err := s.db.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	for first := int64(1); first <= pages; first += scrubPages {
		err := s.update(ctx, "erase", func(tx *sql.Tx) error {
			return scrub(ctx, tx, first, min(first+scrubPages-1, pages))
		})
		if err != nil {
			return err
		}
	}
	var busy, inLog, done int
	if err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inLog, &done); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if busy != 0 {
		return errBusy
	}
	if _, err := s.db.ExecContext(ctx, unmarkErase); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	return nil
}

// scrub zeroes the unused space of the pages from first to last.
func scrub(ctx context.Context, tx *sql.Tx, first, last int64) error {
	read, err := tx.PrepareContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = $1")
	if err != nil {
		return err
	}
	defer read.Close()
	for n := first; n <= last; n++ {
		var page []byte
		err := read.QueryRowContext(ctx, n).Scan(&page)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // the file has become shorter
		}
		if err != nil {
			return err
		}
		gap := unused(page, n == 1)
		if len(bytes.Trim(gap, "\x00")) == 0 {
			continue
		}
		clear(gap)
		if _, err := tx.ExecContext(ctx, "UPDATE sqlite_dbpage SET data = $1 WHERE pgno = $2", page, n); err != nil {
			return err
		}
	}
	return nil
}

// unused is the part of a page between its cell pointers and its cells: nil
// for what is not a page of a tree. (https://www.sqlite.org/fileformat2.html,
// 1.6) Overflow and free pages begin with a page number, so that their first
// byte is below 2 in files of less than 2^25 pages, 128 GiB.
func unused(page []byte, first bool) []byte {
	header := 0
	if first {
		header = 100 // the file's own header
	}
	if len(page) < header+12 {
		return nil
	}
	from := header
	switch page[header] {
	case 2, 5: // interior pages of indexes and tables
		from += 12
	case 10, 13: // leaves
		from += 8
	default:
		return nil
	}
	from += 2 * int(binary.BigEndian.Uint16(page[header+3:]))
	to := int(binary.BigEndian.Uint16(page[header+5:]))
	if to == 0 {
		to = 65536
	}
	if from >= to || to > len(page) {
		return nil
	}
	return page[from:to]
}
