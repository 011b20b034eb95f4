package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"verbatim/internal/certs"
	"verbatim/internal/netlimit"
	"verbatim/signaling"
)

// tlsFlags are about the way to the server: its certificates, or the proxy that
// has them.
type tlsFlags struct {
	TLSCert       string         `name:"tls-cert" help:"File with the TLS certificate and those that lead to its root (PEM); read again when it changes." type:"path" placeholder:"FILE" group:"HTTPS"`
	TLSKey        string         `name:"tls-key" help:"File with its private key (PEM)." type:"path" placeholder:"FILE" group:"HTTPS"`
	ACMEDomain    []string       `name:"acme-domain" help:"Name of this server, for which it gets a certificate itself (Let's Encrypt; may be repeated). From outside, --listen must be port 443, or --acme-http port 80." placeholder:"NAME" group:"HTTPS"`
	ACMEHTTP      string         `name:"acme-http" help:"Address for plain HTTP, where browsers are sent to https and the certificate's authority may look." placeholder:":80" group:"HTTPS"`
	ACMEDirectory string         `name:"acme-directory" help:"Another authority than Let's Encrypt: the URL of its directory." placeholder:"URL" group:"HTTPS"`
	ACMEEmail     string         `name:"acme-email" help:"Address that the authority may write to." placeholder:"NAME@HOST" group:"HTTPS"`
	BehindProxy   bool           `help:"A reverse proxy speaks HTTPS for this server. What it says of its clients (X-Forwarded-For, -Host, -Proto) is believed if it is on this machine, or in --trusted-proxy." group:"HTTPS"`
	TrustedProxy  []netip.Prefix `help:"Where proxies are that are believed, instead of this machine (may be repeated)." placeholder:"CIDR" group:"HTTPS"`
}

// proxied tells whether a proxy is in front of the server.
func (f *tlsFlags) proxied() bool { return f.BehindProxy || len(f.TrustedProxy) > 0 }

// proxies are those that are believed.
func (f *tlsFlags) proxies() []netip.Prefix {
	if f.BehindProxy && len(f.TrustedProxy) == 0 {
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return f.TrustedProxy
}

// host is the name for which the server has a certificate, as far as flags say it.
func (f *tlsFlags) host() string {
	if len(f.ACMEDomain) > 0 {
		return f.ACMEDomain[0]
	}
	return "localhost"
}

// own says whether an address is this machine's, or a proxy's: behind those are many.
func (f *tlsFlags) own(ip netip.Addr) bool {
	return ip.IsLoopback() || slices.ContainsFunc(f.proxies(), func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Check implements checker.
func (f *tlsFlags) Check(context.Context) error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key belong together")
	case f.TLSCert != "" && len(f.ACMEDomain) > 0:
		return errors.New("the certificate comes either from --tls-cert or by --acme-domain")
	case len(f.ACMEDomain) == 0 && (f.ACMEHTTP != "" || f.ACMEDirectory != "" || f.ACMEEmail != ""):
		return errors.New("--acme-http, --acme-directory and --acme-email need --acme-domain")
	case f.TLSCert != "":
		if _, err := certs.ReadFiles(f.TLSCert, f.TLSKey, slog.New(slog.DiscardHandler)); err != nil {
			return fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
	}
	return nil
}

// tlsSetup is how the server does HTTPS.
type tlsSetup struct {
	config *tls.Config               // nil: it does not
	obtain func(ctx context.Context) // gets the certificates, once the server is listening
	stop   func() error              // ends what serves beside it
}

// setup reads or gets the certificates. Whoever comes to what serves beside the server
// passes the door.
func (f *tlsFlags) setup(ctx context.Context, data string, door *netlimit.Limiter, log *slog.Logger) (t tlsSetup, err error) {
	if err := f.Check(ctx); err != nil {
		return t, err
	}
	t = tlsSetup{obtain: func(context.Context) {}, stop: func() error { return nil }}
	switch {
	case f.TLSCert != "":
		files, err := certs.ReadFiles(f.TLSCert, f.TLSKey, log)
		if err != nil {
			return t, err
		}
		t.config = files.Config()
		return t, nil
	case len(f.ACMEDomain) == 0:
		return t, nil
	}
	a := certs.NewACME(certs.ACMEOptions{
		Domains: f.ACMEDomain, Directory: f.ACMEDirectory, Email: f.ACMEEmail, Cache: filepath.Join(data, "acme"),
	})
	if f.ACMEHTTP != "" {
		if t.stop, err = servePlain(ctx, f.ACMEHTTP, a.Handler(), door, log); err != nil {
			return t, fmt.Errorf("--acme-http: %w", err)
		}
	}
	t.config, t.obtain = a.Config(), func(ctx context.Context) { a.Obtain(ctx, log) }
	return t, nil
}

// servePlain serves HTTP until stop is called.
func servePlain(ctx context.Context, addr string, h http.Handler, door *netlimit.Limiter, log *slog.Logger) (stop func() error, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: signaling.ErrorLog(log),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(door.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("plain HTTP is not served any more", "err", err)
		}
	})
	return func() error {
		err := srv.Close()
		wg.Wait()
		return err
	}, nil
}

// warn says what will not work for people who come from other machines.
func (f *tlsFlags) warn(c *tls.Config, l net.Addr, loopback bool, log *slog.Logger) {
	if c == nil && !loopback && !f.proxied() {
		log.Warn("without HTTPS, browsers on other machines give pages no microphone: use --tls-cert, --acme-domain, or a reverse proxy and --behind-proxy",
			"listen", l.String())
	}
}
