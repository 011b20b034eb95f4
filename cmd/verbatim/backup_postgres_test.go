//go:build postgres

package main

import (
	"strings"
	"testing"

	"verbatim/internal/pgtest"
)

func TestBackupPostgres(t *testing.T) {
	c := pgtest.Start(t)
	_, files, _ := strings.Cut(operation(t, "VACUUM INTO"), "tar ") // without SQLite's line
	save := []string{`mkdir -m 700 "$BACKUP"`, operation(t, "pg_dump"), "tar " + files}
	backup(t, save, func() string { return c.URL(c.Database("")) })
}
