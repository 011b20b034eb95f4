// Command recognizer is bin/verbatim-tonecode, a recognizer for tests
// (docs/RECOGNIZER_COMMAND.md) that reads the numbers of package tonecode out of
// the audio and says each as a word. What was lost, doubled or swapped on the
// way, whatever lies between, shows in the transcript to the word.
//
// It has one goroutine and recognizes as fast as it gets audio, or as slowly as
// a test wants: the file that -speed names holds how many times real time it
// reads, and is looked at all the time.
//
// `verbatim-tonecode signal FROM TO` writes the audio of those numbers as a WAV
// file instead.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/internal/wav"
)

func main() {
	signal.Ignore(os.Interrupt) // the server decides when we end
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verbatim-tonecode:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) > 0 && args[0] == "signal" {
		return writeSignal(args[1:], out)
	}
	f := flag.NewFlagSet("verbatim-tonecode", flag.ContinueOnError)
	speed := f.String("speed", "", "file that holds how many times real time to read; as fast as possible while it is empty or not there")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no flag", f.Arg(0))
	}
	l := newListener(out)
	if *speed != "" {
		l.rest = pace{file: *speed}.rest
	}
	return l.listen(in)
}

func writeSignal(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("signal needs two numbers: FROM TO")
	}
	from, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	to, err := strconv.Atoi(args[1])
	if err != nil || from < 0 || to < from || to-from > tonecode.Numbers {
		return fmt.Errorf("signal %s: FROM and TO are numbers, at most %d of them", strings.Join(args, " "), tonecode.Numbers)
	}
	_, err = out.Write(wav.Encode(tonecode.Signal(from, to)))
	return err
}

// pace is how fast to read, as a file says.
type pace struct{ file string }

// rest waits for as long as audio of that length is read. It looks at the file
// again and again: a test changes it in the middle of a long wait.
func (p pace) rest(audio time.Duration) error {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		speed, err := p.speed()
		if err != nil {
			return err
		}
		if speed == 0 || time.Since(begun).Seconds()*speed >= audio.Seconds() {
			return nil
		}
	}
}

// speed is 0 where there is no limit.
func (p pace) speed() (float64, error) {
	b, err := os.ReadFile(p.file)
	text := strings.TrimSpace(string(b))
	if errors.Is(err, os.ErrNotExist) || err == nil && text == "" {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	speed, err := strconv.ParseFloat(text, 64)
	if err != nil || speed < 0 {
		return 0, fmt.Errorf("%s: %q is no speed", p.file, text)
	}
	return speed, nil
}
