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
// The program is in PID and mount namespaces of its own: no process and no mount
// outlives it. A row has one goroutine, each of its participants two.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"verbatim/internal/harness"
)

// options are the command line.
type options struct {
	rows         []row
	quick        bool
	together     int
	whip, ingest int
	off          time.Duration
	json, docs   string
	verbatim     string
	recognizer   string
	keep         string

	signal *signal
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.name
	}
	run := f.String("run", strings.Join(names, ","), "the rows")
	f.BoolVar(&o.quick, "quick", false, "a shorter version of each row")
	f.IntVar(&o.together, "together", 2, "how many rows run at the same time")
	f.IntVar(&o.whip, "whip", 4, "how many participants each row has over WebRTC")
	f.IntVar(&o.ingest, "ingest", 2, "how many participants each row has over WebSockets")
	f.DurationVar(&o.off, "off", 100*time.Millisecond, "how far a word's time may be from the truth; a busy machine needs more")
	f.StringVar(&o.json, "json", "", "write the results to this file, too")
	f.StringVar(&o.docs, "docs", "", "put the table into this Markdown file, between its markers")
	f.StringVar(&o.verbatim, "verbatim", "bin/verbatim-faults", "the server, built with the tag faults")
	f.StringVar(&o.recognizer, "recognizer", "bin/verbatim-tonecode", "the test recognizer")
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
	for name := range strings.SplitSeq(*run, ",") {
		found := false
		for _, r := range rows {
			if r.name == name {
				o.rows, found = append(o.rows, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("-run %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	for _, p := range []*string{&o.verbatim, &o.recognizer} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	return o, nil
}

func main() {
	err := harness.Isolate(0, os.Args[1:], try)
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
	length := 10 * time.Minute
	if o.quick {
		length = 3 * time.Minute
	}
	harness.Progress("making the signal")
	if o.signal, err = makeSignal(ctx, dir, length); err != nil {
		return err
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

// board knows the sites that run.
type board struct {
	mu    sync.Mutex // guards sites
	sites map[*site]bool
}

// row runs one of them.
func (b *board) row(ctx context.Context, o *options, r row, dir string) (res result, err error) {
	s, err := newSite(ctx, o, r, dir)
	if s == nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return res, err
	}
	b.set(s, true)
	defer b.set(s, false)
	return s.run(ctx)
}

func (b *board) set(s *site, runs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sites == nil {
		b.sites = map[*site]bool{}
	}
	if delete(b.sites, s); runs {
		b.sites[s] = true
	}
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
		for s := range b.sites {
			at = append(at, s.row.name+" "+*s.phase.Load())
		}
		b.mu.Unlock()
		harness.Progress("%v: %s", time.Since(begun).Round(time.Second), strings.Join(at, ", "))
	}
}
