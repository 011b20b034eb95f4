//go:build postgres

package main

import (
	"strings"
	"testing"

	"verbatim/internal/pgtest"
)

func TestBackupPostgres(t *testing.T) {
	c := pgtest.Start(t)
	files := operation(t, "VACUUM INTO") // but for SQLite's line
	files = files[strings.Index(files, "tar -C"):]
	save := []string{`mkdir -m 700 "$BACKUP"`, operation(t, "pg_dump"), files}
	backup(t, save, func() string { return c.URL(c.Database("")) })
}
