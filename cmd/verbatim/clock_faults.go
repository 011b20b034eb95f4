//go:build faults

package main

import (
	"log/slog"
	"os"
	"strings"
	"time"
)

// wallTime is the wall clock, as it would be had somebody set it by the duration
// in the file that $VERBATIM_FAULT_CLOCK names. It is for tests of the program.
func wallTime() time.Time {
	path := os.Getenv("VERBATIM_FAULT_CLOCK")
	if path == "" {
		return time.Now()
	}
	b, err := os.ReadFile(path)
	if err != nil {
		slog.Error("the clock's fault cannot be read", "err", err)
		return time.Now()
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil {
		slog.Error("the clock's fault cannot be read", "err", err)
	}
	return time.Now().Add(d)
}
