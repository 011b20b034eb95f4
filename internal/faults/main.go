//go:build linux

// Command faults is `make faults`: it does to the real server, its recognizers
// and its disk what happens to them in real life, while people talk, and counts
// what is lost. It writes the table of docs/RELIABILITY.md.
//
// Each row is one fault and has a site: a server with a data folder of its own,
// and participants who say numbers (package tonecode), over WebRTC and over
// WebSockets. They join again when the server dies. What they said, number by
// number, is compared with the transcript in the end: its words are what the
// test recognizer read out of the audio.
//
// With -nodes it is `make faults-nodes`: three servers with one PostgreSQL and
// three NATS servers, each in a network namespace of its own, suffer one fault
// after the other, and people watch every room at every server.
//
// The program is in PID, mount and network namespaces of its own: nothing outlives
// it. A row has one goroutine, each of its participants two.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
	"verbatim/internal/netem"
)

// options are the command line.
type options struct {
	nodes        bool
	rows         []row
	nodeRows     []nodeRow
	quick        bool
	together     int
	whip, ingest int
	off          time.Duration
	json, docs   string
	verbatim     string
	recognizer   string
	nats         string
	keep         string

	signal *signal
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	run := f.String("run", "", "some of the rows (default: all), with commas between them")
	f.BoolVar(&o.nodes, "nodes", false, "the table of several servers")
	f.BoolVar(&o.quick, "quick", false, "a shorter version of each row")
	f.IntVar(&o.together, "together", 2, "how many rows run at the same time")
	f.IntVar(&o.whip, "whip", 4, "how many participants each room has over WebRTC")
	f.IntVar(&o.ingest, "ingest", 2, "how many participants each room has over WebSockets")
	f.DurationVar(&o.off, "off", 100*time.Millisecond, "how far a word's time may be from the truth; a busy machine needs more")
	f.StringVar(&o.json, "json", "", "write the results to this file, too")
	f.StringVar(&o.docs, "docs", "", "put the table into this Markdown file, between its markers")
	f.StringVar(&o.verbatim, "verbatim", "bin/verbatim-faults", "the server, built with the tag faults")
	f.StringVar(&o.recognizer, "recognizer", "bin/verbatim-tonecode", "the test recognizer")
	f.StringVar(&o.nats, "nats", "bin/nats-server", "the NATS server")
	f.StringVar(&o.keep, "keep", "", "new folder in which everything is kept that is else removed")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag", f.Arg(0))
	}
	if o.together < 1 || o.whip < 0 || o.ingest < 0 || o.whip+o.ingest == 0 {
		return nil, errors.New("-together is at least 1, and somebody has to talk (-whip, -ingest)")
	}
	var err error
	if o.nodes {
		o.nodeRows, err = choose(nodeRows, func(r nodeRow) string { return r.name }, *run)
	} else {
		o.rows, err = choose(rows, func(r row) string { return r.name }, *run)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range []*string{&o.verbatim, &o.recognizer, &o.nats} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	return o, nil
}

// choose is some of the rows by their names, which have commas between them.
func choose[T any](all []T, name func(T) string, names string) (chosen []T, err error) {
	if names == "" {
		return all, nil
	}
	for want := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(r T) bool { return name(r) == want })
		if i < 0 {
			var there []string
			for _, r := range all {
				there = append(there, name(r))
			}
			return nil, fmt.Errorf("-run %q: there are %s", want, strings.Join(there, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func main() {
	err := harness.Isolate(unix.CLONE_NEWNET, os.Args[1:], try)
	if exit := new(exec.ExitError); errors.As(err, &exit) { // it has said why
		os.Exit(max(1, exit.ExitCode()))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// try is the program proper.
func try(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "verbatim-faults-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := netem.Hub(ctx); err != nil {
		return err
	}
	length := 10 * time.Minute
	if o.quick {
		length = 3 * time.Minute
	}
	harness.Progress("making the signal")
	if o.signal, err = makeSignal(ctx, dir, length); err != nil {
		return err
	}
	if o.nodes {
		return o.allNodes(ctx, dir)
	}
	return o.all(ctx, dir)
}

// all runs the rows, some at a time.
func (o *options) all(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]result, len(o.rows))
	slots := make(chan struct{}, o.together)
	var wg sync.WaitGroup
	b := &board{}
	for i, r := range o.rows {
		wg.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return
			}
			begun := time.Now()
			res, err := b.row(ctx, o, r, filepath.Join(dir, r.name))
			if err != nil {
				res.Name, res.Title = r.name, r.text(o.quick)
				res.miss("%v", err)
			}
			res.Seconds = time.Since(begun).Seconds()
			results[i] = res
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	b.show(done)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return report(os.Stdout, o, results)
}

// phase is how far a row is.
type phase struct {
	row string
	now atomic.Pointer[string]
}

func (p *phase) say(text string) { p.now.Store(&text) }

// board knows the rows that run.
type board struct {
	mu     sync.Mutex // guards phases
	phases map[*phase]bool
}

// row runs one of them.
func (b *board) row(ctx context.Context, o *options, r row, dir string) (res result, err error) {
	p := b.begin(r.name)
	defer b.end(p)
	s, err := newSite(ctx, o, r, dir, p)
	if s == nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return res, err
	}
	return s.run(ctx)
}

func (b *board) begin(row string) *phase {
	p := &phase{row: row}
	p.say("begins")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phases == nil {
		b.phases = map[*phase]bool{}
	}
	b.phases[p] = true
	return p
}

func (b *board) end(p *phase) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.phases, p)
}

// show tells now and then how far it is, until done.
func (b *board) show(done <-chan struct{}) {
	begun := time.Now()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		var at []string
		b.mu.Lock()
		for p := range b.phases {
			at = append(at, p.row+" "+*p.now.Load())
		}
		b.mu.Unlock()
		slices.Sort(at)
		harness.Progress("%v: %s", time.Since(begun).Round(time.Second), strings.Join(at, ", "))
	}
}
