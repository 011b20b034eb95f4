package certs

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME gets certificates from a certificate authority and renews them (RFC 8555),
// a month before they end. Make it with NewACME.
type ACME struct {
	m       autocert.Manager
	domains []string
}

// ACMEOptions of an ACME.
type ACMEOptions struct {
	Domains   []string // for these alone
	Directory string   // URL of the authority's; "": Let's Encrypt's
	Email     string   // that the authority may write to; may be empty
	Cache     string   // folder for keys and certificates; it is made if need be
}

// NewACME agrees to the authority's terms of service. It asks for nothing before
// Obtain, or the first handshake for a name, which waits for its certificate.
func NewACME(o ACMEOptions) *ACME {
	a := &ACME{domains: o.Domains, m: autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(o.Cache), HostPolicy: autocert.HostWhitelist(o.Domains...), Email: o.Email,
	}}
	if o.Directory != "" {
		a.m.Client = &acme.Client{DirectoryURL: o.Directory}
	}
	return a
}

// Config is for a server that shows the certificates, and answers the challenge
// of the authority on its own port (TLS-ALPN-01, RFC 8737): that must be 443 for
// the outside. TLS 1.2 and up, for HTTP/2 and 1.1.
func (a *ACME) Config() *tls.Config {
	c := a.m.TLSConfig()
	c.MinVersion = tls.VersionTLS12
	return c
}

// Handler is for HTTP on port 80: it answers the authority's challenges there
// (HTTP-01) and sends everyone else to https, which must be on port 443. It must
// be made before the first handshake.
func (a *ACME) Handler() http.Handler {
	h := a.m.HTTPHandler(nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.Host); err == nil { // an authority on a test machine uses another port
			r = r.Clone(r.Context())
			r.Host = host
		}
		h.ServeHTTP(w, r)
	})
}

// Obtain gets the certificates that are not in the cache, one after the other, so
// that the first people need not wait for them, and tells the operator if one
// cannot be had. The server must be listening: the authority looks at it. It
// returns when ctx ends; what is on the way by then ends by itself in five
// minutes at most.
func (a *ACME) Obtain(ctx context.Context, log *slog.Logger) {
	for _, name := range a.domains {
		done := make(chan error, 1)
		go func() {
			_, err := a.m.GetCertificate(&tls.ClientHelloInfo{
				ServerName:       name,
				SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
				SupportedCurves:  []tls.CurveID{tls.CurveP256},
				CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			})
			done <- err
		}()
		select {
		case <-ctx.Done():
			return
		case err := <-done:
			if err != nil {
				log.Warn("no TLS certificate: does the name lead to this server, and can port 443 (or, with --acme-http, 80) be reached from outside? The next handshake after a minute tries again",
					"name", name, "err", err)
				continue
			}
			log.Info("the TLS certificate is there", "name", name)
		}
	}
}
