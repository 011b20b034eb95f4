//go:build linux

package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"verbatim/signaling/whipclient"
)

// ServerOptions of a Server.
type ServerOptions struct {
	Binary string // bin/verbatim
	Listen string // HOST:PORT for HTTP
	Media  string // HOST:PORT for media
	Data   string // folder
	Log    string // file, appended to
	// Flags are those of `verbatim serve` besides, Env is added to the environment, of
	// which nothing counts that is called VERBATIM_….
	Flags, Env []string
	// Args are all of the program's arguments, if it is not verbatim.
	Args []string
	// Health is what Ready asks for; "": /readyz.
	Health string
	// HTTP is the client for a server with TLS; nil: it has none.
	HTTP *http.Client
	// Start starts the process where it has to run; nil: here.
	Start func(start func() error) error
}

// Server is a real one. StartServer makes it; Stop or Kill end it.
type Server struct {
	Client whipclient.Client
	health string
	cmd    *exec.Cmd
	log    *os.File
	ended  chan struct{} // closed when the process has ended
}

// StartServer starts the process. It does not serve yet: see Ready.
func StartServer(o ServerOptions) (*Server, error) {
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if o.Args == nil {
		o.Args = append([]string{"serve", "--insecure", "--listen", o.Listen, "--media-listen", o.Media, "--data", o.Data}, o.Flags...)
	}
	cmd := exec.Command(o.Binary, o.Args...) //nolint:noctx // Stop and Kill end it
	// What the environment sets is for another server, which may be one that people use.
	own := func(v string) bool { return strings.HasPrefix(v, "VERBATIM_") }
	cmd.Env = append(slices.DeleteFunc(os.Environ(), own), o.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// Ctrl-C is for us, who end it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if o.Start == nil {
		o.Start = func(start func() error) error { return start() }
	}
	if err := o.Start(cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), log.Close())
	}
	scheme := "http://"
	if o.HTTP != nil {
		scheme = "https://"
	}
	s := &Server{
		cmd: cmd, log: log, ended: make(chan struct{}), health: cmp.Or(o.Health, "/readyz"),
		Client: whipclient.Client{URL: scheme + o.Listen, HTTP: o.HTTP},
	}
	go func() {
		_ = cmd.Wait() // its log tells
		close(s.ended)
	}()
	return s, nil
}

// PID is the process's.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Ready waits until the server serves.
func (s *Server) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the server does not serve"))
	defer cancel()
	for s.Download(ctx, s.health, io.Discard) != nil {
		select {
		case <-s.ended:
			return fmt.Errorf("the server has ended; %s says why", s.log.Name())
		default:
		}
		if err := Sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%w; %s may say why", err, s.log.Name())
		}
	}
	return nil
}

// Signal sends the process a signal, Wait waits for its end and closes its log:
// together they are another Stop.
func (s *Server) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// Wait is for after Signal.
func (s *Server) Wait() {
	<-s.ended
	_ = s.log.Close() // what is in it is the process's
}

// Stop asks the server to end, and kills it when it has not within 20 s.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	kill := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	<-s.ended
	return s.log.Close()
}

// Kill ends the server with SIGKILL and waits for its end.
func (s *Server) Kill() error {
	_ = s.cmd.Process.Kill() // it may be gone
	<-s.ended
	return s.log.Close()
}

// Download copies what the server answers to a GET.
func (s *Server) Download(ctx context.Context, path string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Client.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := cmp.Or(s.Client.HTTP, http.DefaultClient).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// Sleep waits; the error is the cause of ctx's end.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
