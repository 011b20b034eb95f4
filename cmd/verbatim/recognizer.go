package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/command"
	"verbatim/pipeline/transcribe/pocketsphinx"
)

// newRecognizer makes the recognizer that a --recognizer value names; nil for
// none. engine is its name in segments.
func newRecognizer(spec string, log *slog.Logger) (r transcribe.Recognizer, engine string, err error) {
	scheme, rest, ok := strings.Cut(spec, ":")
	if !ok {
		return nil, "", fmt.Errorf("--recognizer %q is not SCHEME:…; there are pocketsphinx:, command:PROGRAM ARG… and none", spec)
	}
	switch scheme {
	case "none":
		return nil, "", nil
	case "command":
		argv, err := command.Parse(rest)
		if err != nil {
			return nil, "", fmt.Errorf("--recognizer command: %w", err)
		}
		rec, err := command.New(argv, command.Options{Logger: log})
		if err != nil {
			return nil, "", err
		}
		return rec, rec.Name(), nil
	case "pocketsphinx":
		query, err := url.ParseQuery(strings.TrimPrefix(rest, "?"))
		if err != nil {
			return nil, "", fmt.Errorf("--recognizer pocketsphinx: %w", err)
		}
		r, err := pocketsphinx.New(query, log)
		return r, "pocketsphinx", err
	}
	return nil, "", fmt.Errorf("--recognizer %s: is not known; there are pocketsphinx:, command:PROGRAM ARG… and none:", scheme)
}
