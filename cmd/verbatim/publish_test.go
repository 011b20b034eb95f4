package main

import (
	"cmp"
	"strings"
	"testing"

	"verbatim/pipeline/meeting"
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
