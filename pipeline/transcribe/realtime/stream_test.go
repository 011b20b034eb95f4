package realtime

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

// lengths is a session that answers every commit with how many samples (16 kHz)
// it got for it.
func lengths(ws *websocket.Conn) (cleared int) {
	items, buffered := 0, 0
	for {
		_, message, err := ws.Read(context.Background())
		if err != nil {
			return cleared
		}
		var e struct{ Type, Audio string }
		_ = json.Unmarshal(message, &e)
		switch e.Type {
		case "input_audio_buffer.append":
			raw, _ := base64.StdEncoding.DecodeString(e.Audio)
			buffered += len(raw) / 2
		case "input_audio_buffer.clear":
			buffered = 0
			cleared++
		case "input_audio_buffer.commit":
			items++
			for _, text := range []string{
				`{"type":"input_audio_buffer.committed","item_id":"%d"}`,
				`{"type":"conversation.item.input_audio_transcription.completed","item_id":"%d","transcript":"` + fmt.Sprint(buffered*2/3) + `"}`,
			} {
				_ = ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, text, items))
			}
			buffered = 0
		}
	}
}

// recognize writes pcm in frames and returns the finals.
func recognize(t *testing.T, pcm []int16) (finals []transcribe.Result, cleared int) {
	s := conformance.NewScript(t)
	over := make(chan struct{})
	s.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(over)
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		ws.SetReadLimit(1 << 20)
		cleared = lengths(ws)
	}))
	sp, err := spec.Parse("openai-realtime:?longest=5s&endpoint=ws://openai.test/")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(sp, s.Host(map[string]string{"OPENAI_API_KEY": key}))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := e.Open(t.Context(), transcribe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := range stream.Results() {
			if r.Final {
				finals = append(finals, r)
			}
		}
	}()
	for at := 0; at < len(pcm); at += 320 {
		if err := stream.Write(t.Context(), audio.Frame{PCM: pcm[at:min(at+320, len(pcm))]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	<-read
	<-over
	return finals, cleared
}

// Who never pauses is cut, in audio that was sent already: it is sent again, and
// what is behind the cut belongs to the next utterance.
func TestUtterancesThatAreTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := tonecode.Signal(32, 40)
		speech := slices.Concat(quiet, tonecode.Signal(0, 30), tonecode.Signal(40, 70), tonecode.Signal(80, 110), tonecode.Signal(0, 30), quiet)
		finals, cleared := recognize(t, speech)
		if len(finals) < 4 || cleared == 0 {
			t.Fatalf("%d finals, cleared %d times: %+v", len(finals), cleared, finals)
		}
		var end int64
		for _, r := range finals {
			if r.Text == "" {
				end = r.End
				continue
			}
			if got, want := r.Text, fmt.Sprint(r.End-end); got != want && end > 0 {
				t.Errorf("%s samples sent for %s: %+v", got, want, r)
			}
			end = r.End
		}
		if end != int64(len(speech)) {
			t.Errorf("ends at %d of %d", end, len(speech))
		}
	})
}

// What turns out to be no speech is taken back.
func TestClicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := tonecode.Signal(30, 40)
		click := tonecode.Signal(0, 1)[:1040]
		finals, _ := recognize(t, slices.Concat(quiet, click, quiet))
		var end int64
		for _, r := range finals {
			if r.Text != "" {
				t.Errorf("%+v", r)
			}
			end = r.End
		}
		if want := int64(2*len(quiet) + len(click)); end != want {
			t.Errorf("ends at %d of %d", end, want)
		}
	})
}
