//go:build acme

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is Pebble, Let's Encrypt's own small ACME server, and a name server
// for which every name is 127.0.0.1.
type authority struct {
	directory, management string
	cert                  string // of its own API
	client                *http.Client
}

// startAuthority starts one that looks for challenges on those two ports.
func startAuthority(t *testing.T, httpPort, tlsPort int) *authority {
	t.Helper()
	dir := t.TempDir()
	program := func(name string) string {
		path := filepath.Join(dir, name)
		out, err := exec.Command("go", "build", "-modfile=../../tools/acme.mod", "-o", path, "github.com/letsencrypt/pebble/v2/cmd/"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v: %s", name, err, out)
		}
		return path
	}
	start := func(cmd *exec.Cmd) {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	names := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	start(exec.Command(program("pebble-challtestsrv"), "-dnsserver", names, "-defaultIPv6", "", "-doh", "", "-http01", "", "-https01", "",
		"-tlsalpn01", "", "-management", fmt.Sprintf("127.0.0.1:%d", freePort(t))))

	api, management := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cert, key := certificate(t, dir, "localhost", 1)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": management, "certificate": cert, "privateKey": key,
		"httpPort": httpPort, "tlsPort": tlsPort,
		"profiles": map[string]any{"default": map[string]any{"description": "-", "validityPeriod": 7776000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	pebble := exec.Command(program("pebble"), "-config", file, "-dnsserver", names)
	pebble.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	start(pebble)
	a := &authority{directory: "https://" + api + "/dir", management: "https://" + management, cert: cert, client: trusting(t, cert)}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := a.client.Get(a.directory)
		if err == nil {
			resp.Body.Close()
			return a
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// root is a file with the authority's root, which it makes when it starts.
func (a *authority) root(t *testing.T) string {
	t.Helper()
	resp, err := a.client.Get(a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The server gets its certificate itself, with either challenge, and has it after
// a restart without the authority.
func TestACME(t *testing.T) {
	const name = "meet.example"
	for _, c := range []struct {
		name string
		http bool
	}{{"TLS-ALPN-01", false}, {"HTTP-01", true}} {
		t.Run(c.name, func(t *testing.T) {
			httpPort, tlsPort := freePort(t), freePort(t)
			closed, plain := freePort(t), ""
			flags := []string{"--listen", fmt.Sprintf("127.0.0.1:%d", tlsPort), "--acme-domain", name, "--acme-email", "ops@meet.example"}
			seenHTTP, seenTLS := closed, tlsPort // of the ports, the one that the authority reaches
			if c.http {
				seenHTTP, seenTLS = httpPort, closed
				plain = fmt.Sprintf("127.0.0.1:%d", httpPort)
				flags = append(flags, "--acme-http", plain)
			}
			authority := startAuthority(t, seenHTTP, seenTLS)
			t.Setenv("SSL_CERT_FILE", authority.cert)
			data := t.TempDir()
			s := serve(t, data, "none:", append(flags, "--acme-directory", authority.directory)...)
			client := trusting(t, authority.root(t))
			client.Transport.(*http.Transport).TLSClientConfig.ServerName = name
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			look := func() {
				t.Helper()
				resp, err := client.Get(s.url + "/healthz")
				for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
					resp, err = client.Get(s.url + "/healthz") // on a busy machine, a certificate may take longer than a handshake may
				}
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
					t.Errorf("%s, %s", resp.Status, resp.Proto)
				}
			}
			look()
			// Nobody makes it ask for other names.
			if _, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{ServerName: "other.example", InsecureSkipVerify: true}); err == nil {
				t.Error("it has a certificate for another name")
			}
			if c.http {
				req, err := http.NewRequest(http.MethodGet, "http://"+plain+"/r?x=1", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = name
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if to := resp.Header.Get("Location"); to != "https://"+name+"/r?x=1" {
					t.Errorf("plain HTTP answers %s, to %q", resp.Status, to)
				}
			}
			s.stop()
			client.CloseIdleConnections()
			s = serve(t, data, "none:", append(flags, "--acme-directory", "https://127.0.0.1:1/dir")...)
			look()
			s.stop()
			checkModes(t, filepath.Join(data, "acme"))
		})
	}
}

// checkModes fails the test if others can read what is in a folder.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if st, err := e.Info(); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", e.Name(), st.Mode(), err)
		}
	}
}
