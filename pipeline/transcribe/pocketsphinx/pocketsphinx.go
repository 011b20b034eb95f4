// Package pocketsphinx recognizes English speech offline, by the program
// verbatim-pocketsphinx: one process and about 115 MB per stream, and a fifth of a core. It
// is package command with the question answered where the program and its
// model are; streams and goroutines are that package's.
package pocketsphinx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/command"
	"verbatim/pipeline/transcribe/spec"
)

const (
	helper = "verbatim-pocketsphinx"
	// checkTime is what loading the model may take: 0.25 s measured.
	checkTime = 20 * time.Second
)

// flags are the options that are flags of the helper.
var flags = []string{"dict", "hmm", "lm"}

// New makes the engine of a URL such as "pocketsphinx:?lm=/srv/medical.lm.bin".
// It looks for the helper program (option helper, then next to the running
// program, then in $PATH) and lets it load the model once, so that what is
// missing is known before a meeting begins.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	path := s.Option("helper", "")
	var args []string
	for _, name := range flags {
		if v := s.Option(name, ""); v != "" {
			args = append(args, "--"+name+"="+v)
		}
	}
	streams := s.Int("streams", defaultStreams(), 1)
	err := s.Err()
	if err == nil && s.Rest != "" {
		err = fmt.Errorf("pocketsphinx: there is no use for %q; options stand behind a ?", s.Rest)
	}
	if err != nil {
		return transcribe.Engine{}, err
	}
	if path == "" {
		if path, err = find(); err != nil {
			return transcribe.Engine{}, fmt.Errorf("pocketsphinx: %w", err)
		}
	}
	if err := check(path, args); err != nil {
		return transcribe.Engine{}, fmt.Errorf("pocketsphinx: %w; to run without recognition: --recognizer none:", err)
	}
	r, err := command.NewRecognizer(append([]string{path}, args...), command.Options{Name: "pocketsphinx", Logger: h.Logger})
	if err != nil {
		return transcribe.Engine{}, err
	}
	return transcribe.Engine{Recognizer: r, Name: "pocketsphinx", Limits: transcribe.Limits{Streams: streams}}, nil
}

// defaultStreams is how many streams are held at once. A core recognizes four to
// five in real time; one that has other work to do, three. Who does not speak
// holds none.
func defaultStreams() int { return max(2, 3*runtime.NumCPU()) }

// find finds the helper where a build or an installation puts it.
func find() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), helper)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(helper)
	if err != nil {
		return "", errors.New("the program " + helper + " is neither next to this one nor in $PATH: " +
			"make run builds it, or install Debian's libpocketsphinx-dev and pocketsphinx-en-us and run " +
			"go build -tags pocketsphinx ./cmd/" + helper + "; to run without recognition: --recognizer none:")
	}
	return path, nil
}

// check lets the helper load its model.
func check(path string, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(args), "--check")...)
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not load its model within %v", path, checkTime)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("%s (%s: %w)", last, path, err)
	}
	return fmt.Errorf("%s --check: %w", path, err)
}
