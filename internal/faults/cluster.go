//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"verbatim/internal/harness"
	"verbatim/internal/netem"
	"verbatim/signaling/whipclient"
)

const (
	nodesInAll = 3 // and as many NATS servers
	roomsInAll = 6
	// drainFor is how long a node that shuts down waits for the last captions.
	drainFor = 10 * time.Second
)

// cluster is several servers, the database that they share and the NATS servers
// that carry their events, each in a network namespace of its own; this one is
// between them, and has the people. One goroutine uses it, which starts, stops
// and cuts off; its clients are everybody's.
type cluster struct {
	o     *options
	dir   string
	phase *phase
	spaces
	nodes    []*node
	nats     []*part
	postgres part
	bin      string // PostgreSQL's programs
	pgdata   string
	clients  []*whipclient.Client // of the nodes
	peak     int64                // bytes
}

// part is a process in a namespace.
type part struct {
	name   string
	ip     string
	space  *netem.Namespace
	server *harness.Server // nil while it does not run
}

// node is a verbatim server.
type node struct {
	part
	deaths []time.Time // or when it was cut off
}

// spaces are namespaces, which close closes.
type spaces []*netem.Namespace

// add makes a namespace and links it with this one.
func (s *spaces) add(ctx context.Context, name string) (part, error) {
	n, err := netem.NewNamespace()
	if err != nil {
		return part{}, err
	}
	*s = append(*s, n)
	net := fmt.Sprintf("10.9.%d.", len(*s))
	return part{name: name, ip: net + "2", space: n}, n.Link(ctx, name, net+"1", net+"2")
}

func (s *spaces) close() {
	for _, n := range *s {
		n.Close()
	}
}

// start starts a process there and waits until it is ready.
func (p *part) start(ctx context.Context, o harness.ServerOptions) (err error) {
	o.Start = p.space.Do
	if p.server, err = harness.StartServer(o); err != nil {
		return err
	}
	return p.server.Ready(ctx)
}

func (p *part) kill() error {
	if p.server == nil {
		return nil
	}
	s := p.server
	p.server = nil
	return s.Kill()
}

// newCluster starts everything; stop ends it, whatever came of that.
func newCluster(ctx context.Context, o *options, dir string, p *phase) (c *cluster, err error) {
	c = &cluster{o: o, dir: dir, phase: p}
	for i := range nodesInAll {
		n := &node{}
		if n.part, err = c.add(ctx, fmt.Sprint("node", i+1)); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, n)
		c.clients = append(c.clients, &whipclient.Client{URL: "http://" + n.ip + ":8080"})
	}
	for i := range nodesInAll {
		part, err := c.add(ctx, fmt.Sprint("nats", i+1))
		if err != nil {
			return c, err
		}
		c.nats = append(c.nats, &part)
	}
	if c.postgres, err = c.add(ctx, "postgres"); err != nil {
		return c, err
	}
	p.say("starts PostgreSQL")
	if err := c.makeDatabase(ctx); err != nil {
		return c, err
	}
	p.say("starts NATS")
	for i := range c.nats {
		if err := c.startNATS(ctx, i); err != nil {
			return c, err
		}
	}
	p.say("starts the servers")
	for i := range c.nodes {
		if err := c.startNode(ctx, i); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cluster) stop() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.kill())
	}
	for _, n := range c.nats {
		errs = append(errs, n.kill())
	}
	errs = append(errs, c.postgres.kill())
	c.close()
	if c.pgdata != "" {
		errs = append(errs, os.RemoveAll(c.pgdata))
	}
	return errors.Join(errs...)
}

func (c *cluster) startNode(ctx context.Context, i int) error {
	n := c.nodes[i]
	return n.start(ctx, harness.ServerOptions{
		Binary: c.o.verbatim, Listen: n.ip + ":8080", Media: n.ip + ":8080",
		Data: filepath.Join(c.dir, n.name), Log: filepath.Join(c.dir, n.name+".log"),
		Flags: []string{
			"--node", n.name, "--node-url", c.clients[i].URL, "--min-free", "0",
			"--db", "postgres://" + pgRole + "@" + c.postgres.ip + "/" + pgRole, "--nats", c.natsURLs(),
			"--forward", "jetstream", "--forward-replicas", fmt.Sprint(nodesInAll),
			"--drain", drainFor.String(), "--drain-delay", "1s",
			"--recognizer", fmt.Sprintf("command:%q -speed %q", c.o.recognizer, filepath.Join(c.dir, "speed")),
		},
	})
}

func (c *cluster) natsURLs() string {
	var urls []string
	for _, n := range c.nats {
		urls = append(urls, "nats://"+n.ip)
	}
	return strings.Join(urls, ",")
}

func (c *cluster) startNATS(ctx context.Context, i int) error {
	n := c.nats[i]
	var routes []string
	for j, other := range c.nats {
		if j != i {
			routes = append(routes, "nats://"+other.ip+":6222")
		}
	}
	return n.start(ctx, harness.ServerOptions{
		Binary: c.o.nats, Log: filepath.Join(c.dir, n.name+".log"), Listen: n.ip + ":8222", Health: "/healthz?js-enabled-only=true",
		Args: []string{
			"-n", n.name, "-a", n.ip, "-m", "8222", "--cluster_name", "faults", "--cluster", "nats://" + n.ip + ":6222",
			"--routes", strings.Join(routes, ","), "-js", "-sd", filepath.Join(c.dir, n.name),
		},
	})
}

// PostgreSQL does not run as root.
const (
	pgUser = "nobody"
	pgRole = "verbatim"
)

// as makes a command line one of the user's that PostgreSQL runs as.
func as(args ...string) []string {
	return append([]string{"--reuid=" + pgUser, "--regid=nogroup", "--clear-groups", "--"}, args...)
}

// makeDatabase makes a PostgreSQL cluster with a database in it and starts it.
func (c *cluster) makeDatabase(ctx context.Context) (err error) {
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		return errors.Join(err, errors.New("no PostgreSQL here: scripts/install-deps.sh test installs it"))
	}
	c.bin = slices.Max(bins)
	// Not below dir, which is root's.
	if c.pgdata, err = os.MkdirTemp("", "verbatim-faults-pg-"); err != nil {
		return err
	}
	if err := netem.Command(ctx, "", "chown", pgUser, c.pgdata); err != nil {
		return err
	}
	if err := netem.Command(ctx, "", "setpriv", as(filepath.Join(c.bin, "initdb"), "-D", c.pgdata, "-U", pgRole, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")...); err != nil {
		return err
	}
	hba, err := os.OpenFile(filepath.Join(c.pgdata, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = hba.WriteString("host all all 10.9.0.0/16 trust\n")
	if err := errors.Join(err, hba.Close()); err != nil {
		return err
	}
	if err := c.startPostgres(ctx); err != nil {
		return err
	}
	return netem.Command(ctx, "", filepath.Join(c.bin, "createdb"), "-h", c.postgres.ip, "-U", pgRole, pgRole)
}

func (c *cluster) startPostgres(ctx context.Context) (err error) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return err
	}
	c.postgres.server, err = harness.StartServer(harness.ServerOptions{
		Binary: setpriv, Log: filepath.Join(c.dir, "postgres.log"), Start: c.postgres.space.Do,
		Args: as(filepath.Join(c.bin, "postgres"), "-D", c.pgdata, "-k", c.pgdata, "-c", "listen_addresses="+c.postgres.ip, "-c", "max_connections=100"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("PostgreSQL does not start: its log may say why"))
	defer cancel()
	for exec.CommandContext(ctx, filepath.Join(c.bin, "pg_isready"), "-q", "-h", c.postgres.ip).Run() != nil {
		if err := harness.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// cut drops what goes to and comes from a node: what others in the back send, and
// the people's packets, too, if all is.
func (c *cluster) cut(ctx context.Context, n *node, all bool) error {
	hooks := []string{"forward"}
	if all {
		hooks = append(hooks, "input", "output")
	}
	rules := "table ip cut { "
	for _, hook := range hooks {
		rules += fmt.Sprintf("chain %[1]s { type filter hook %[1]s priority filter; ip saddr %[2]s drop; ip daddr %[2]s drop; }; ", hook, n.ip)
	}
	rules += "};"
	return netem.Command(ctx, rules, "nft", "-f", "-")
}

func (c *cluster) mend(ctx context.Context) error {
	return netem.Command(ctx, "flush ruleset", "nft", "-f", "-")
}

// client is of the first node that is ready.
func (c *cluster) client() *whipclient.Client {
	for _, each := range c.clients {
		if ready(context.Background(), each) {
			return each
		}
	}
	return c.clients[0]
}

// allReady waits for all nodes.
func (c *cluster) allReady(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.server.Ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func (c *cluster) measure() {
	for _, n := range c.nodes {
		if n.server != nil {
			c.peak = max(c.peak, peakMemory(n.server.PID()))
		}
	}
}

func (c *cluster) deaths() (all [][]time.Time) {
	for _, n := range c.nodes {
		all = append(all, n.deaths)
	}
	return all
}

// nodeRow is one fault of several servers.
type nodeRow struct {
	name        string
	title       string // with "%v" for how long
	full, quick time.Duration
	// edge is for how long before its death, or before it was cut off, what a node
	// got may be lost.
	edge time.Duration
	// fault does it, while everybody talks, and returns when it is over.
	fault func(ctx context.Context, c *cluster, d time.Duration) error
}

var nodeRows = []nodeRow{
	{
		name: "none", title: "no fault",
		full: 30 * time.Second, quick: 10 * time.Second,
		fault: func(ctx context.Context, _ *cluster, d time.Duration) error { return harness.Sleep(ctx, d) },
	},
	{
		name: "kill-node", title: "a node killed, and started again after %v",
		full: 20 * time.Second, quick: 8 * time.Second, edge: unwritten,
		fault: func(ctx context.Context, c *cluster, d time.Duration) error {
			n := c.nodes[1]
			c.measure()
			n.deaths = append(n.deaths, time.Now())
			if err := n.kill(); err != nil {
				return err
			}
			if err := harness.Sleep(ctx, d); err != nil {
				return err
			}
			return c.startNode(ctx, 1)
		},
	},
	{
		name: "drain-node", title: "a node shut down (SIGTERM), and started again",
		fault: func(ctx context.Context, c *cluster, _ time.Duration) error {
			n := c.nodes[2]
			c.measure()
			if err := n.server.Stop(); err != nil {
				return err
			}
			n.server = nil
			return c.startNode(ctx, 2)
		},
	},
	{
		name: "cut-back", title: "a node cut off from PostgreSQL, NATS and the other nodes for %v",
		full: 20 * time.Second, quick: 12 * time.Second,
		fault: func(ctx context.Context, c *cluster, d time.Duration) error { return c.cutFor(ctx, 0, false, d) },
	},
	{
		name: "cut-node", title: "a node cut off from everything for %v",
		full: 45 * time.Second, quick: 45 * time.Second, edge: inFlight,
		fault: func(ctx context.Context, c *cluster, d time.Duration) error {
			c.nodes[1].deaths = append(c.nodes[1].deaths, time.Now())
			return c.cutFor(ctx, 1, true, d)
		},
	},
	{
		name: "nats", title: "a NATS server killed, and started again after %v",
		full: 20 * time.Second, quick: 8 * time.Second,
		fault: func(ctx context.Context, c *cluster, d time.Duration) error {
			if err := c.nats[0].kill(); err != nil {
				return err
			}
			if err := harness.Sleep(ctx, d); err != nil {
				return err
			}
			return c.startNATS(ctx, 0)
		},
	},
	{
		name: "postgres", title: "PostgreSQL stopped, and started again after %v",
		full: 20 * time.Second, quick: 8 * time.Second,
		fault: func(ctx context.Context, c *cluster, d time.Duration) error {
			s := c.postgres.server
			if err := s.Signal(syscall.SIGINT); err != nil { // fast: whoever is connected is cut off
				return err
			}
			s.Wait()
			c.postgres.server = nil
			if err := harness.Sleep(ctx, d); err != nil {
				return err
			}
			return errors.Join(c.startPostgres(ctx), c.allReady(ctx))
		},
	},
}

// inFlight is how old a packet may be that had not arrived when a node was cut off.
const inFlight = 100 * time.Millisecond

// cutFor cuts a node off and waits until it is ready again.
func (c *cluster) cutFor(ctx context.Context, i int, all bool, d time.Duration) error {
	if err := c.cut(ctx, c.nodes[i], all); err != nil {
		return err
	}
	err := harness.Sleep(ctx, d)
	return errors.Join(err, c.mend(ctx), c.allReady(ctx))
}

// text is the title, filled in.
func (r nodeRow) text(d time.Duration) string {
	if !strings.Contains(r.title, "%") {
		return r.title
	}
	return fmt.Sprintf(r.title, d)
}

// run lets people talk in rooms of their own, each at all nodes, and watches the
// rooms at every node.
func (r nodeRow) run(ctx context.Context, c *cluster) (res nodeResult, err error) {
	d := r.full
	if c.o.quick {
		d = r.quick
	}
	res.Name, res.Title = r.name, r.text(d)
	dir := filepath.Join(c.dir, r.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return res, err
	}
	for _, n := range c.nodes {
		n.deaths = nil
	}
	c.peak = 0
	var groups []group
	for i := range roomsInAll {
		g := group{room: fmt.Sprintf("%s-%d", r.name, i+1)}
		for j := range c.o.whip {
			g.talkers = append(g.talkers, &whip{servers: c.clients, home: i + j, room: g.room, id: fmt.Sprintf("whip%d", j+1), signal: c.o.signal})
		}
		for j := range c.o.ingest {
			home := (i + j + c.o.whip) % len(c.clients)
			g.talkers = append(g.talkers, &ingest{base: c.clients[home].URL, room: g.room, id: fmt.Sprintf("ingest%d", j+1), signal: c.o.signal})
		}
		groups = append(groups, g)
	}
	audience, leave := watchAll(ctx, c.clients, groups)
	defer leave()
	sc := scene{
		res: &res.result, quick: c.o.quick, rooms: groups,
		bars:   bars{off: c.o.off, drift: c.o.off, edge: r.edge},
		fault:  func(ctx context.Context) error { return r.fault(ctx, c, d) },
		client: c.client, deaths: c.deaths, measure: c.measure, say: func(text string) { c.phase.say(r.name + " " + text) }, dir: dir,
	}
	docs, err := sc.run(ctx)
	res.PeakMB = float64(c.peak) / (1 << 20)
	if err != nil {
		return res, err
	}
	c.phase.say(r.name + " is seen everywhere")
	audience.judge(ctx, &res, docs)
	if res.Forwarded, err = c.forwarded(ctx, docs, r.edge); err != nil {
		return res, err
	}
	if f := res.Forwarded; f.Lost+f.Doubled+f.Unfinished+f.Length > 0 {
		res.miss("forwarded audio: %d messages lost, %d doubled or out of order, %d tracks without an end, %d of another length", f.Lost, f.Doubled, f.Unfinished, f.Length)
	}
	return res, nil
}

// allNodes runs the rows of several nodes, one after the other.
func (o *options) allNodes(ctx context.Context, dir string) (err error) {
	b := &board{}
	p := b.begin("nodes:")
	done := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		b.show(done)
	}()
	defer func() {
		close(done)
		<-shown
	}()
	c, err := newCluster(ctx, o, dir, p)
	defer func() { err = errors.Join(err, c.stop()) }()
	if err != nil {
		return err
	}
	var results []nodeResult
	for _, r := range o.nodeRows {
		begun := time.Now()
		res, err := r.run(ctx, c)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			res.miss("%v", err)
			if err := c.mend(ctx); err != nil {
				return err
			}
		}
		res.Seconds = time.Since(begun).Seconds()
		results = append(results, res)
	}
	return reportNodes(os.Stdout, o, results)
}
