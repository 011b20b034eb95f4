package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"verbatim/pipeline/store"
)

// storeFlags say where meetings are kept, and by which node.
type storeFlags struct {
	DB      string `name:"db" help:"PostgreSQL that keeps meetings and transcripts, for one server or several (default: SQLite in --data). Audio stays in --data. The variable keeps the password from the list of processes." placeholder:"postgres://USER:PASSWORD@HOST/DATABASE" secret:"url" group:"Several nodes"`
	Node    string `help:"Name of this server among those of a database (default: a random one that is kept in --data)." placeholder:"NAME" group:"Several nodes"`
	NodeURL string `name:"node-url" help:"URL by which clients reach this server and no other; those of sessions begin with it (default: as the client has called it)." placeholder:"https://HOST" group:"Several nodes"`
}

var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

// open opens the store, as the node whose audio is in the data folder.
func (f *storeFlags) open(ctx context.Context, data string, log *slog.Logger) (*store.Store, error) {
	if err := f.checkURL(); err != nil {
		return nil, err
	}
	where := filepath.Join(data, "verbatim.db")
	if f.DB != "" {
		if !store.IsPostgres(f.DB) {
			return nil, errors.New("--db is the URL of a PostgreSQL, postgres://USER:PASSWORD@HOST/DATABASE; without it, SQLite in --data is used")
		}
		where = f.DB
	}
	file := filepath.Join(data, "node")
	node, kept, err := f.node(file)
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, where, store.OnWait(func() {
		log.Info("another server is bringing the database up to its version; this one waits for it, up to five minutes")
	}))
	if err != nil {
		return nil, err
	}
	if err := db.SetNode(ctx, node, f.NodeURL); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if !kept { // not before it is known that no other server has it
		if err := keep(file, node+"\n"); err != nil {
			return nil, errors.Join(fmt.Errorf("this node's name: %w", err), db.Close())
		}
	}
	return db, nil
}

func (f *storeFlags) checkURL() error {
	if f.NodeURL == "" {
		return nil
	}
	u, err := url.Parse(f.NodeURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("--node-url is a URL such as https://node1.example.org")
	}
	f.NodeURL = strings.TrimSuffix(f.NodeURL, "/")
	return nil
}

// node is this node's name, and whether file keeps it already: the tracks that it has
// are known by it.
func (f *storeFlags) node(file string) (name string, kept bool, err error) {
	if f.Node != "" && !nodeName.MatchString(f.Node) {
		return "", false, errors.New("--node is a name of small letters, digits, dots, - and _")
	}
	b, err := os.ReadFile(file)
	name = strings.TrimSpace(string(b))
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.Node != "":
		return f.Node, false, nil
	case errors.Is(err, fs.ErrNotExist):
		return strings.ToLower(rand.Text()[:12]), false, nil
	case err != nil:
		return "", false, fmt.Errorf("this node's name: %w", err)
	case !nodeName.MatchString(name):
		return "", false, fmt.Errorf("this node's name: %s holds none", file)
	case f.Node != "" && f.Node != name:
		return "", false, fmt.Errorf("the audio in this data folder is that of node %s, so it cannot be node %s; --data gives that one a folder of its own", name, f.Node)
	}
	return name, true, nil
}

// nodesCmd is for operators of several nodes.
type nodesCmd struct {
	List   nodesListCmd   `cmd:"" default:"1" help:"List the servers that use a PostgreSQL."`
	GiveUp nodesGiveUpCmd `cmd:"" help:"Give up what a dead server has not transcribed, and its audio, because it will not come back."`

	DB string `name:"db" required:"" help:"The PostgreSQL." placeholder:"postgres://USER:PASSWORD@HOST/DATABASE"`
}

func (c *nodesCmd) open(ctx context.Context) (*store.Store, error) {
	if !store.IsPostgres(c.DB) {
		return nil, errors.New("--db is the URL of a PostgreSQL, postgres://USER:PASSWORD@HOST/DATABASE")
	}
	return store.Open(ctx, c.DB)
}

type nodesListCmd struct{}

// Run prints a line for each node.
func (c *nodesListCmd) Run(ctx context.Context, all *nodesCmd) (err error) {
	db, err := all.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	nodes, err := db.Nodes(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tLAST SEEN\tUNFINISHED TRACKS\tTO HAND OVER\tRECORDINGS\tURL")
	for _, n := range nodes {
		state := "dead"
		if n.Alive {
			state = "alive"
		}
		bucket := n.Bucket
		if len(bucket) > 8 { // enough to see which are the same
			bucket = bucket[:8]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", n.ID, state, n.SeenAt.Format(time.RFC3339), n.Unfinished, n.Awaited, bucket, n.URL)
	}
	return w.Flush()
}

type nodesGiveUpCmd struct {
	Node string `arg:"" help:"Its name, as verbatim nodes lists it."`
}

// Run gives a node up.
func (c *nodesGiveUpCmd) Run(ctx context.Context, all *nodesCmd) (err error) {
	db, err := all.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tracks, err := db.GiveUpNode(ctx, c.Node, time.Now())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no node %q; `verbatim nodes` lists those that there are", c.Node)
	case err != nil:
		return err
	}
	fmt.Printf("Node %s is given up (unfinished tracks: %d). What was not transcribed of them is skipped; recordings are made without the audio that it has not handed over.\n", c.Node, tracks)
	return nil
}
