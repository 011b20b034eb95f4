package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/engines"
)

// newRecognizer makes the recognizer that a --recognizer value names; nil for
// none. engine is its name in segments.
func newRecognizer(text string, log *slog.Logger) (r transcribe.Recognizer, engine string, err error) {
	e, err := engines.New(text, transcribe.Host{Logger: log, Dial: new(net.Dialer).DialContext, Getenv: os.Getenv})
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("--recognizer: %w", err)
	case e == nil:
		return nil, "", nil
	}
	return e.Recognizer, e.Name, nil
}
