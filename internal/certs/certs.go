// Package certs has the TLS certificates of a server: from files, read again when
// they change, or by ACME.
//
// It starts no goroutine: what is to be done is done by the handshakes.
package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often handshakes look whether files have changed.
const lookEvery = time.Second

// Files is a certificate and its key in two PEM files. Handshakes call it
// concurrently.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex // guards what follows
	looked time.Time
	seen   [2]version
	pair   *tls.Certificate
}

// version tells one state of a file from the next.
type version struct {
	at   time.Time
	size int64
}

// ReadFiles reads the certificate, with those that lead to its root, and its key.
func ReadFiles(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log, looked: time.Now()}
	f.seen = f.versions()
	var err error
	f.pair, err = f.load()
	return f, err
}

// Config is for a server that shows the present certificate: TLS 1.2 and up, for
// HTTP/2 and 1.1. Connections that there are go on when the files change.
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil },
	}
}

// get is the present certificate. A pair of files that is broken, or half
// written, is told once; the one before it stays.
func (f *Files) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.looked) < lookEvery {
		return f.pair
	}
	f.looked = now
	seen := f.versions()
	if seen == f.seen {
		return f.pair
	}
	f.seen = seen
	pair, err := f.load()
	if err != nil {
		f.log.Warn("the TLS certificate has changed and is of no use; the one before it stays", "err", err)
		return f.pair
	}
	f.pair = pair
	f.log.Info("the TLS certificate was read again", "not_after", pair.Leaf.NotAfter)
	return pair
}

// versions are what the files are like, the zero value for one that is not there.
func (f *Files) versions() (seen [2]version) {
	for i, name := range []string{f.cert, f.key} {
		if st, err := os.Stat(name); err == nil {
			seen[i] = version{st.ModTime(), st.Size()}
		}
	}
	return seen
}

func (f *Files) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate: %w", err)
	}
	return &pair, nil
}
