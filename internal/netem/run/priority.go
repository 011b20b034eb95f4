//go:build linux

package main

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The network, the servers and the senders come before all else that the machine
// does, so that what is measured is the program and not the machine. (Niceness
// is of no use: where the kernel groups processes by session, it only counts
// within one.) What a thread starts, threads and processes, inherits its
// priority.
const (
	ordinary     = 0
	chromiumLast = 1
	serversNext  = 2
	networkFirst = 3 // with our own sender, which is in the same process
)

// prioritize gives the calling thread a real-time priority, or none.
func prioritize(priority uint32) error {
	a := unix.SchedAttr{Size: uint32(unsafe.Sizeof(unix.SchedAttr{})), Policy: unix.SCHED_RR, Priority: priority}
	if priority == ordinary {
		a.Policy = unix.SCHED_NORMAL
	}
	return unix.SchedSetAttr(0, &a, 0)
}

// startAt starts a process with a priority.
func startAt(priority uint32, cmd *exec.Cmd) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := prioritize(priority)
		if err == nil {
			err = cmd.Start()
		}
		result <- err
	}()
	return <-result
}
