//go:build !faults

package main

import "time"

// wallTime is the wall clock.
func wallTime() time.Time { return time.Now() }
