// Package engines knows all recognizers by what --recognizer says.
package engines

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/command"
	"verbatim/pipeline/transcribe/deepgram"
	"verbatim/pipeline/transcribe/openai"
	"verbatim/pipeline/transcribe/pocketsphinx"
	"verbatim/pipeline/transcribe/probe"
	"verbatim/pipeline/transcribe/realtime"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcribe/vosk"
	"verbatim/pipeline/transcribe/wyoming"
)

// none is the scheme of no recognizer at all.
const none = "none"

var schemes = map[string]func(*spec.Spec, transcribe.Host) (transcribe.Engine, error){
	"command":         command.New,
	"deepgram":        deepgram.New,
	"openai+http":     openai.New,
	"openai+https":    openai.New,
	"openai-realtime": realtime.New,
	"pocketsphinx":    pocketsphinx.New,
	"probe":           probe.New,
	"vosk+ws":         vosk.New,
	"vosk+wss":        vosk.New,
	"wyoming+tcp":     wyoming.New,
}

// New makes the engine that a text such as openai+http://127.0.0.1:8081/v1 names,
// nil for none:. It asks no server anything, but a program must be there.
func New(text string, h transcribe.Host) (*transcribe.Engine, error) {
	s, err := spec.Parse(text)
	switch {
	case errors.Is(err, spec.ErrForm):
		return nil, fmt.Errorf("recognizer: %w; there are %s", err, known())
	case err != nil:
		return nil, fmt.Errorf("recognizer %w", err)
	}
	if s.Scheme == none {
		if err := s.Err(); err != nil || s.Rest != "" {
			return nil, fmt.Errorf("recognizer %s: nothing stands behind the colon", none)
		}
		return nil, nil
	}
	newEngine, ok := schemes[s.Scheme]
	if !ok {
		return nil, fmt.Errorf("recognizer %s: is not known; there are %s", s.Scheme, known())
	}
	e, err := newEngine(s, h)
	if err != nil {
		return nil, fmt.Errorf("recognizer %w", err)
	}
	return &e, nil
}

func known() string {
	names := slices.Sorted(maps.Keys(schemes))
	return strings.Join(names, ":, ") + ": and " + none + ":"
}
