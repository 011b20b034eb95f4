//go:build unix

package command

import (
	"os"
	"syscall"
)

// killGroup kills p and what it started. Errors mean that it is gone.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
