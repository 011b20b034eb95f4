package main

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

func TestPublishFailsWithoutServer(t *testing.T) {
	cmd := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", "http://127.0.0.1:1")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "reach the server") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPublishSaysWhatItWaitsFor(t *testing.T) {
	s := serve(t, t.TempDir(), "openai+http://127.0.0.1:1/v1")
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--wait", "300ms", "--url", s.url).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "(--wait): the recognizer openai:whisper-1 is in state ") {
		t.Errorf("%v: %s", err, out)
	}
	s.kill()
}

func TestPublishSaysThatItsTrackHadEnded(t *testing.T) {
	for by, want := range map[string]string{"left": "", "": "", "server": "ended_by: server"} {
		track := meeting.Track{EndedBy: by, Coverage: meeting.Coverage{ReceivedMS: 7000}}
		err := taken(track, 15_000*ticksPerMS)
		if err == nil || !strings.HasSuffix(strings.TrimSuffix(err.Error(), ")"), cmp.Or(want, "lost on the way")) {
			t.Errorf("%q: %v", by, err)
		}
		if err := taken(track, 7_001*ticksPerMS); err != nil {
			t.Errorf("%q: %v", by, err)
		}
	}
}

// What others are called and say is shown, and not obeyed by the terminal.
func TestScreenShowsWhatTerminalsObey(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out, mine: map[string]bool{"eve": true}}
	data, err := json.Marshal(map[string]any{
		"participant": map[string]string{"id": "eve", "name": "Eve\x1b[2J"}, "text": "hi\x1b]0;owned\x07\nthere\u009b31m", "final": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.show(whipclient.Event{Type: meeting.EventCaption, Data: data})
	if got, want := out.String(), "Eve [2J: hi ]0;owned  there 31m\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
