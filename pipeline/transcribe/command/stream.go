package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	maxLine    = 1 << 20 // of stdout
	logLine    = 4 << 10 // of stderr; longer ones are cut to pieces
	keptLines  = 5       // of stderr, for the error
	resultRoom = 16
	// grace is what a process has to exit after it closed its stdout, and its
	// stderr to be read after it exited.
	grace = time.Second
)

var (
	errClosed = errors.New("recognizer stream is closed")
	errEnded  = errors.New("recognizer stream is finished: no audio can follow")
)

// Stream is one process. Recognizer.Open makes it; see transcribe.Stream for
// who may call what.
type Stream struct {
	name string
	log  *slog.Logger
	cmd  *exec.Cmd

	stdin, stdout, stderr *os.File // our ends

	results chan transcribe.Result
	stop    chan struct{} // closed to end the delivery of results
	exited  chan struct{} // the process is gone, and why is known
	read    chan struct{} // stdout was read to its end
	logged  chan struct{} // stderr was read to its end

	buf     []byte       // of Write
	written atomic.Int64 // samples; counted before they are written

	mu        sync.Mutex // guards what follows
	cause     error      // what went wrong first
	finishing bool       // Finish closed stdin
	killed    bool
	gone      bool // the process was waited for: its id may be another's
	tail      []string
}

var _ transcribe.Stream = (*Stream)(nil)

func start(r *Recognizer, log *slog.Logger) (*Stream, error) {
	s := &Stream{
		name: r.name, log: log,
		cmd:     &exec.Cmd{Path: r.path, Args: r.argv, Env: r.env, SysProcAttr: attributes()},
		results: make(chan transcribe.Result, resultRoom),
		stop:    make(chan struct{}),
		exited:  make(chan struct{}),
		read:    make(chan struct{}),
		logged:  make(chan struct{}),
	}
	// Own pipes: those of exec are closed by Wait, with what is still in them.
	var theirs [3]*os.File
	var ours [3]*os.File
	for i := range theirs {
		from, to, err := os.Pipe()
		if err != nil {
			closeAll(theirs[:i])
			closeAll(ours[:i])
			return nil, err
		}
		if i == 0 {
			theirs[i], ours[i] = from, to
		} else {
			theirs[i], ours[i] = to, from
		}
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	s.stdin, s.stdout, s.stderr = ours[0], ours[1], ours[2]

	started := make(chan error)
	go s.run(started)
	err := <-started
	closeAll(theirs[:])
	if err != nil {
		closeAll(ours[:])
		return nil, err
	}
	go s.deliver()
	go s.logStderr()
	return s, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // an end of a pipe: nothing is lost with it
	}
}

// run starts the process and waits for it. It keeps its thread to itself, and
// the thread lives until the process has ended: were it to end before, the
// kernel would take that for the server's death and kill the process.
func (s *Stream) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	waitErr := s.cmd.Wait()
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	// What it started and left behind would hold its pipes open.
	killGroup(s.cmd.Process)
	_ = s.stderr.SetReadDeadline(time.Now().Add(grace)) // fails only when closed
	<-s.logged

	s.mu.Lock()
	if s.cause == nil && !s.killed {
		switch {
		case waitErr != nil:
			s.cause = s.explain(waitErr.Error())
		case !s.finishing:
			s.cause = s.explain("it exited before the end of the audio")
		}
	}
	s.mu.Unlock()
	close(s.exited)
}

// explain makes an error of what happened and the last lines of stderr. s.mu
// is held.
func (s *Stream) explain(what string) error {
	if len(s.tail) > 0 {
		what += ": " + strings.Join(s.tail, " | ")
	}
	return fmt.Errorf("recognizer %s: %s", s.name, what)
}

// fail kills the process because of err.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil && !s.killed {
		s.cause = fmt.Errorf("recognizer %s: %w", s.name, err)
	}
	s.kill()
}

// kill ends the process and the delivery of its results. s.mu is held.
func (s *Stream) kill() {
	if !s.killed {
		s.killed = true
		close(s.stop)
		// Should anything that left the group still hold the other ends. These
		// fail only when our ends are closed.
		_ = s.stdin.SetWriteDeadline(time.Now())
		_ = s.stdout.SetReadDeadline(time.Now())
	}
	if !s.gone {
		killGroup(s.cmd.Process)
	}
}

func (s *Stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// deliver reads results from stdout.
func (s *Stream) deliver() {
	defer close(s.read)
	defer close(s.results)
	var p parser
	var cut bool // the line ended with the output
	lines := bufio.NewScanner(s.stdout)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		cut = atEOF && bytes.IndexByte(data, '\n') < 0
		return bufio.ScanLines(data, atEOF)
	})
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		r, ok, err := p.parse(line, s.written.Load())
		if err != nil {
			if cut { // it died in the middle of a line: let that be the cause
				s.awaitExit()
			}
			s.fail(fmt.Errorf("a line of its output is %w", err))
			return
		}
		if !ok {
			continue
		}
		select {
		case s.results <- r:
		case <-s.stop:
			return
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line of its output is longer than %d bytes", maxLine)
		}
		s.fail(err)
		return
	}
	s.mu.Lock()
	finishing := s.finishing
	s.mu.Unlock()
	if !finishing && !s.awaitExit() {
		s.fail(errors.New("it closed its output before the end of the audio"))
	}
}

// awaitExit waits a moment for the exit of a process that closed its stdout.
func (s *Stream) awaitExit() bool {
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-s.exited:
		return true
	case <-s.stop:
		return true
	case <-t.C:
		return false
	}
}

// logStderr hands every line of stderr to the log and keeps the last ones.
func (s *Stream) logStderr() {
	defer close(s.logged)
	r := bufio.NewReaderSize(s.stderr, logLine)
	for {
		b, err := r.ReadSlice('\n')
		if line := strings.ToValidUTF8(strings.TrimSpace(string(b)), "�"); line != "" {
			s.log.Info("recognizer says", "line", line)
			s.mu.Lock()
			if len(s.tail) == keptLines {
				s.tail = s.tail[1:]
			}
			s.tail = append(s.tail, line)
			s.mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Write writes the frame to the process's stdin. When ctx ends in the middle of
// it, the stream is of no use any more and its process is killed.
func (s *Stream) Write(ctx context.Context, f audio.Frame) error {
	s.mu.Lock()
	cause, killed, finishing := s.cause, s.killed, s.finishing
	s.mu.Unlock()
	switch {
	case cause != nil:
		return cause
	case killed:
		return errClosed
	case finishing:
		return errEnded
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.buf = s.buf[:0]
	for _, v := range f.PCM {
		s.buf = binary.LittleEndian.AppendUint16(s.buf, uint16(v))
	}
	s.written.Add(int64(len(f.PCM)))
	defer context.AfterFunc(ctx, func() { s.fail(ctx.Err()) })()
	_, err := s.stdin.Write(s.buf)
	if err == nil {
		return nil
	}
	// It is dead, dying, or has closed its stdin: why is known soon.
	if !s.awaitExit() {
		s.fail(errors.New("it closed its input before the end of the audio"))
	}
	if err := s.failure(); err != nil {
		return err
	}
	return errClosed
}

// Results delivers what the process says.
func (s *Stream) Results() <-chan transcribe.Result { return s.results }

// Finish closes the process's stdin and waits until it has exited. Results
// must be read meanwhile. When ctx ends, the process is killed.
func (s *Stream) Finish(ctx context.Context) error {
	s.mu.Lock()
	s.finishing = true
	closed := s.killed && s.cause == nil
	s.mu.Unlock()
	if closed {
		return errClosed
	}
	defer context.AfterFunc(ctx, func() { s.fail(fmt.Errorf("not finished in time: %w", ctx.Err())) })()
	_ = s.stdin.Close() // the end of a pipe: nothing is lost with it
	<-s.exited
	<-s.read
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil && s.killed {
		return errClosed
	}
	return s.cause
}

// Close kills the process if it still runs, and waits for everything to end.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.kill()
	s.mu.Unlock()
	closeAll([]*os.File{s.stdin}) // a Write that blocks returns
	<-s.exited
	closeAll([]*os.File{s.stdout, s.stderr}) // whoever still holds the other end
	<-s.read
	<-s.logged
	return s.failure()
}
