package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes one for a name and 127.0.0.1, which is its own root, and its
// key into a folder.
func certificate(t *testing.T, dir, name string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// trusting is a client that trusts the roots in a PEM file.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// With TLS there is HTTP/2, event streams go over it, clients publish, and a new
// certificate is taken up while an event stream goes on.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "localhost", 1)
	s := serve(t, t.TempDir(), "none:", "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatalf("the server says that it is at %s", s.url)
	}
	first := trusting(t, cert)
	resp, err := first.Get(s.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s, %v", resp.Proto, resp.Header)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/rooms/r/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	events, err := first.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if events.ProtoMajor != 2 || events.StatusCode != http.StatusOK {
		t.Fatalf("events: %s, %s", events.Proto, events.Status)
	}

	certificate(t, dir, "localhost", 2) // in the same files
	deadline := time.Now().Add(time.Minute)
	for serial := int64(0); serial != 2; {
		if time.Now().After(deadline) {
			t.Fatalf("certificate %d is shown after a minute", serial)
		}
		c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		serial = c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		c.Close()
		time.Sleep(50 * time.Millisecond)
	}
	pub := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--url", s.url)
	pub.Env = append(pub.Env, "SSL_CERT_FILE="+cert)
	if out, err := pub.CombinedOutput(); err != nil {
		t.Errorf("publish: %v: %s", err, out)
	}
	lines := bufio.NewScanner(events.Body)
	for lines.Scan() && lines.Text() != "event: joined" { // over the connection with the old certificate
	}
	if lines.Text() != "event: joined" {
		t.Errorf("the event stream ended without the new participant: %v", lines.Err())
	}
	cancel()
	s.stop()
}

func TestFlagsOfTLS(t *testing.T) {
	cert, key := certificate(t, t.TempDir(), "localhost", 1)
	_, other := certificate(t, t.TempDir(), "localhost", 2)
	for _, c := range []struct {
		name, want string
		flags      []string
	}{
		{"no key", "belong together", []string{"--tls-cert", cert}},
		{"another key", "--tls-key: read the TLS certificate: tls: private key does not match", []string{"--tls-cert", cert, "--tls-key", other}},
		{"no file", "/nowhere: no such file", []string{"--tls-cert", cert, "--tls-key", "/nowhere"}},
		{"no PEM", "--tls-key: read the TLS certificate: tls: failed to find", []string{"--tls-cert", exampleFile, "--tls-key", key}},
		{"no certificate for TURN", "needs the server's certificate", []string{"--turns-listen", "127.0.0.1:0"}},
		{"both ways", "either", []string{"--tls-cert", cert, "--tls-key", key, "--acme-domain", "meet.example"}},
		{"no domain", "--acme-domain", []string{"--acme-http", "127.0.0.1:0"}},
		{"no network", "trusted-proxy", []string{"--trusted-proxy", "10.0.0.0/99"}},
		{"a proxy on this machine, which others reach", "--insecure", []string{"--behind-proxy"}},
	} {
		for _, command := range []string{"serve", "config check"} {
			args := append(strings.Fields(command), "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:")
			out, err := verbatim(t.Context(), append(args, c.flags...)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s: %s: %v: %s", c.name, command, err, out)
			}
		}
	}
}

// Who listens for others without TLS is told what does not work then.
func TestWarnsWithoutTLS(t *testing.T) {
	cert, key := certificate(t, t.TempDir(), "localhost", 1)
	for _, c := range []struct {
		name  string
		flags []string
		warn  bool
	}{
		{"plain", []string{"--listen", "0.0.0.0:0", "--insecure"}, true},
		{"loopback", nil, false},
		{"TLS", []string{"--listen", "0.0.0.0:0", "--insecure", "--tls-cert", cert, "--tls-key", key}, false},
		{"a proxy", []string{"--listen", "0.0.0.0:0", "--insecure", "--behind-proxy"}, false},
	} {
		log, err := os.CreateTemp(t.TempDir(), "log")
		if err != nil {
			t.Fatal(err)
		}
		serveTo(t, log, t.TempDir(), "none:", c.flags...).stop()
		if _, err := log.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "no microphone") != c.warn {
			t.Errorf("%s: the log is %s", c.name, text)
		}
		log.Close()
	}
}
