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
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/command"
)

const (
	helper = "verbatim-pocketsphinx"
	// checkTime is what loading the model may take: 0.25 s measured.
	checkTime = 20 * time.Second
)

// options are the keys of the URL's query; all but helper are flags of it.
var options = []string{"dict", "helper", "hmm", "lm"}

// New makes the recognizer of a URL such as "pocketsphinx:?lm=/srv/medical.lm.bin".
// It looks for the helper program (option helper, then next to the running
// program, then in $PATH) and lets it load the model once, so that what is
// missing is known before a meeting begins.
func New(query url.Values, logger *slog.Logger) (transcribe.Recognizer, error) {
	path, args, err := read(query)
	if err != nil {
		return nil, fmt.Errorf("pocketsphinx: %w", err)
	}
	if path == "" {
		if path, err = find(); err != nil {
			return nil, fmt.Errorf("pocketsphinx: %w", err)
		}
	}
	if err := check(path, args); err != nil {
		return nil, fmt.Errorf("pocketsphinx: %w; to run without recognition: --recognizer none:", err)
	}
	r, err := command.New(append([]string{path}, args...), command.Options{Name: "pocketsphinx", Logger: logger})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func read(query url.Values) (path string, args []string, err error) {
	for key, values := range query {
		switch {
		case !slices.Contains(options, key):
			return "", nil, fmt.Errorf("there is no option %q, there are: %s", key, strings.Join(options, ", "))
		case len(values) != 1 || values[0] == "":
			return "", nil, fmt.Errorf("option %q needs one value", key)
		case key == "helper":
			path = values[0]
		default:
			args = append(args, "--"+key+"="+values[0])
		}
	}
	slices.Sort(args)
	return path, args, nil
}

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
