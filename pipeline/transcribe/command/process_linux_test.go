package command

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"verbatim/pipeline/transcribe"
)

// A recognizer that hangs would not notice the end of its stdin.
func TestRecognizersDieWithTheServer(t *testing.T) {
	gone := listen(t)
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), roleEnv+"=server", "SERVER_ALIVE="+gone.addr)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	gone.accept(t)
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone.wait(t)
	if err := server.Wait(); err == nil {
		t.Error("the server was not killed")
	}
}

// The end of the thread that called Open is not the server's death.
func TestRecognizersOutliveThreads(t *testing.T) {
	r := recognizer(t, "good")
	opened := make(chan transcribe.Stream)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		s, err := r.Open(t.Context(), transcribe.Options{})
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	s := <-opened
	<-exited
	defer s.Close()
	finals := collect(s)
	ctx := deadline(t)
	for range 5 {
		runtime.GC()
		if err := s.Write(ctx, second(0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-finals; len(got) != 5 {
		t.Errorf("finals %q", got)
	}
}

func TestNoZombies(t *testing.T) {
	for _, role := range []string{"hangs", "dies", "leaves a child"} {
		_ = open(t, role).Close()
	}
	// Tests run one after the other: no child is another's.
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("wait4 = %d, %v, want no child", pid, err)
	}
}
