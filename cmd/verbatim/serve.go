package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/gofrs/flock"

	"verbatim/internal/clock"
	"verbatim/internal/config"
	"verbatim/internal/metrics"
	"verbatim/internal/netlimit"
	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/media/ingest"
	"verbatim/media/relay"
	"verbatim/pipeline"
	"verbatim/pipeline/events"
	"verbatim/pipeline/forward"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/webhook"
	"verbatim/signaling"
	"verbatim/web"
)

type serveCmd struct {
	File config.File `embed:""`

	Listen            string        `help:"Address for HTTP: pages, signaling, API (${default})." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	MediaListen       string        `help:"UDP address for all media. Without a host: that port on every interface (${default})." default:":8080" placeholder:"[HOST]:PORT"`
	Data              string        `help:"Folder for everything that is kept." default:"./data" type:"path"`
	Recognizer        []string      `help:"What turns speech into text, a URL (${default}): pocketsphinx:, openai+http://HOST/v1, vosk+ws://HOST, deepgram:, openai-realtime:, wyoming+tcp://HOST, command:PROGRAM ARG…, or none:. A second one is the fallback while the first is away; several stand in a file (--config), as the variable holds one only." default:"pocketsphinx:" sep:"none" placeholder:"URL"`
	RED               bool          `name:"red" help:"Ask clients that can for redundant audio (RFC 2198): twice the bandwidth, and lost packets need not be sent again."`
	DirectRTP         bool          `name:"direct-rtp" help:"Decrypt RTP in each session's own goroutine, past pion's queues (default). --no-direct-rtp has it go through pion, which costs more CPU and should change nothing else." default:"true" negatable:""`
	Linger            time.Duration `help:"How long the meeting of an empty room goes on." default:"60s"`
	Draining          drainFlags    `embed:""`
	Operators         adminFlags    `embed:""`
	Health            healthFlags   `embed:""`
	Traces            traceFlags    `embed:""`
	Drain             time.Duration `help:"How long a shutdown waits for the last captions; what is not transcribed by then is at the next start." default:"30s"`
	Fsync             time.Duration `help:"How often audio is forced to the disk; negative: left to the system." default:"1s"`
	KeepAudio         time.Duration `help:"How long audio is kept after its transcript was finished; 0: no longer than that, negative: for ever. What is still to be transcribed is always kept." default:"24h"`
	Recordings        string        `help:"Where the recordings of meetings are kept until the meeting is erased, whatever --keep-audio says (default: a folder in --data; none with --keep-audio 0): file:///FOLDER, s3://BUCKET, gs://BUCKET, azblob://CONTAINER, or none." placeholder:"URL"`
	Webhook           []string      `help:"URL that is told what happens in meetings (may be repeated); events are signed with the secrets in the environment's VERBATIM_WEBHOOK_SECRET or in --webhook-secret-file." sep:"none" placeholder:"URL" secret:"path"`
	WebhookEvents     []string      `help:"Which events: meeting.started, participant.joined, participant.left, segment.final, meeting.complete (default: all but segment.final)." enum:"meeting.started,participant.joined,participant.left,segment.final,meeting.complete" default:"meeting.started,participant.joined,participant.left,meeting.complete" placeholder:"EVENT"`
	WebhookSecretFile string        `help:"File with the secrets, whsec_…, one or (to change one for another) more." type:"path"`
	ICEServer         []string      `name:"ice-server" help:"STUN or TURN server that clients are told of (may be repeated)." placeholder:"stun:HOST|turn:HOST?secret-file=…|turn:HOST?username=…&credential=…" secret:"url"`
	CORSOrigin        []string      `name:"cors-origin" help:"Origin of another site whose pages may use the API (may be repeated)." placeholder:"https://HOST"`
	TLS               tlsFlags      `embed:""`
	Reach             reachFlags    `embed:""`
	NATS              natsFlags     `embed:"" group:"Several nodes"`
	Forward           forwardFlags  `embed:"" group:"Audio for other services"`
	Insecure          bool          `help:"Listen beyond loopback although anyone who reaches the server may join and read every meeting."`

	authFlags  `embed:""`
	limitFlags `embed:""`
	storeFlags `embed:""`
}

// gcPercent is GOGC unless the environment says otherwise: what is kept for a
// stream lives as long as the stream, and there is little garbage, so that memory
// is worth more than the collector's time (docs/PERFORMANCE.md).
const gcPercent = 50

// tune sets up Go's runtime for a server, but for what the environment says.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// With one processor, an fsync would hold up everything else until Go notices
	// that it takes long, which is up to 10 ms, some hundred times a second.
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2)
	}
}

// Run serves until ctx ends, then drains.
func (c *serveCmd) Run(ctx context.Context, k *kong.Context, log *slog.Logger) (err error) {
	tune()
	c.warnOfStrays(k, log)
	c.warnOfReaders(log)
	if err := c.checkOrigins(); err != nil {
		return err
	}
	listener, loopback, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close() // the HTTP server closes it first; this is for errors on the way
	door := c.door(log)
	listener = door.Listener(listener)
	adminPort, err := c.Operators.listenAdmin(ctx)
	if err != nil {
		return err
	}
	defer adminPort.close()
	transcriber, err := newSupervisor(c.Recognizer, c.Traces.wanted(), log)
	if err != nil {
		return err
	}
	iceServers, err := c.iceServers()
	if err != nil {
		return err
	}
	if err := c.checkData(); err != nil {
		return err
	}
	unlock, err := lock(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	https, err := c.TLS.setup(ctx, c.Data, door, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, https.stop()) }()
	c.TLS.warn(https.config, listener.Addr(), loopback, log)

	tokens, links, err := c.build(ctx, c.Data, log)
	if err != nil {
		return err
	}
	db, err := c.open(ctx, c.Data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.SetLinks(ctx, signaling.LinkMark(tokens, links)); err != nil {
		return err
	}
	logs, err := tracklog.New(tracklog.Options{Dir: filepath.Join(c.Data, "tracks"), SyncEvery: c.Fsync, Logger: log})
	if err != nil {
		return err
	}

	now, release, err := startClock(ctx, wallTime(), db, logs, log)
	defer release()
	if err != nil {
		return err
	}

	webhooks, err := c.webhooks(ctx, db, now, log)
	if err != nil {
		return err
	}
	recordings, err := c.recordings(ctx)
	if err != nil {
		return err
	}
	if recordings != nil {
		defer func() { err = errors.Join(err, recordings.Close()) }()
	}

	// The background work ends when everything that it works for has ended.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		if err := logs.Run(background); err != nil && !errors.Is(err, context.Canceled) {
			log.Error("the last audio could not be written", "err", err)
		}
	})

	s := &server{log: log, hub: &events.Hub{}, tls: https.config, door: door}
	closeTraces, err := s.trace(ctx, &c.Traces)
	if err != nil {
		return err
	}
	defer closeTraces()
	link, err := c.NATS.join(s, db, log)
	if err != nil {
		return err
	}
	defer link.close()
	forwarder, closeForwarder, err := c.Forward.open(&c.NATS, log)
	if err != nil {
		return err
	}
	defer closeForwarder()
	s.registry, err = meeting.NewRegistry(ctx, meeting.Config{
		Store: db, Publish: s.bus.Publish, CloseSession: s.closeSession, Linger: c.Linger, Now: now, Logger: log,
	})
	if err != nil {
		return err
	}
	s.pipeline = pipeline.New(pipeline.Config{
		Logs: logs, Store: db, Registry: s.registry, Publish: s.bus.Publish, Watched: s.bus.Watched,
		Supervisor: transcriber, Recordings: recordings, Forward: forwarder, Traced: s.segmentHook(), Now: now, Logger: log,
	})
	defer func() { // in case of an error on the way; serve has closed it else
		ended, cancel := context.WithCancel(background)
		cancel()
		s.pipeline.Close(ended)
	}()
	if err := s.pipeline.Recover(ctx); err != nil {
		return err
	}
	release()
	cfg := media.Config{
		Listen: c.MediaListen, MaxSessions: c.MaxSessions, PreferRED: c.RED, NoDirect: !c.DirectRTP,
		Sink: s, Connected: s.joins.connected, Now: now, Logger: log,
	}
	if err := c.Reach.config(&cfg); err != nil {
		return err
	}
	s.media, err = media.Listen(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w (is another server running? --media-listen changes the port)", err)
	}
	if err != nil {
		return err
	}
	turn, turnServers, err := c.Reach.relay(s.media, https.config)
	if err != nil {
		return errors.Join(err, s.media.Close(ctx))
	}
	if turn != nil {
		defer func() { err = errors.Join(err, turn.Close()) }()
	}
	s.ingest = ingest.New(ingest.Config{Sink: ingestSink{s}, Now: now, NodeURL: c.NodeURL, Logger: log})
	wg.Go(func() { link.run(background) })
	wg.Go(func() { s.registry.Run(background) })
	wg.Go(func() { s.pipeline.Run(background) })
	wg.Go(func() { s.pipeline.Retain(background, c.KeepAudio) })
	wg.Go(func() { s.pipeline.Record(background) })
	wg.Go(func() { s.pipeline.EraseRest(background) })
	for _, hook := range webhooks {
		wg.Go(func() { hook.Run(background) })
	}

	requests := metrics.NewRequests()
	numbers := s.metrics(logs, transcriber, webhooks, requests, turn, link, forwarder)
	public := numbers
	if adminPort.l != nil {
		public = nil
	}
	s.http = signaling.New(signaling.Config{
		Media: s.media, Ingest: s.ingest, Rooms: s.registry, Meetings: s.pipeline, Transcripts: s.pipeline, Recordings: s.pipeline, Insight: s.pipeline, Events: s.hub,
		Web: web.Handler(peerOrigins(db)), Metrics: public, Logger: log, Loopback: loopback, Origins: c.CORSOrigin,
		ICEServers: append(iceServers, turnServers...), TrustedProxies: c.TLS.proxies(), Tokens: tokens, Links: links, Limits: c.limits(), Alive: s.alive(), Ready: s.ready(c, db),
		NodeURL: c.NodeURL, Peers: db,
		Joined: func(j signaling.Join) {
			s.joins.begun(j)
			if j.Session != "" && !s.media.Has(j.Session) { // it was over before it was told of
				s.joins.closed(j.Session, audio.ReasonReplaced)
			}
		},
		Observe: func(r signaling.Request) { requests.Observe(r.Method, r.Route, r.Status, r.Duration) },
	})
	if tokens == nil && !loopback {
		log.Warn("--insecure: anyone who reaches this server may join, hear and erase every meeting; --auth-secret-file has it ask for tokens")
	}
	closeAdmin := adminPort.serve(numbers, http.HandlerFunc(s.http.Healthz), http.HandlerFunc(s.http.Readyz))
	defer func() { err = errors.Join(err, closeAdmin()) }()
	if adminPort.l != nil {
		address, everywhere := openable(adminPort.l.Addr(), "localhost")
		fmt.Printf("For operators: http://%s/metrics%s\n", address, everywhere)
	}
	address, everywhere := openable(listener.Addr(), c.TLS.host())
	fmt.Printf("Verbatim is listening: %s://%s/%s\n", s.scheme(), address, everywhere)
	wg.Go(func() { https.obtain(background) })
	return s.serve(ctx, listener, c)
}

// startClock is the clock of everything that is stored. It has the logs of
// unfinished tracks open until release is called.
func startClock(ctx context.Context, wall time.Time, db *store.Store, logs *tracklog.Store, log *slog.Logger) (now func() time.Time, release func(), err error) {
	latest, release, err := pipeline.Latest(ctx, db, logs, log)
	now, behind := clock.Start(wall, latest)
	if err == nil && behind > time.Second { // clocks of several nodes differ a little
		log.Warn("the wall clock is behind what was stored: it was set back, or was wrong before; times go on from the latest that was stored",
			"behind", behind, "latest", latest)
	}
	return now, release, err
}

// iceServers are not read by kong, whose errors repeat what was given: that may
// hold a secret.
func (c *serveCmd) iceServers() (servers []signaling.ICEServer, err error) {
	for i, text := range c.ICEServer {
		s, err := signaling.ParseICEServer(text)
		if err != nil {
			return nil, fmt.Errorf("--ice-server, number %d: %w", i+1, err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// listen opens the HTTP port, on other addresses than loopback only when asked
// to, or with tokens.
func (c *serveCmd) listen(ctx context.Context) (l net.Listener, loopback bool, err error) {
	l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, false, fmt.Errorf("%w (is another server running? --listen changes the address)", err)
	case errors.Is(err, syscall.EACCES):
		return nil, false, fmt.Errorf("%w (a port below 1024 needs the right to it, CAP_NET_BIND_SERVICE; --listen changes the address)", err)
	case err != nil:
		return nil, false, fmt.Errorf("--listen: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	loopback = ok && addr.IP.IsLoopback() && !c.TLS.proxied()
	if !loopback && !c.Insecure && !c.configured() {
		return nil, false, errors.Join(errReachable(l.Addr().String()), l.Close())
	}
	return l, loopback, nil
}

func errReachable(address string) error {
	return fmt.Errorf("%s can be reached from other machines, and anyone there could join and read every meeting; "+
		"give --auth-secret-file or --auth-jwks, so that they need a token, listen on 127.0.0.1, or say --insecure if that is what you want", address)
}

// openable is an address as a browser on this machine can open it: by a name of the
// server, if it listens on all addresses, which everywhere says then.
func openable(a net.Addr, name string) (address, everywhere string) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String(), ""
	}
	return net.JoinHostPort(name, strconv.Itoa(tcp.Port)), " (on all addresses of this machine)"
}

// lock takes the data folder for this process alone.
func lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("another server is using the data folder %s; stop it, or give this one its own (--data)", dir)
	}
	return f.Unlock, nil
}

// server is what runs; it is the media engine's Sink.
type server struct {
	log      *slog.Logger
	tls      *tls.Config // nil: HTTP in plain text
	door     *netlimit.Limiter
	hub      *events.Hub
	bus      eventBus // what carries events: hub, and those of others with --nats
	registry *meeting.Registry
	pipeline *pipeline.Pipeline
	media    *media.Engine
	ingest   *ingest.Engine
	http     *signaling.Server
	joins    joins
	moving   atomic.Bool // participants were asked to go elsewhere
}

// metrics answers scrapes with the numbers of all parts.
func (s *server) metrics(logs *tracklog.Store, t *transcribe.Supervisor, webhooks []*webhook.Sender, requests *metrics.Requests, turn *relay.Server, link eventLink, f *forward.Forwarder) http.Handler {
	sources := metrics.Sources{
		Pipeline: s.pipeline.Stats, Logs: logs.Stats, Media: s.media.Stats, Ingest: s.ingest.Stats, Events: s.hub.Stats,
		Requests: requests, Joins: s.joins.counts, Draining: func() bool { return s.http.Draining() },
		Limited: s.refused, Used: s.used, Version: version(),
	}
	for _, hook := range webhooks {
		sources.Webhooks = append(sources.Webhooks, hook.Stats)
	}
	if turn != nil {
		sources.Relay = turn.Stats
	}
	if t != nil {
		sources.Engines = t.Stats
	}
	if link.Link != nil {
		sources.Link = link.Stats
	}
	if f != nil {
		sources.Forward = f.Stats
	}
	return metrics.Handler(sources, s.log)
}

// OpenTrack implements media.Sink.
func (s *server) OpenTrack(ctx context.Context, session string, at time.Time) (media.Log, error) {
	s.joins.heard(session)
	return s.pipeline.OpenTrack(ctx, session, at)
}

// SessionClosed implements media.Sink.
func (s *server) SessionClosed(session string, r audio.Reason) {
	s.http.SessionClosed(session)
	s.joins.closed(session, r)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.registry.SessionClosed(ctx, session); err != nil {
		s.log.Error("a participant's leaving was not stored", "reason", r.String(), "err", err)
	}
}

func (s *server) closeSession(session string, r audio.Reason) bool {
	if r == audio.ReasonReplaced && s.moving.Load() {
		return false // by one elsewhere, which may not be connected yet: who moves ends this one then
	}
	return s.media.CloseSession(session, r) || s.ingest.CloseSession(session, r)
}

// ingestSink is the server as the Sink of its ingest engine, whose Log is another.
type ingestSink struct{ *server }

// OpenTrack implements ingest.Sink.
func (s ingestSink) OpenTrack(ctx context.Context, session string, at time.Time) (ingest.Log, error) {
	return s.pipeline.OpenTrack(ctx, session, at)
}

func (s *server) scheme() string {
	if s.tls == nil {
		return "http"
	}
	return "https"
}

// serve answers until ctx ends. Then, in this order: no new sessions; participants
// are asked to go elsewhere; the sessions that are left end with all that they had
// sent; their tracks are transcribed to the last caption, which the event streams
// still carry; the streams end.
func (s *server) serve(ctx context.Context, l net.Listener, c *serveCmd) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := s.http.HTTPServer(base)
	failed := make(chan error, 1)
	go func() {
		if s.tls == nil {
			failed <- srv.Serve(l)
			return
		}
		srv.TLSConfig = s.tls
		failed <- srv.ServeTLS(l, "", "")
	}()
	tellSystemd("READY=1", s.log)
	var err error
	select {
	case <-ctx.Done():
		tellSystemd("STOPPING=1", s.log)
	case err = <-failed:
	}
	s.http.Drain()
	fmt.Println("Shutting down: waiting for the last captions (Ctrl-C again to stop at once).")
	if ctx.Err() != nil { // else nobody can be told
		time.Sleep(c.Draining.DrainDelay)
		s.moveAway(base, c.Draining.DrainMove)
	}
	dctx, cancel := context.WithTimeout(base, c.Drain)
	defer cancel()
	if merr := errors.Join(s.ingest.Close(dctx), s.media.Close(dctx)); merr != nil {
		s.log.Warn("sessions were cut off", "err", merr)
	}
	if pending := s.pipeline.Close(dctx); pending > 0 {
		s.log.Warn("some tracks are not transcribed to their end; the next start goes on with them", "tracks", pending)
	}
	s.hub.Close()
	sctx, cancel := context.WithTimeout(base, 5*time.Second)
	defer cancel()
	if serr := srv.Shutdown(sctx); serr != nil {
		s.log.Warn("requests were cut off", "err", serr)
		err = errors.Join(err, srv.Close())
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
