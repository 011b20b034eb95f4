//go:build linux

// Command reach is `make reach-test`: it has clients publish from behind networks
// that let little through, to a real server behind a NAT of its own, and checks
// that all audio arrives, over the way that is left.
//
//	client 192.168.7.2 ── NAT, firewall ── 203.0.113.5, 1:1 NAT ── server 10.0.0.5
//
// The program is PID 1 of its own process, mount and network namespaces, in which
// it is both NATs (by nftables); client and server each have a namespace. Nothing
// of this outlives the program, whatever ends it. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
)

// options are the command line.
type options struct {
	verbatim, file, chromium string
}

func main() {
	err := harness.Isolate(unix.CLONE_NEWNET, os.Args[1:], run)
	if exit := new(exec.ExitError); errors.As(err, &exit) { // it has said why
		os.Exit(max(1, exit.ExitCode()))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "reach:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("reach", flag.ContinueOnError)
	f.StringVar(&o.verbatim, "verbatim", "bin/verbatim", "the server, and the client")
	f.StringVar(&o.file, "file", "internal/speech/sas-0880.opus", "what the client sends")
	f.StringVar(&o.chromium, "chromium", "web/e2e/reach.js", "the program that drives Chromium; empty: none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for _, p := range []*string{&o.verbatim, &o.file, &o.chromium} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return o, err
		}
	}
	return o, nil
}

// firewall is what the client's network lets through.
type firewall struct {
	name  string
	rules string   // of nftables, for what the client sends
	ways  []string // of `publish --via`: those that there are
	shut  []string // and those that there are not
	pair  pair     // that Chromium ends up with
	seen  string   // a metric of the server that is not 0 then
}

var firewalls = []firewall{
	{
		name: "NAT alone",
		ways: []string{"udp", "tcp", "turn"},
		pair: pair{Protocol: "udp"}, seen: "verbatim_sessions_started_total",
	},
	{
		name:  "no UDP",
		rules: `iifname "client" meta l4proto udp drop`,
		ways:  []string{"tcp", "turn"}, shut: []string{"udp"},
		pair: pair{Protocol: "tcp"}, seen: "verbatim_media_tcp_connections_total",
	},
	{
		name: "HTTPS and TURN over TLS alone",
		rules: `iifname "client" meta l4proto udp drop
			iifname "client" tcp dport != { 443, 5349 } drop`,
		ways: []string{"turn"}, shut: []string{"udp", "tcp"},
		pair: pair{Protocol: "udp", Relay: "tls"}, seen: "verbatim_turn_allocations_total",
	},
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "verbatim-reach-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("it takes too long"))
	defer cancel()
	n, err := newNetwork(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	s, err := startSite(ctx, o, dir, n)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.server.Stop())
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "server.log"))
			err = fmt.Errorf("%w\nthe server's log:\n%s", err, log)
		}
	}()
	for i, f := range firewalls {
		begun := time.Now()
		if err := n.filter(ctx, f.rules); err != nil {
			return err
		}
		if err := s.try(ctx, fmt.Sprintf("case%d", i), f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Printf("%s: complete over %v, nothing over %v, Chromium: %t, %.0f s\n", f.name, f.ways, f.shut, o.chromium != "", time.Since(begun).Seconds())
	}
	return nil
}
