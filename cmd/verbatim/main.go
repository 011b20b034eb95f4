// Command verbatim is a WebRTC audio ingestion server for meeting
// transcription, and a client to try it with. This package reads flags and
// wires the others; it does nothing by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Serve   serveCmd         `cmd:"" help:"Run the server."`
	Token   tokenCmd         `cmd:"" help:"Print a token that lets somebody join or read, for a server with --auth-secret-file."`
	Nodes   nodesCmd         `cmd:"" help:"Look after the servers that share a PostgreSQL."`
	Publish publishCmd       `cmd:"" help:"Send Ogg Opus files to a server as a participant, and print the captions that come back."`
	Bench   benchCmd         `cmd:"" help:"Measure how many participants a server carries, on CPUs of its own (Linux)."`
	Config  configCmd        `cmd:"" help:"Check or print the configuration of serve."`
	Health  healthCmd        `cmd:"" help:"Ask a server whether it is ready; the exit code is 0 if it is."`
	Help    helpCmd          `cmd:"" help:"Say what a command does, as --help after it."`
	Show    versionCmd       `cmd:"" name:"version" help:"Print the version, as --version."`
	Version kong.VersionFlag `help:"Print the version." env:"-"`

	LogLevel  slog.Level `help:"Least severe log messages to write: debug, info, warn or error." default:"info"`
	LogFormat string     `help:"How log messages are written: text or json." enum:"text,json" default:"text"`
}

func main() {
	var c cli
	k := kong.Parse(&c,
		kong.Name("verbatim"),
		kong.Description("WebRTC audio ingestion for meeting transcription: every word, in order, nothing lost."),
		kong.DefaultEnvars("VERBATIM"),
		kong.Vars{"version": version(), "audience": defaultAudience},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	// The first Ctrl-C or SIGTERM asks to end; the second ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(logger(c.LogFormat, c.LogLevel))
	if err := k.Run(); err != nil {
		if !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "verbatim:", err)
		}
		os.Exit(1)
	}
}

func logger(format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// helpCmd is what people try who do not know of --help yet.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"Command, such as serve or config check (default: all of them)."`
}

// Run prints what --help prints, which ends the process.
func (c *helpCmd) Run(k *kong.Context) error {
	_, err := k.Parse(append(c.Command, "--help"))
	return err
}

type versionCmd struct{}

// Run prints the version.
func (c *versionCmd) Run() error {
	_, err := fmt.Println(version())
	return err
}

// release is what git describes the source as, in a program that scripts/static.sh
// has built.
var release string

func version() string {
	if release != "" {
		return "verbatim " + release
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return "verbatim " + b.Main.Version
	}
	return "verbatim (devel)"
}
