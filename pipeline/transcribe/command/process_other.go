//go:build !unix

package command

import (
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

// killGroup kills p. Errors mean that it is gone.
func killGroup(p *os.Process) { _ = p.Kill() }
