//go:build sqlite3

package main

import "testing"

func TestBackup(t *testing.T) {
	backup(t, []string{operation(t, "VACUUM INTO")}, func() string { return "" })
}
