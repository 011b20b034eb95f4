package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"verbatim/pipeline/transcribe"
)

// Host is what the engine under test gets of its process: the network in
// memory, on which every address leads to the scripted server, and an
// environment.
func (s *Script) Host(env map[string]string) transcribe.Host {
	return transcribe.Host{
		Logger: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
		Dial:   s.dial,
		Getenv: func(name string) string { return env[name] },
	}
}

// Listener is the server's end of the network.
func (s *Script) Listener() net.Listener { return s.net }

// Serve serves HTTP on the network until the test ends.
func (s *Script) Serve(h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.t.Output(), nil), slog.LevelInfo),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(s.net) // returns when it is closed
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		s.net.Close()
		<-ended
	})
}

func (s *Script) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.Refused() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, syscall.ECONNREFUSED)}
	}
	return s.net.dial(ctx)
}

// Refused reports whether the next attempt to reach the server is to fail. Host
// asks it at every Dial; only engines that have no network must.
func (s *Script) Refused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.realTime {
		return s.fault == Refuses && (s.dials == 1 || s.dials == 3)
	}
	return s.fault == Refuses && (s.dials <= 3 || s.dials >= 5 && s.dials <= 7)
}

// network is pipes from dial to Accept.
type network struct {
	pipes  chan net.Conn
	closed chan struct{}

	mu   sync.Mutex // guards what follows
	once bool       // closed
	open []net.Conn // the server's ends
}

func newNetwork() *network {
	return &network{pipes: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	n.mu.Lock()
	n.open = append(n.open, server)
	n.mu.Unlock()
	select {
	case n.pipes <- server:
		return client, nil
	case <-n.closed:
		return nil, errors.New("the network is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.pipes:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It closes all connections, too.
func (n *network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.once {
		n.once = true
		close(n.closed)
	}
	for _, c := range n.open {
		_ = c.Close() // a pipe
	}
	return nil
}

// Addr implements net.Listener.
func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }
