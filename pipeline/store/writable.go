package store

import (
	"context"
	"database/sql"
)

// Writable says why the database takes no writes of this node's within ctx's time, nil
// if it does. It changes nothing.
func (s *Store) Writable(ctx context.Context) error {
	if err := s.nameTaken(); err != nil {
		return err
	}
	return s.update(ctx, "write to the database", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE meetings SET room = room WHERE id = ''`)
		return err
	})
}
