package main

import (
	"encoding/binary"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"verbatim/internal/natstest"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// What a service gets of a server's tracks over JetStream is what their wav has.
func TestForward(t *testing.T) {
	broker := natstest.New(t, natstest.JetStream(t.TempDir()))
	s := serve(t, t.TempDir(), "none:", "--nats", broker.URL, "--forward", "jetstream", "--nats-prefix", "test")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("?participant=ada", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	m := s.until("it is over", func(m meeting.Meeting) bool { return len(m.Tracks) == 1 && m.Tracks[0].State != meeting.TrackLive })
	s.until("it is forwarded", func(meeting.Meeting) bool {
		got := s.scrape()
		return got["verbatim_forward_tracks"] == 0 && got["verbatim_forward_messages_total"] > 0 && got["verbatim_nats_connected"] == 1
	})
	js, err := jetstream.New(natstest.Connect(t, broker.URL))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "TEST_"+m.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got []int16
	for seq := uint64(1); ; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject != "test.pcm."+m.ID+"."+m.Tracks[0].ID {
			t.Fatalf("subject %s", msg.Subject)
		}
		if msg.Header.Get("Verbatim-End") != "" {
			break
		}
		for b := msg.Data; len(b) > 0; b = b[2:] {
			got = append(got, int16(binary.LittleEndian.Uint16(b)))
		}
	}
	if want := s.wav(m, 0); !slices.Equal(got, want) {
		t.Errorf("%d samples, the wav has %d, or others", len(got), len(want))
	}
	s.stop()
}

// The server that people run does not have a NATS server in it.
func TestNoNATSServerInside(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "nats-io/nats-server") || !strings.Contains(string(out), "nats-io/nats.go") {
		t.Error("it links the NATS server, or not its client")
	}
}

func TestForwardFlags(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"--forward jetstream", "--nats"},
		{"--forward jetstream --nats nats://127.0.0.1 --forward-replicas 2", "--forward-replicas"},
		{"--forward jetstream --nats nats://127.0.0.1 --forward-max-age 1s", "--forward-max-age"},
		{"--nats http://127.0.0.1", "--nats, number 1"},
		{"--nats nats://127.0.0.1 --nats-prefix a.b", "--nats-prefix"},
		{"--nats nats://127.0.0.1,tls://[::1]:4222 --forward jetstream", ""},
	} {
		args := append([]string{"config", "check", "--recognizer", "none:", "--data", t.TempDir()}, strings.Fields(c.flags)...)
		out, err := verbatim(t.Context(), args...).CombinedOutput()
		if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", c.flags, err, out)
		}
	}
}
