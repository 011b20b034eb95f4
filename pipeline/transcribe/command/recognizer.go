// Package command recognizes speech with any program: one process per stream,
// PCM on its stdin, JSON lines on its stdout (docs/RECOGNIZER_COMMAND.md).
//
// A stream is three goroutines. One runs the process and waits for it, one
// reads its stdout and delivers results, one reads its stderr and logs it. All
// of them end when the process has ended, which Close sees to by killing its
// process group. Frames are written by the caller's own goroutine: a process
// that is slow blocks Write, and a consumer that does not read Results blocks
// the process.
//
// The first thing that goes wrong is the reason that every later call returns.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

// Options of a Recognizer. The zero value is fine.
type Options struct {
	// Name names the engine in segments, logs and errors; the program's name
	// where it is empty.
	Name string
	// Logger gets what the processes write to stderr; the default one if nil.
	Logger *slog.Logger
	// Env is added to the environment of the processes, as NAME=value. They
	// inherit the server's own but for VERBATIM_…, which holds its secrets.
	Env []string
}

// Recognizer starts a process for every stream.
type Recognizer struct {
	name string
	log  *slog.Logger
	path string
	argv []string
	env  []string
}

var _ transcribe.Recognizer = (*Recognizer)(nil)

// New makes the engine of a command line such as command:./my-recognizer --flag
// or command:?streams=2 ./my-recognizer. It starts nothing, but the program must
// be there.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	streams := s.Int("streams", 0, 0)
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	argv, err := Parse(s.Rest)
	if err != nil {
		return transcribe.Engine{}, fmt.Errorf("command: %w", err)
	}
	r, err := NewRecognizer(argv, Options{Logger: h.Logger})
	if err != nil {
		return transcribe.Engine{}, err
	}
	return transcribe.Engine{Recognizer: r, Name: r.name, Limits: transcribe.Limits{Streams: streams}}, nil
}

// NewRecognizer makes a Recognizer of the program argv[0] with the arguments that
// follow it. It starts nothing, but the program must be there.
func NewRecognizer(argv []string, o Options) (*Recognizer, error) {
	if len(argv) == 0 {
		return nil, errors.New("command: no program is named")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	r := &Recognizer{name: o.Name, log: o.Logger, path: path, argv: argv}
	if r.name == "" {
		r.name = filepath.Base(argv[0])
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "VERBATIM_") {
			r.env = append(r.env, v)
		}
	}
	r.env = append(r.env, o.Env...)
	return r, nil
}

// Open starts a process.
func (r *Recognizer) Open(ctx context.Context, o transcribe.Options) (transcribe.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := start(r, r.log.With("recognizer", r.name, "track", o.Track))
	if err != nil {
		return nil, fmt.Errorf("start recognizer %s: %w", r.name, err)
	}
	return s, nil
}
