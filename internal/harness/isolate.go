//go:build linux

// Package harness is what the programs share that try the real server out
// (make netem, make faults): namespaces in which nothing outlives them, the
// server as a process, a line that says how far they are, and tables in
// Markdown files.
//
// A Server is used by one goroutine at a time but for Client and Memory. No
// goroutine stays behind.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside is the first argument of a program that Isolate has started again.
const inside = "inside"

// Isolate runs the program in PID and mount namespaces of its own, in which it
// is root, and in further ones that flags name (unix.CLONE_NEWNET). To this end
// it starts the program again and waits for it; program is called in that one,
// with the arguments of the first. Whatever ends either, all processes and
// mounts within end with it. program's context ends with Ctrl-C and SIGTERM.
//
// The error is program's; or an *exec.ExitError, whose reason was told already.
func Isolate(flags uintptr, args []string, program func(ctx context.Context, args []string) error) error {
	if len(args) > 0 && args[0] == inside {
		// Mounts stay in here, and /proc must be that of this PID namespace.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make the mounts private: %w", err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return program(ctx, args[1:])
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, for namespaces and mounts: try sudo")
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	self, err := os.Executable()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	cmd := &exec.Cmd{
		Path: self, Args: append([]string{self, inside}, args...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: flags | unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may be gone
		}
	}()
	return cmd.Wait()
}

// Progress writes over the last line on a terminal, and a line else.
func Progress(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if OnTerminal() {
		fmt.Fprintf(os.Stderr, "\r\033[K%s", text)
		return
	}
	fmt.Fprintln(os.Stderr, text)
}

// OnTerminal tells whether Progress writes to a terminal.
func OnTerminal() bool {
	st, err := os.Stderr.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
