//go:build linux

// Command run is `make netem`: it measures what Verbatim makes of bad networks,
// with the real server and real senders, and writes the table of
// docs/PERFORMANCE.md.
//
// One run has a number of cells: a loss, a round trip, a jitter. Every cell has
// a server of its own, at an address of its own, and the cells of one sender run
// at the same time. The program is PID 1 of its own process, mount and network
// namespaces, in which the senders run; the servers run in a second network
// namespace; package netem is the network between them. Nothing of this outlives
// the program, whatever ends it.
//
// How long audio was delayed is seen from two sides: the network notes when each
// RTP packet was due at the server, and the server's recognizer is this program
// (see tap.go), which notes when it got each sample.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
)

// options are the command line.
type options struct {
	duration  time.Duration
	senders   []string
	cells     []cell
	together  int
	seed      uint64
	words     bool
	wordsFor  time.Duration
	json      string
	docs      string
	verbatim  string
	sphinx    string
	chromium  string
	keep      string
	tolerance time.Duration
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("netem", flag.ContinueOnError)
	f.DurationVar(&o.duration, "duration", 5*time.Minute, "how long each cell is")
	senders := f.String("senders", "pion,chromium", "the senders")
	loss := f.String("loss", "0,1,5,10,20,burst", "losses on the way up in %; burst is 5 % in bursts of 4 packets")
	rtt := f.String("rtt", "20,100,300", "round trips in ms")
	jitter := f.String("jitter", "0,30", "jitters on the way up in ms")
	f.IntVar(&o.together, "together", 36, "how many cells run at the same time")
	f.Uint64Var(&o.seed, "seed", 1, "of the networks' randomness")
	f.BoolVar(&o.words, "words", true, "count lost words with PocketSphinx afterwards")
	f.DurationVar(&o.wordsFor, "words-for", 0, "count them in this much of each cell only; 0 is all")
	f.StringVar(&o.json, "json", "", "write the results to this file, too")
	f.StringVar(&o.docs, "docs", "", "put the table into this Markdown file, between its markers")
	f.StringVar(&o.verbatim, "verbatim", "bin/verbatim", "the server")
	f.StringVar(&o.sphinx, "pocketsphinx", "bin/verbatim-pocketsphinx", "the recognizer that counts words")
	f.StringVar(&o.chromium, "chromium", "web/e2e/netem.js", "the program that drives Chromium")
	f.StringVar(&o.keep, "keep", "", "new folder in which everything is kept that is else removed")
	f.DurationVar(&o.tolerance, "tolerance", 20*time.Millisecond, "how long the machine may hold what nothing held up (p99)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", f.Arg(0))
	}
	o.senders = strings.Split(*senders, ",")
	for _, s := range o.senders {
		if s != "pion" && s != "chromium" {
			return o, fmt.Errorf("-senders %q: there are pion and chromium", s)
		}
	}
	if o.duration < time.Second || o.together < 1 {
		return o, errors.New("-duration is at least 1s, -together at least 1")
	}
	o.cells, err = cells(*loss, *rtt, *jitter)
	return o, err
}

func main() {
	args := os.Args[1:]
	var err error
	if len(args) == 2 && args[0] == "tap" {
		err = tap(os.Stdin, args[1])
	} else {
		err = isolated(args)
		if exit := new(exec.ExitError); errors.As(err, &exit) { // it has said why
			os.Exit(max(1, exit.ExitCode()))
		}
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "netem:", err)
		os.Exit(1)
	}
}

// isolated runs the program in namespaces of its own.
func isolated(args []string) error {
	if len(args) == 0 || args[0] != "inside" {
		if _, err := parse(args); err != nil {
			return err
		}
		runtime.LockOSThread() // a priority is a thread's, and what it starts inherits it
		if err := prioritize(networkFirst); err != nil {
			return fmt.Errorf("come before all other processes, which needs root: %w", err)
		}
	}
	return harness.Isolate(unix.CLONE_NEWNET, args, measureAll)
}

// measureAll is the program proper.
func measureAll(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "verbatim-netem-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	h, err := newBench(ctx, o, dir)
	if err != nil {
		return err
	}
	defer h.servers.Close()
	var all []result
	for _, sender := range o.senders {
		rs, err := h.sender(ctx, sender)
		if err != nil {
			return fmt.Errorf("%s: %w", sender, err)
		}
		all = append(all, rs...)
	}
	if o.words {
		if err := countWords(ctx, o, all); err != nil {
			return err
		}
	}
	return report(os.Stdout, o, all)
}

func percents(list string) ([]float64, error) {
	var all []float64
	for s := range strings.SplitSeq(list, ",") {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%q is no number", s)
		}
		all = append(all, v)
	}
	return all, nil
}
