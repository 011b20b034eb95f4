package certs

import (
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME gets certificates from a certificate authority and renews them (RFC 8555),
// a month before they end. Make it with NewACME.
type ACME struct{ m autocert.Manager }

// ACMEOptions of an ACME.
type ACMEOptions struct {
	Domains   []string // for these alone
	Directory string   // URL of the authority's; "": Let's Encrypt's
	Email     string   // that the authority may write to; may be empty
	Cache     string   // folder for keys and certificates; it is made if need be
}

// NewACME agrees to the authority's terms of service. It asks for nothing before
// the first handshake for a name, which waits for its certificate.
func NewACME(o ACMEOptions) *ACME {
	a := &ACME{autocert.Manager{
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
