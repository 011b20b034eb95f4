//go:build linux

package main

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The network and the servers come before all else that the machine does, so
// that what is measured is the program and not the machine. What a thread
// starts, threads and processes, inherits its priority.
const (
	networkFirst = 2
	serversNext  = 1
	sendersNice  = -15 // Chromium; our own sender is part of this program
)

// realtime puts the calling thread before all ordinary ones.
func realtime(priority uint32) error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: uint32(unsafe.Sizeof(unix.SchedAttr{})), Policy: unix.SCHED_RR, Priority: priority,
	}, 0)
}

// startOrdinary starts a process that is not to be in the way of the rest.
func startOrdinary(cmd *exec.Cmd, nice int32) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.SchedSetAttr(0, &unix.SchedAttr{
			Size: uint32(unsafe.Sizeof(unix.SchedAttr{})), Policy: unix.SCHED_NORMAL, Nice: nice,
		}, 0)
		if err == nil {
			err = cmd.Start()
		}
		result <- err
	}()
	return <-result
}
