//go:build linux || darwin

package main

import (
	"io/fs"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeSpace is what is free for this process on the disk of a folder, in bytes.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // other systems have other types
}

// maxFiles is how many files this process may have open, connections among them: Go
// has raised that to what the system allows (package os).
func maxFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return math.MaxInt32
	}
	return int(min(r.Cur, math.MaxInt32))
}

// writable says why this process cannot write to a folder.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }

// readers says who can read a file that do not have to. A group may have to: a file of
// root's and a service's group (0640) is how a service is given what it must not change.
func readers(st fs.FileInfo) string {
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch mode := st.Mode().Perm(); {
	case mode&0o004 != 0:
		return "everybody"
	case mode&0o040 != 0 && ok && int(sys.Uid) == os.Geteuid():
		return "its group"
	}
	return ""
}
