package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
)

const (
	natsTimeout = 3 * time.Second // to connect, and to write
	natsRetry   = time.Second     // between two servers, with as much jitter
	natsPing    = 5 * time.Second // two without an answer: the connection is lost
)

// natsFlags say which NATS servers there are.
type natsFlags struct {
	URL    string `name:"nats" help:"NATS servers, separated by commas, that carry live events between the servers of one database: nats://[USER:PASSWORD@]HOST,…; also tls://, ws:// and wss://. The variable keeps the password from the list of processes." placeholder:"URL,…" secret:"url"`
	Creds  string `name:"nats-creds" help:"File with the credentials (JWT and seed) for NATS." type:"path" placeholder:"FILE"`
	CA     string `name:"nats-ca" help:"File with the certificates (PEM) that NATS servers' are signed by (default: the system's)." type:"path" placeholder:"FILE"`
	Cert   string `name:"nats-cert" help:"File with the certificate (PEM) that this server shows to NATS." type:"path" placeholder:"FILE"`
	Key    string `name:"nats-key" help:"File with the key (PEM) of --nats-cert." type:"path" placeholder:"FILE"`
	Prefix string `name:"nats-prefix" help:"First word of all subjects, and of streams in capitals; another for each database (${default})." default:"verbatim" placeholder:"WORD"`
}

var natsPrefix = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// connect makes a connection that lasts until it is closed, whether or not a
// server is there now. No error or log line of it holds a password.
func (f *natsFlags) connect(what string, log *slog.Logger) (*nats.Conn, error) {
	servers, err := f.servers()
	if err != nil {
		return nil, err
	}
	o := nats.GetDefaultOptions()
	o.Servers, o.Name = servers, "verbatim "+what
	o.NoEcho = true
	o.RetryOnFailedConnect, o.MaxReconnect, o.IgnoreAuthErrorAbort = true, -1, true
	o.CustomReconnectDelayCB = func(int) time.Duration { return natsRetry + rand.N(natsRetry) }
	o.ReconnectBufSize = -1 // what cannot be sent is known at once
	o.Timeout, o.FlusherTimeout, o.PingInterval, o.MaxPingsOut = natsTimeout, natsTimeout, natsPing, 2
	o.DisconnectedErrCB = func(c *nats.Conn, err error) {
		if !c.IsClosed() && err != nil {
			log.Warn("the connection to NATS was lost; connecting again", "for", what, "err", f.redact(err))
		}
	}
	o.ConnectedCB = func(c *nats.Conn) { log.Info("connected to NATS", "for", what, "server", c.ConnectedUrlRedacted()) }
	o.ReconnectErrCB = func(_ *nats.Conn, err error) {
		log.Debug("NATS cannot be reached; trying again", "for", what, "err", f.redact(err))
	}
	o.AsyncErrorCB = func(_ *nats.Conn, s *nats.Subscription, err error) {
		subject := ""
		if s != nil {
			subject = s.Subject
		}
		log.Warn("NATS reports an error", "for", what, "subject", subject, "err", f.redact(err))
	}
	if err := f.files(&o); err != nil {
		return nil, err
	}
	c, err := o.Connect()
	if err != nil {
		return nil, fmt.Errorf("--nats: %s", f.redact(err))
	}
	if !c.IsConnected() {
		log.Warn("NATS cannot be reached; trying again", "for", what)
	}
	return c, nil
}

// files reads the files that connections need.
func (f *natsFlags) files(o *nats.Options) error {
	var errs []error
	add := func(flags string, option nats.Option) {
		if err := option(o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", flags, err))
		}
	}
	if f.Creds != "" {
		add("--nats-creds", func(o *nats.Options) error { // reads nothing by itself
			err := nats.UserCredentials(f.Creds)(o)
			if err == nil {
				_, err = o.UserJWT()
			}
			if err == nil {
				_, err = o.SignatureCB(nil)
			}
			return err
		})
	}
	if f.CA != "" {
		add("--nats-ca", nats.RootCAs(f.CA))
	}
	if f.Cert != "" || f.Key != "" {
		add("--nats-cert, --nats-key", nats.ClientCert(f.Cert, f.Key))
	}
	return errors.Join(errs...)
}

// Check says what is wrong with the flags.
func (f *natsFlags) Check(context.Context) error {
	if f.URL == "" {
		return nil
	}
	_, err := f.servers()
	return errors.Join(err, f.files(new(nats.Options)))
}

func (f *natsFlags) servers() (servers []string, err error) {
	if !natsPrefix.MatchString(f.Prefix) {
		return nil, fmt.Errorf("--nats-prefix: want one word that matches %s", natsPrefix)
	}
	for i, text := range strings.Split(f.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return nil, fmt.Errorf("--nats, number %d: not a URL like nats://HOST:PORT", i+1) // without it: there may be a password in it
		}
		servers = append(servers, u.String())
	}
	return servers, nil
}

// redact is the text of an error without what may be a secret.
func (f *natsFlags) redact(err error) string {
	text := err.Error()
	for _, s := range strings.Split(f.URL, ",") {
		if u, perr := url.Parse(strings.TrimSpace(s)); perr == nil && u.User != nil {
			text = strings.ReplaceAll(text, u.User.String()+"@", "")
			if pass, ok := u.User.Password(); ok && pass != "" {
				text = strings.ReplaceAll(text, pass, "…")
			}
		}
	}
	return text
}

// eventBus is what carries events: the hub alone, or with a link to others.
type eventBus interface {
	Publish(e meeting.Event)
	Watched(room string) bool
}

// eventLink is a link to other nodes; the zero value is none.
type eventLink struct {
	*events.Link
	log   *slog.Logger
	close func()
}

// join makes the server's way of events: its hub's own without --nats.
func (f *natsFlags) join(s *server, db *store.Store, log *slog.Logger) (eventLink, error) {
	none := eventLink{close: func() {}}
	s.bus = s.hub
	if f.URL == "" {
		return none, nil
	}
	conn, err := f.connect("events", log)
	if err != nil {
		return none, err
	}
	l := events.NewLink(events.LinkConfig{
		Hub: s.hub, Conn: conn, Node: db.Node(), Prefix: f.Prefix, Mark: db.Mark, Logger: log,
		OnRemote: func(e meeting.Event, _ string) { s.pipeline.Heard(e) },
		OnMissed: func() { s.registry.Wake() },
	})
	s.bus = l
	return eventLink{l, log, conn.Close}, nil
}

// run carries events until ctx ends.
func (l eventLink) run(ctx context.Context) {
	if l.Link == nil {
		return
	}
	if err := l.Run(ctx); err != nil && ctx.Err() == nil {
		l.log.Error("events come from other nodes no more", "err", err)
	}
}
