package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/engines"
)

// newSupervisor makes what transcribes by the --recognizer values: the engine
// and its fallback. It is nil for none:.
// times has it note what traces need.
func newSupervisor(texts []string, times bool, log *slog.Logger) (*transcribe.Supervisor, error) {
	if len(texts) > 2 {
		return nil, errors.New("--recognizer: there can be one, and a second one as its fallback")
	}
	host := transcribe.Host{Logger: log, Dial: new(net.Dialer).DialContext, Getenv: os.Getenv}
	var all []transcribe.Engine
	for _, text := range texts {
		e, err := engines.New(text, host)
		if err != nil {
			return nil, fmt.Errorf("--recognizer: %w", err)
		}
		if e != nil {
			all = append(all, *e)
		}
	}
	switch len(all) {
	case len(texts):
		return transcribe.New(transcribe.Config{Engines: all, Times: times, Logger: log}), nil
	case 0:
		return nil, nil
	}
	return nil, errors.New("--recognizer: none: is neither a fallback nor has one")
}
