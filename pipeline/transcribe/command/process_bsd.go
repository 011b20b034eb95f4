//go:build unix && !linux

package command

import "syscall"

// attributes put the process into a group of its own; when the server dies, it
// ends by the end of its stdin.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
