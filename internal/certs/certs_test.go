package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a certificate with that serial number, and its key, in PEM.
func pair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"meet.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// files are a certificate and a key on disk.
type files struct {
	t         *testing.T
	cert, key string
	at        time.Time
}

func newFiles(t *testing.T) *files {
	dir := t.TempDir()
	return &files{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), at: time.Now()}
}

// write writes a file as later than all before.
func (f *files) write(name string, data []byte) {
	f.t.Helper()
	f.at = f.at.Add(time.Second)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(name, f.at, f.at); err != nil {
		f.t.Fatal(err)
	}
}

// serial is that of the certificate that a new connection is shown.
func serial(t *testing.T, c *tls.Config) int64 {
	t.Helper()
	ours, theirs := net.Pipe()
	server, client := tls.Server(ours, c), tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, ServerName: "meet.example", NextProtos: []string{"h2"}})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		t.Errorf("the protocol is %q", state.NegotiatedProtocol)
	}
	return state.PeerCertificates[0].SerialNumber.Int64()
}

func TestFilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		cert1, key1 := pair(t, 1)
		cert2, key2 := pair(t, 2)
		f.write(f.cert, cert1)
		f.write(f.key, key1)
		var log bytes.Buffer
		files, err := ReadFiles(f.cert, f.key, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		c := files.Config()
		told := 0
		for _, step := range []struct {
			name   string
			change func()
			want   int64
			told   int // warnings
		}{
			{"at first", func() {}, 1, 0},
			{"the new certificate has come, its key has not", func() { f.write(f.cert, cert2) }, 1, 1},
			{"that is told once", func() {}, 1, 0},
			{"its key, too", func() { f.write(f.key, key2) }, 2, 0},
			{"nonsense", func() { f.write(f.cert, []byte("nonsense")) }, 2, 1},
			{"nothing", func() { _ = os.Remove(f.cert) }, 2, 1},
			{"that is told once, too", func() {}, 2, 0},
			{"the old pair again", func() { f.write(f.cert, cert1); f.write(f.key, key1) }, 1, 0},
		} {
			step.change()
			time.Sleep(lookEvery)
			if got := serial(t, c); got != step.want {
				t.Errorf("%s: certificate %d is shown, want %d", step.name, got, step.want)
			}
			warnings := strings.Count(log.String(), "level=WARN")
			if warnings-told != step.told {
				t.Errorf("%s: %d warnings, want %d: %s", step.name, warnings-told, step.told, log.String())
			}
			told = warnings
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Error("the log has a key")
		}
	})
}

// A connection that was made with the old certificate goes on.
func TestConnectionsGoOn(t *testing.T) {
	f := newFiles(t)
	cert, key := pair(t, 1)
	f.write(f.cert, cert)
	f.write(f.key, key)
	files, err := ReadFiles(f.cert, f.key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := files.Config()
	ours, theirs := net.Pipe()
	server, client := tls.Server(ours, c), tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
	go func() { _, _ = io.Copy(server, server) }()
	echo := func() {
		t.Helper()
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	echo()
	cert, key = pair(t, 2)
	f.write(f.cert, cert)
	f.write(f.key, key)
	files.mu.Lock()
	files.looked = time.Time{}
	files.mu.Unlock()
	if got := serial(t, c); got != 2 {
		t.Errorf("certificate %d is shown", got)
	}
	echo()
	_ = client.Close()
}

func TestFilesThatAreNoPair(t *testing.T) {
	f := newFiles(t)
	cert, _ := pair(t, 1)
	_, key := pair(t, 2)
	f.write(f.cert, cert)
	if _, err := ReadFiles(f.cert, f.key, nil); err == nil {
		t.Error("a key that is not there is taken")
	}
	f.write(f.key, key)
	if _, err := ReadFiles(f.cert, f.key, nil); err == nil {
		t.Error("another certificate's key is taken")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	f := newFiles(t)
	cert, key := pair(t, 1)
	f.write(f.cert, cert)
	f.write(f.key, key)
	files, err := ReadFiles(f.cert, f.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tls.Config{"files": files.Config(), "ACME": NewACME(ACMEOptions{}).Config()} {
		ours, theirs := net.Pipe()
		go func() { _ = tls.Server(ours, c).Handshake(); _ = ours.Close() }()
		err := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
		if err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s: %v", name, err)
		}
		_ = theirs.Close()
	}
}
