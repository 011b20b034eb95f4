//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"verbatim/internal/harness"
	"verbatim/internal/speech"
	"verbatim/internal/wav"
	"verbatim/pipeline/meeting"
)

// site is the server, and who comes to it.
type site struct {
	o      options
	n      *network
	dir    string
	cert   string // file
	wav    string // what Chromium hears
	server *harness.Server
}

func startSite(ctx context.Context, o options, dir string, n *network) (*site, error) {
	s := &site{o: o, n: n, dir: dir, cert: filepath.Join(dir, "cert.pem"), wav: filepath.Join(dir, "speech.wav")}
	key := filepath.Join(dir, "key.pem")
	roots, err := makeCertificate(s.cert, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if err := os.WriteFile(s.wav, wav.Encode(speech.PCM("sas-0870")), 0o600); err != nil {
		return nil, err
	}
	s.server, err = harness.StartServer(harness.ServerOptions{
		Binary: o.verbatim, Listen: serverIP + ":443", Media: ":8080", Data: filepath.Join(dir, "data"), Log: filepath.Join(dir, "server.log"),
		Flags: []string{
			"--recognizer", "none:", "--tls-cert", s.cert, "--tls-key", key, "--public-ip", publicIP, "--turn-listen", ":3478", "--turns-listen", ":5349",
		},
		HTTP: &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		},
		Start: n.server.Do,
	})
	if err != nil {
		return nil, err
	}
	if err := s.server.Ready(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "server.log"))
		return nil, errors.Join(fmt.Errorf("%w: %s", err, log), s.server.Kill())
	}
	return s, nil
}

// makeCertificate is for the server's addresses, and its own root.
func makeCertificate(cert, key string) (*x509.CertPool, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(publicIP), net.ParseIP(serverIP)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots, errors.Join(
		os.WriteFile(cert, text, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

// try has clients come by all ways at the same time, and Chromium.
func (s *site) try(ctx context.Context, room string, f firewall) error {
	errs := make(chan error)
	var wg sync.WaitGroup
	for _, via := range f.ways {
		wg.Go(func() {
			if out, err := s.publish(ctx, room+"-"+via, via); err != nil {
				errs <- fmt.Errorf("publish --via %s: %w: %s", via, err, out)
			}
		})
	}
	for _, via := range f.shut {
		wg.Go(func() {
			if out, err := s.publish(ctx, room+"-"+via, via); err == nil || !bytes.Contains(out, []byte("media connection")) {
				errs <- fmt.Errorf("publish --via %s should not connect: %w: %s", via, err, out)
			}
		})
	}
	if s.o.chromium != "" {
		wg.Go(func() {
			if err := s.browse(ctx, room, f); err != nil {
				errs <- fmt.Errorf("chromium: %w", err)
			}
		})
	}
	go func() {
		wg.Wait()
		close(errs)
	}()
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// publish sends a file from the client's place. It succeeds only when the server
// has taken in all of it.
func (s *site) publish(ctx context.Context, room, via string) (out []byte, err error) {
	cmd := exec.CommandContext(ctx, s.o.verbatim, "publish", s.o.file, "--room", room, "--url", "https://"+publicIP, "--via", via)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.cert)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := s.n.client.Do(cmd.Start); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	return b.Bytes(), err
}

// pair is what Chromium says of the way that it has chosen.
type pair struct {
	Protocol string `json:"protocol"` // of the server's candidate
	Relay    string `json:"relay"`    // how it reaches the TURN server, "" without
}

// order is what the program that drives Chromium is told, as its argument.
type order struct {
	URL     string  `json:"url"`
	Room    string  `json:"room"`
	WAV     string  `json:"wav"`
	Seconds float64 `json:"seconds"`
}

const browseFor = 5 * time.Second

// browse has somebody join in Chromium, speak, and leave; and looks at what came.
func (s *site) browse(ctx context.Context, room string, f firewall) error {
	in, err := json.Marshal(order{URL: "https://" + publicIP + "/", Room: room, WAV: s.wav, Seconds: browseFor.Seconds()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("chromium takes too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", s.o.chromium, string(in))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+s.dir) // the browser's profile
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := s.n.client.Do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", errors.Join(err, context.Cause(ctx)), said.Bytes())
	}
	var got pair
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return fmt.Errorf("%w: %s", err, out.Bytes())
	}
	if got != f.pair {
		return fmt.Errorf("it came by %+v, not %+v", got, f.pair)
	}
	v, err := s.metric(ctx, f.seen)
	if err != nil {
		return err
	}
	if v == 0 {
		return fmt.Errorf("the server's %s is 0", f.seen)
	}
	return s.heard(ctx, room)
}

// metric is the sum of the series of that name.
func (s *site) metric(ctx context.Context, name string) (sum float64, err error) {
	var b bytes.Buffer
	if err := s.server.Download(ctx, "/metrics", &b); err != nil {
		return 0, err
	}
	for line := range strings.Lines(b.String()) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series == name || strings.HasPrefix(series, name+"{") {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}

// heard holds what came of Chromium's microphone against what a whole track has:
// nothing is missing, and somebody speaks.
func (s *site) heard(ctx context.Context, room string) error {
	var list struct{ Meetings []meeting.Meeting }
	deadline := time.Now().Add(10 * time.Second)
	for {
		if err := s.server.Client.Get(ctx, "/v1/meetings?room="+room, &list); err != nil {
			return err
		}
		if len(list.Meetings) != 1 || len(list.Meetings[0].Tracks) == 0 {
			return fmt.Errorf("the meetings are %+v", list.Meetings)
		}
		if list.Meetings[0].Tracks[0].EndedBy != "" {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the track does not end")
		}
		if err := harness.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	m := list.Meetings[0]
	t := m.Tracks[0]
	c := t.Coverage
	if len(m.Tracks) != 1 || t.EndedBy != "left" || c.DurationMS < (browseFor-time.Second).Milliseconds() ||
		c.ReceivedMS+c.RecoveredMS+c.SilenceMS != c.DurationMS {
		return fmt.Errorf("%d tracks, ended by %s, %+v", len(m.Tracks), t.EndedBy, c)
	}
	var b bytes.Buffer
	if err := s.server.Download(ctx, "/v1/meetings/"+m.ID+"/tracks/"+t.ID+"/audio.wav", &b); err != nil {
		return err
	}
	pcm, err := wav.Decode(b.Bytes())
	if err != nil {
		return err
	}
	var squares float64
	for _, v := range pcm {
		squares += float64(v) * float64(v)
	}
	if rms := math.Sqrt(squares / float64(len(pcm))); rms < 300 { // the recording has 1,500 or so
		return fmt.Errorf("the track is silent (rms %.0f)", rms)
	}
	return nil
}
