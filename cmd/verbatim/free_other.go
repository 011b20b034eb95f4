//go:build !linux && !darwin

package main

import (
	"io/fs"
	"math"
)

// freeSpace is not known on this system.
func freeSpace(string) (int64, error) { return math.MaxInt64, nil }

// maxFiles is not known on this system.
func maxFiles() int { return math.MaxInt32 }

// writable is not known on this system.
func writable(string) error { return nil }

// readers are not known on this system.
func readers(fs.FileInfo) string { return "" }
