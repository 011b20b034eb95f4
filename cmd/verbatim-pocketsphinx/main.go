//go:build pocketsphinx && cgo

// Command verbatim-pocketsphinx recognizes English speech with PocketSphinx,
// offline. It speaks the protocol of docs/RECOGNIZER_COMMAND.md: PCM on stdin,
// JSON lines on stdout, errors on stderr. It is a process of its own because
// the library ends its process when it meets an error.
//
// One goroutine reads, recognizes and writes. The end of the input ends it;
// SIGINT does not, because a Ctrl-C in the server's terminal reaches it too,
// and the server still has audio for it then.
//
// Exit codes: 0 all was recognized, 1 failure, 2 usage, 3 the model is missing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

const (
	modelDir = "/usr/share/pocketsphinx/model/en-us"
	usage    = `Usage: verbatim-pocketsphinx [flags] < audio.s16le

Recognizes raw 16 kHz mono s16le audio from stdin and writes JSON lines to stdout.

  --hmm DIR    acoustic model (` + modelDir + `/en-us)
  --lm FILE    language model (` + modelDir + `/en-us.lm.bin)
  --dict FILE  pronunciations (` + modelDir + `/cmudict-en-us.dict)
  --check      load the model, then exit
  --help       print this
`
)

// model is where the parts of a model are.
type model struct{ hmm, lm, dict string }

// missing says which part is not there.
func (m model) missing() error {
	for _, p := range []string{filepath.Join(m.hmm, "mdef"), m.lm, m.dict} {
		if f, err := os.Open(p); err != nil {
			return fmt.Errorf("PocketSphinx has no model here (%w): install Debian's pocketsphinx-en-us or say where one is (hmm, lm, dict)", err)
		} else if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func main() { os.Exit(run()) }

func run() int {
	signal.Ignore(os.Interrupt)
	var m model
	flags := flag.NewFlagSet("verbatim-pocketsphinx", flag.ContinueOnError)
	flags.Usage = func() {}
	flags.StringVar(&m.hmm, "hmm", modelDir+"/en-us", "")
	flags.StringVar(&m.lm, "lm", modelDir+"/en-us.lm.bin", "")
	flags.StringVar(&m.dict, "dict", modelDir+"/cmudict-en-us.dict", "")
	check := flags.Bool("check", false, "")
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return 0
	case err != nil || flags.NArg() > 0:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err := m.missing(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	dec, err := openDecoder(m)
	if err == nil && !*check {
		err = listen(dec, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
