package command

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

func recognizer(t *testing.T, role string, env ...string) *Recognizer {
	t.Helper()
	r, err := NewRecognizer([]string{os.Args[0], "last arg"}, Options{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Env: append(env, roleEnv+"="+role, "GORACE=atexit_sleep_ms=0"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, role string, env ...string) transcribe.Stream {
	t.Helper()
	s, err := recognizer(t, role, env...).Open(t.Context(), transcribe.Options{Track: "T"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// deadline bounds what must not block.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// collect reads the texts of all finals.
func collect(s transcribe.Stream) <-chan []string {
	done := make(chan []string, 1)
	go func() {
		var texts []string
		for r := range s.Results() {
			if r.Final {
				texts = append(texts, r.Text)
			}
		}
		done <- texts
	}()
	return done
}

func second(v int16) audio.Frame {
	pcm := make([]int16, 16000)
	for i := range pcm {
		pcm[i] = v
	}
	return audio.Frame{PCM: pcm}
}

// wantError checks that err says each of parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestGood(t *testing.T) {
	s := open(t, "good")
	finals := collect(s)
	ctx := deadline(t)
	for i := range 30 { // more than the pipe holds
		if err := s.Write(ctx, second(int16(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(ctx, audio.Frame{PCM: second(-3).PCM[:8000]}); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	got := <-finals
	if len(got) != 31 || got[0] != "f0 of 0" || got[29] != "f29 of 29" || got[30] != "f30 of -3" {
		t.Errorf("finals %q", got)
	}
	if err := s.Write(ctx, second(0)); err == nil {
		t.Error("written after Finish")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close after Finish: %v", err)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		role   string
		finals int
		finish bool // only Finish meets it
		want   []string
	}{
		{"dies", 1, false, []string{"recognizer test: exit status 7", "chatter | chatter | chatter | chatter | out of memory"}},
		{"dies in a line", 0, false, []string{"exit status 7"}},
		{"exits early", 0, false, []string{"exited before the end of the audio"}},
		{"garbage", 0, false, []string{"not a JSON object", "Loading model"}},
		{"huge", 0, false, []string{"longer than 1048576 bytes"}},
		{"closes stdout", 0, false, []string{"closed its output"}},
		{"fails at the end", 1, true, []string{"exit status 5: cannot flush"}},
	} {
		t.Run(c.role, func(t *testing.T) {
			s := open(t, c.role)
			finals := collect(s)
			ctx := deadline(t)
			var err error
			if c.finish {
				if err = s.Write(ctx, second(0)); err == nil {
					err = s.Finish(ctx)
				}
			} else {
				for err == nil {
					err = s.Write(ctx, second(0))
				}
			}
			wantError(t, err, c.want...)
			if got := <-finals; len(got) != c.finals {
				t.Errorf("finals %q, want %d", got, c.finals)
			}
			if !c.finish {
				wantError(t, s.Finish(ctx), c.want...)
			}
			wantError(t, s.Close(), c.want...)
			wantError(t, s.Close(), c.want...)
		})
	}
}

// Nobody writes, and the death is noticed all the same.
func TestDeathIsNoticedWithoutWriting(t *testing.T) {
	s := open(t, "dies in a line")
	<-collect(s)
	wantError(t, s.Close(), "exit status 7")
}

func TestClosedStdin(t *testing.T) {
	s := open(t, "closes stdin")
	var err error
	for ctx := deadline(t); err == nil; {
		err = s.Write(ctx, second(0))
	}
	wantError(t, err, "closed its input")
}

func TestLastLineWithoutNewline(t *testing.T) {
	s := open(t, "no newline")
	finals := collect(s)
	ctx := deadline(t)
	if err := errors.Join(s.Write(ctx, second(0)), s.Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-finals; len(got) != 1 || got[0] != "last" {
		t.Errorf("finals %q", got)
	}
}

// Neither a full pipe nor a process that ignores everything holds the caller.
func TestContextEndsWrite(t *testing.T) {
	s := open(t, "hangs")
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error)
	go func() {
		var err error
		for err == nil {
			err = s.Write(ctx, second(0))
		}
		blocked <- err
	}()
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
}

func TestCloseEndsWrite(t *testing.T) {
	s := open(t, "hangs")
	ctx := deadline(t)
	first, blocked := make(chan struct{}), make(chan error)
	go func() {
		err := s.Write(ctx, second(0))
		close(first)
		for err == nil {
			err = s.Write(ctx, second(0))
		}
		blocked <- err
	}()
	<-first
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-blocked; !errors.Is(err, errClosed) {
		t.Errorf("Write: %v", err)
	}
	if err := s.Finish(ctx); !errors.Is(err, errClosed) {
		t.Errorf("Finish after Close: %v", err)
	}
}

func TestContextEndsFinish(t *testing.T) {
	s := open(t, "hangs at the end")
	finals := collect(s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Finish(ctx)
	wantError(t, err, "not finished in time")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Finish: %v", err)
	}
	<-finals
}

func TestCloseEndsFinish(t *testing.T) {
	s := open(t, "hangs at the end")
	done := make(chan error, 1)
	go func() { done <- s.Finish(deadline(t)) }()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; !errors.Is(err, errClosed) {
		t.Errorf("Finish: %v", err)
	}
}

// A flood of results waits in the pipe, not in memory.
func TestFlood(t *testing.T) {
	s := open(t, "floods")
	<-s.Results()
	for ctx := deadline(t); len(s.Results()) < resultRoom; {
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// What a recognizer leaves behind neither outlives it nor holds Finish.
func TestChildrenDieToo(t *testing.T) {
	gone := listen(t)
	s := open(t, "leaves a child", aliveEnv+"="+gone.addr)
	finals := collect(s)
	gone.accept(t) // the recognizer
	gone.accept(t) // its child
	ctx := deadline(t)
	if err := errors.Join(s.Write(ctx, second(0)), s.Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-finals; len(got) != 1 {
		t.Errorf("finals %q", got)
	}
	gone.wait(t)
}

func TestEnvironmentAndArguments(t *testing.T) {
	t.Setenv("VERBATIM_TEST_SECRET", "secret")
	s := open(t, "tells its environment", "ENGINE_KEY=key")
	finals := collect(s)
	ctx := deadline(t)
	if err := errors.Join(s.Write(ctx, second(0)), s.Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := <-finals; len(got) != 1 || got[0] != "key//last arg" {
		t.Errorf("final %q", got)
	}
}

func TestNewRecognizer(t *testing.T) {
	if _, err := NewRecognizer(nil, Options{}); err == nil {
		t.Error("no program, no error")
	}
	_, err := NewRecognizer([]string{"./no-such-recognizer"}, Options{})
	wantError(t, err, "no-such-recognizer")
	r, err := NewRecognizer([]string{os.Args[0]}, Options{})
	if err != nil || r.name == "" {
		t.Errorf("name %q, %v", r.name, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Open(ctx, transcribe.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}

// alive knows of processes by their connections.
type alive struct {
	addr  string
	l     net.Listener
	conns []net.Conn
}

func listen(t *testing.T) *alive {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &alive{addr: l.Addr().String(), l: l}
}

func (a *alive) accept(t *testing.T) {
	t.Helper()
	c, err := a.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a.conns = append(a.conns, c)
}

// wait waits for the death of all.
func (a *alive) wait(t *testing.T) {
	t.Helper()
	for _, c := range a.conns {
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a process is still alive")
		}
	}
}
