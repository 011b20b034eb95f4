package engines

import (
	"log/slog"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
)

func TestNew(t *testing.T) {
	h := transcribe.Host{Logger: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" }}
	for _, c := range []struct{ text, name, err string }{
		{"none:", "", ""},
		{"openai+http://127.0.0.1:8081/v1?model=tiny", "openai:tiny", ""},
		{"openai+https://api.openai.com/v1", "openai:whisper-1", ""},
		{"wyoming+tcp://127.0.0.1:10300", "wyoming", ""},
		{"vosk+ws://127.0.0.1:2700", "vosk", ""},
		{"deepgram:?language=en", "deepgram:nova-3", ""},
		{"openai-realtime:?model=whisper-1", "openai-realtime:whisper-1", ""},
		{"command:?streams=2 go version", "go", ""},
		{"", "", "there are command:, "},
		{"whisper", "", "not of the form"},
		{"whisper:", "", "recognizer whisper: is not known; there are command:, "},
		{"none:x", "", "nothing stands behind"},
		{"none:?x=1", "", "nothing stands behind"},
		{"openai+http://127.0.0.1:8081/v1?mode=tiny", "", `recognizer openai+http: there is no option "mode"`},
		{"openai+http://127.0.0.1:8081/v1?api_key=sk-x", "", "key_file"},
		{"deepgram:?endpoint=wss://host/v1?token=sk-x", "", "key_file"},
		{"deepgram:sk-x", "", "no use for"},
		{"command:?stream=2 go version", "", `no option "stream"`},
		{"command:", "", "no program is named"},
		{"command:/nowhere/rec", "", "recognizer command: exec: \"/nowhere/rec\""},
		{"pocketsphinx:en", "", "no use for"},
		{"probe:/tmp/bench.sock", "probe", ""},
		{"probe:", "", "path of a socket"},
		{"probe:bench.sock", "", "path of a socket"},
		{"pocketsphinx:?helper=/nowhere/rec", "", "/nowhere/rec"},
	} {
		t.Run(c.text, func(t *testing.T) {
			e, err := New(c.text, h)
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "sk-") {
					t.Errorf("error %v, want %s, and no key", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case c.name == "" && e != nil, c.name != "" && e.Name != c.name:
				t.Errorf("%+v", e)
			}
		})
	}
}
