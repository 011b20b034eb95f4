package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"verbatim/internal/config"
	"verbatim/pipeline/recording"
	"verbatim/pipeline/store"
	"verbatim/signaling"
)

// configCmd looks at the configuration of a server without starting one.
type configCmd struct {
	Check configCheck `cmd:"" help:"Say what is wrong with the configuration of serve, without starting it; the exit code is 0 if nothing is."`
	Print configPrint `cmd:"" help:"Print the configuration that serve would have, as YAML, and where each value comes from; secrets are not shown."`
}

type configCheck struct {
	Serve serveCmd `embed:""`
}

type configPrint struct {
	Serve serveCmd `embed:""`
}

// Run prints all that is wrong.
func (c *configCheck) Run(ctx context.Context, k *kong.Context, log *slog.Logger) error {
	c.Serve.warnOfStrays(k, log)
	c.Serve.warnOfReaders(log)
	if err := c.Serve.check(ctx, log); err != nil {
		return err
	}
	fmt.Println("The configuration is good.")
	return nil
}

// Run prints.
func (c *configPrint) Run(k *kong.Context) error { return config.Print(os.Stdout, k) }

// warnOfStrays tells of variables of the environment that look like ours and that
// nothing reads: most are written wrongly, and a server that does not do what its
// environment says must not be silent about it. It is no error: what a later version
// reads may be set already.
func (c *serveCmd) warnOfStrays(k *kong.Context, log *slog.Logger) {
	for _, s := range config.Strays(k.Model.Node, os.Environ(), "VERBATIM_", authSecret, webhookSecrets) {
		switch named := func(url string) bool { return strings.Contains(url, s.Name) }; {
		case slices.ContainsFunc(c.Recognizer, named): // ?key_env=
		case s.Meant != "":
			log.Warn("nothing reads this variable of the environment", "variable", s.Name, "did_you_mean", s.Meant)
		default:
			log.Warn("nothing reads this variable of the environment", "variable", s.Name)
		}
	}
}

// checker is what a group of serve's flags may be: it says what is wrong with
// them as far as that can be known without starting, asking no other machine.
type checker interface {
	Check(ctx context.Context) error
}

// check says what is wrong with the flags: those of serveCmd itself, and those of
// the structs that are embedded in it. It logs what serve would start with all the same.
func (c *serveCmd) check(ctx context.Context, log *slog.Logger) error {
	_, recognizers := newSupervisor(c.Recognizer, false, log)
	_, ice := c.iceServers()
	_, _, hooks := c.webhookEndpoints()
	errs := []error{
		recognizers, ice, hooks, c.checkListen(ctx), checkMedia(ctx, c.MediaListen), c.checkData(), c.checkRecordings(), c.checkOrigins(), c.checkAuth(), c.checkNode(), c.Forward.check(&c.NATS),
		c.Reach.checkTLS(c.TLS.TLSCert != "" || len(c.TLS.ACMEDomain) > 0),
	}
	for name, d := range map[string]int64{"linger": int64(c.Linger), "drain": int64(c.Drain)} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("--%s: a duration from 0", name))
		}
	}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			if g, ok := v.Field(i).Addr().Interface().(checker); ok {
				errs = append(errs, g.Check(ctx))
			}
		}
	}
	return errors.Join(errs...)
}

func (c *serveCmd) checkListen(ctx context.Context) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w; want HOST:PORT, such as 127.0.0.1:8080", err)
	}
	if _, err := net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil {
		return fmt.Errorf("--listen: %q is no port", port)
	}
	ip := net.ParseIP(host)
	beyond := c.TLS.proxied() || !strings.EqualFold(host, "localhost") && (host == "" || ip != nil && !ip.IsLoopback())
	if beyond && !c.Insecure && !c.configured() {
		return errReachable(c.Listen)
	}
	return nil
}

func checkMedia(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "udp", port)
	}
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		return fmt.Errorf("--media-listen: %w; want IP:PORT, or :PORT for every interface", err)
	}
	return nil
}

func (c *serveCmd) checkData() error {
	if err := checkFolder(c.Data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	return nil
}

// checkFolder says why nothing can be written to a folder or, if it is yet to be made,
// why it cannot be made. It changes nothing.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	if up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir {
		return checkFolder(up)
	}
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("nothing can be written to the folder %s: %w", dir, err)
	}
	return nil
}

func (c *serveCmd) checkRecordings() error {
	if c.Recordings == "" || c.Recordings == "none" {
		return nil
	}
	if err := recordingsBuilt(c.Recordings); err != nil {
		return err
	}
	err := recording.CheckURL(c.Recordings)
	if dir, ok := recording.Folder(c.Recordings); ok && err == nil {
		err = checkFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("--recordings: %w", err)
	}
	return nil
}

func (c *serveCmd) checkNode() error {
	if c.DB != "" && !store.IsPostgres(c.DB) {
		return errors.New("--db: want postgres://USER:PASSWORD@HOST/DATABASE")
	}
	if c.DB != "" {
		if err := store.CheckPostgres(c.DB); err != nil {
			return fmt.Errorf("--db: %w", err)
		}
	}
	if c.Node != "" && !nodeName.MatchString(c.Node) {
		return errors.New("--node: want small letters, digits, dots, - and _")
	}
	return c.checkURL()
}

func (c *serveCmd) checkAuth() error {
	secret, err := c.secret()
	if c.AuthLinkSecretFile != "" {
		_, lerr := c.linkSecret(nil, "")
		err = errors.Join(err, lerr)
	}
	if err != nil {
		return err
	}
	if c.AuthJWKS == "" {
		return nil
	}
	if len(secret) > 0 {
		return errors.New("--auth-jwks: tokens come from one issuer: give a secret or --auth-jwks, not both")
	}
	if u, err := url.Parse(c.AuthJWKS); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("--auth-jwks: want a URL such as https://id.example.org/jwks")
	}
	return nil
}

func (c *serveCmd) checkOrigins() error {
	var errs []error
	for _, o := range c.CORSOrigin {
		if err := signaling.CheckOrigin(o); err != nil {
			errs = append(errs, fmt.Errorf("--cors-origin %s: %w", o, err))
		}
	}
	return errors.Join(errs...)
}
