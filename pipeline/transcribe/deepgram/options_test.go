package deepgram

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

func TestOptions(t *testing.T) {
	for text, want := range map[string]string{
		"deepgram:":                              "",
		"deepgram:?model=nova-2&streams=5":       "",
		"deepgram:?key_file=/etc/key":            "",
		"deepgram:?modell=nova-3":                `no option "modell", there are: endpoint, endpointing, key_env, key_file, keyterm, language, model, punctuate, streams`,
		"deepgram:?streams=-1":                   "streams",
		"deepgram:?endpoint=https://example.org": "ws",
		"deepgram:nova-3":                        "deepgram:?option=value",
	} {
		s, err := spec.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(s, transcribe.Host{Logger: slog.New(slog.DiscardHandler), Getenv: os.Getenv})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

func TestWithoutAKeyAPersonIsNeeded(t *testing.T) {
	s, err := spec.Parse("deepgram:")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(s, transcribe.Host{Logger: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Open(t.Context(), transcribe.Options{})
	if err == nil || !strings.Contains(err.Error(), "DEEPGRAM_API_KEY") {
		t.Error(err)
	}
}
