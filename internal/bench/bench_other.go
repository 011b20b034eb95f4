//go:build !linux

package bench

import (
	"context"
	"errors"
)

// Run fails: it needs /proc and CPU affinity.
func Run(context.Context, Config) error {
	return errors.New("bench runs on Linux only: it gives server and load CPUs of their own, and reads /proc")
}
