package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof" // it registers itself on http.DefaultServeMux, which nothing here serves
	"time"

	"verbatim/internal/loopback"
)

// adminFlags are about those who run the server.
type adminFlags struct {
	Admin         string `help:"Address of its own for those who run the server: /metrics, which then leaves --listen, /healthz, /readyz, and profiles (/debug/pprof). Loopback only, as profiles hold what is said." placeholder:"HOST:PORT" group:"Operations"`
	InsecureAdmin bool   `help:"Have --admin on another address than loopback although anyone who reaches it can read the server's memory. Let a firewall keep it to yourself." group:"Operations"`
}

// Check implements checker.
func (a *adminFlags) Check(ctx context.Context) error {
	if a.Admin == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(a.Admin)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	}
	if err != nil {
		return fmt.Errorf("--admin: %w; want HOST:PORT, such as 127.0.0.1:9090", err)
	}
	if !a.InsecureAdmin && !loopback.Name(host) {
		return errAdmin(a.Admin)
	}
	return nil
}

func errAdmin(address string) error {
	return fmt.Errorf("--admin: %s can be reached from other machines, and profiles hold what is said; "+
		"give an address such as 127.0.0.1:9090, or say --insecure-admin if a firewall keeps others away", address)
}

// admin is the HTTP server on the address of --admin.
type admin struct {
	l        net.Listener // nil: there is none
	loopback bool
}

// listenAdmin opens the address.
func (a *adminFlags) listenAdmin(ctx context.Context) (admin, error) {
	if a.Admin == "" {
		return admin{}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.Admin)
	if err != nil {
		return admin{}, fmt.Errorf("--admin: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	loopback := ok && addr.IP.IsLoopback()
	if !loopback && !a.InsecureAdmin {
		return admin{}, errors.Join(errAdmin(l.Addr().String()), l.Close())
	}
	return admin{l: l, loopback: loopback}, nil
}

// close closes the address, for errors before serve.
func (a admin) close() {
	if a.l != nil {
		_ = a.l.Close() // nothing was read or written
	}
}

// serve answers until it is closed.
func (a admin) serve(metrics, healthz, readyz http.Handler) (closeIt func() error) {
	if a.l == nil {
		return func() error { return nil }
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /healthz", healthz)
	mux.Handle("GET /readyz", readyz)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	var h http.Handler = mux
	if a.loopback {
		h = ownName(h)
	}
	// No deadline for answers: a profile takes as long as it was asked for.
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(a.l) }()
	return func() error {
		err := srv.Close()
		if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}
}

// ownName refuses requests to other names than this machine's own: a page of
// another site could have had its name resolved to this address (DNS rebinding).
func ownName(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback.Name(r.Host) {
			http.Error(w, "ask for localhost", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}
