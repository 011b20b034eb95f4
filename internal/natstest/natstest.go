// Package natstest runs real NATS servers inside of tests.
package natstest

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server on loopback. The test's end stops it.
type Server struct {
	URL  string
	Opts *server.Options
	t    testing.TB
	s    *server.Server // nil while it is stopped
}

// New starts a server with the given change of its options, if any.
func New(t testing.TB, change func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, Opts: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}}
	if change != nil {
		change(s.Opts)
	}
	t.Cleanup(s.Stop)
	s.Start()
	return s
}

// JetStream is a change of options: streams are kept in a folder.
func JetStream(dir string) func(*server.Options) {
	return func(o *server.Options) { o.JetStream, o.StoreDir = true, dir }
}

// Cluster starts n servers that know each other.
func Cluster(t testing.TB, n int) (all []*Server) {
	t.Helper()
	var routes []*url.URL
	for range n {
		s := New(t, func(o *server.Options) {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
			o.Routes = routes
		})
		routes = append(routes, &url.URL{Scheme: "nats", Host: s.s.ClusterAddr().String()})
		all = append(all, s)
	}
	for _, s := range all {
		for s.s.NumRoutes() < n-1 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return all
}

// Start starts the server again, where it was.
func (s *Server) Start() {
	s.t.Helper()
	var err error
	for range 100 {
		o := s.Opts.Clone()
		if s.s, err = server.NewServer(o); err != nil {
			s.t.Fatal(err)
		}
		s.s.Start()
		if s.s.ReadyForConnections(10 * time.Second) {
			s.URL = s.s.ClientURL()
			_, port, _ := net.SplitHostPort(s.s.Addr().String())
			s.Opts.Port, _ = strconv.Atoi(port)
			return
		}
		s.Stop()
	}
	s.t.Fatal("the NATS server does not start")
}

// Stop ends the server, as if it were killed: clients learn of it by their
// connections.
func (s *Server) Stop() {
	if s.s == nil {
		return
	}
	s.s.Shutdown()
	s.s.WaitForShutdown()
	s.s = nil
}

// Connect makes a connection as the program makes them, but quicker to come back.
// The test's end closes it.
func Connect(t testing.TB, urls string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(urls, nats.NoEcho(), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(20*time.Millisecond, 20*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.Timeout(time.Second), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
