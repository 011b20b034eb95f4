package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/internal/speech"
	"verbatim/media/ingest"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

const fragment = "application/trickle-ice-sdpfrag"

// What a server answers is what its document says, over the life of meetings:
// before there is one, while people speak, afterwards, and when audio has expired.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	data := t.TempDir()
	s := serve(t, data, "command:"+os.Args[0], "--recordings", "none", "--ice-server", "stun:stun.example.net")
	h := s.held(t)
	h.get("/healthz", "/readyz", "/metrics", "/openapi.yaml",
		"/v1/rooms/r", "/v1/rooms/r/stats", "/v1/meetings", "/v1/search?q=word1")

	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { h.watch(ctx, "r") })
	h.first(t)
	for range 2 { // two more, so that there is a trend
		h.speak("?name=Bob&participant=bob").end(len(speech.PCM("sas-0880")))
		h.over()
	}
	h.afterwards(t)
	h.do(http.StatusNoContent, http.MethodDelete, "/v1/meetings/"+s.meetings()[0].ID, "")
	for end := time.Now().Add(time.Minute); slices.Contains(h.doc.Unseen(), "event erased") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	// A server that shuts down asks those who are there to move.
	session, err := (&whipclient.Client{URL: s.url}).Join(t.Context(), "r", "ada", "Ada", whipclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); slices.Contains(h.doc.Unseen(), "event moving") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	watching.Wait()
	<-s.out
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}

	h.s = serve(t, data, "command:"+os.Args[0], "--keep-audio", "0", "--recordings", "file://"+filepath.Join(data, "kept"))
	last := "/v1/meetings/" + h.s.meetings()[0].ID // nobody spoke in it
	h.do(http.StatusOK, http.MethodPost, last+"/end", "")
	h.do(http.StatusNoContent, http.MethodDelete, last, "")
	h.kept(t)
	h.s.stop()

	// What is in the document and in no answer is not in the API. Problems are seen
	// where they are made (signaling, TestBadInput), webhooks by those who get them,
	// redirects to other nodes where there are some (TestRecordedTogether).
	unseen := slices.DeleteFunc(h.doc.Unseen(), func(what string) bool {
		f := strings.Fields(what)
		return f[0] == "problem" || strings.HasPrefix(what, "Webhook") || (len(f) == 3 && f[2] >= "307")
	})
	if len(unseen) > 0 {
		t.Errorf("in no answer:\n%s", strings.Join(unseen, "\n"))
	}
}

// speak sends a sentence over a WebSocket that stays open.
func (h *held) speak(query string) *pcmClient {
	pcm := speech.PCM("sas-0880")
	c := h.s.ingest(query, 16000, "")
	c.send(pcm, 0, len(pcm))
	return c
}

// over ends the meeting and waits for its transcript.
func (h *held) over() meeting.Meeting {
	h.t.Helper()
	h.do(http.StatusOK, http.MethodPost, "/v1/meetings/"+h.s.meetings()[0].ID+"/end", "")
	return h.s.until("it is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
}

// first is a meeting of a WHIP client, a WebSocket client and one who sends
// nothing.
func (h *held) first(t *testing.T) {
	published := make(chan error, 1)
	go func() {
		_, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--url", h.s.url).Output()
		published <- err
	}()
	c := h.speak("?name=Bob&participant=bob")
	m := h.s.until("both are heard", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 2 && m.Tracks[0].Coverage.DurationMS > 500 && m.Tracks[1].Coverage.DurationMS > 500
	})
	base := "/v1/meetings/" + m.ID
	h.get("/v1/rooms/r", "/v1/meetings?room=r&limit=1", base, base+"/stats", base+"/transcript.json")
	h.do(http.StatusConflict, http.MethodGet, base+"/audio.flac", "")
	h.do(http.StatusConflict, http.MethodDelete, base, "")
	h.session(t)
	h.handshake(t)
	if err := <-published; err != nil {
		t.Errorf("publish: %v", err)
	}
	c.end(len(speech.PCM("sas-0880")))
	h.over()
}

// session is all that a WHIP client may do with one.
func (h *held) session(t *testing.T) {
	const fresh = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
	text := offer(t)
	h.do(http.StatusNoContent, http.MethodOptions, "/v1/rooms/r/whip", "")
	h.do(http.StatusNoContent, http.MethodGet, "/v1/rooms/r/whip", "")
	head, _ := h.do(http.StatusCreated, http.MethodPost, "/v1/rooms/r/whip?name=Cy&participant=cy", text, "Content-Type", "application/sdp")
	at := head.Get("Location")
	var present strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
			present.WriteString(line)
		}
	}
	present.WriteString("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=end-of-candidates\r\n")
	h.do(http.StatusNoContent, http.MethodOptions, at, "")
	h.do(http.StatusNoContent, http.MethodGet, at, "")
	h.do(http.StatusNoContent, http.MethodPatch, at, present.String(), "Content-Type", fragment, "If-Match", head.Get("ETag"))
	h.do(http.StatusPreconditionRequired, http.MethodPatch, at, fresh, "Content-Type", fragment)
	h.do(http.StatusPreconditionFailed, http.MethodPatch, at, fresh, "Content-Type", fragment, "If-Match", `"other"`)
	h.do(http.StatusBadRequest, http.MethodPatch, at, fresh, "Content-Type", fragment, "If-Match", "other")
	h.do(http.StatusBadRequest, http.MethodPatch, at, "hello", "Content-Type", fragment)
	h.do(http.StatusUnsupportedMediaType, http.MethodPatch, at, fresh)
	h.do(http.StatusOK, http.MethodPatch, at, fresh, "Content-Type", fragment, "If-Match", "*")
	h.do(http.StatusOK, http.MethodDelete, at, "")
	h.do(http.StatusNotFound, http.MethodDelete, at, "")
}

// handshake is that of a WebSocket, refused and accepted.
func (h *held) handshake(t *testing.T) {
	const path = "/v1/rooms/r/ingest"
	h.do(http.StatusUpgradeRequired, http.MethodGet, path, "")
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"}
	h.do(http.StatusBadRequest, http.MethodGet, path, "", upgrade...)
	upgrade = append(upgrade, "Sec-WebSocket-Protocol", ingest.Protocol)
	h.do(http.StatusBadRequest, http.MethodGet, path, "", upgrade...) // no key
	h.do(http.StatusForbidden, http.MethodGet, path, "", append(upgrade, "Origin", "https://evil.example")...)
	ws, _, err := websocket.Dial(t.Context(), h.s.url+path+"?name=Di", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: h}, Subprotocols: []string{ingest.Protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
}

// afterwards is what there is of meetings that are over; recordings are made when
// they are asked for.
func (h *held) afterwards(t *testing.T) {
	ms := h.s.meetings()
	m := ms[len(ms)-1]
	base := "/v1/meetings/" + m.ID
	h.get(base, base+"/transcript.json", base+"/transcript.vtt", base+"/transcript.srt", base+"/transcript.txt",
		base+"/stats", "/v1/meetings/"+ms[0].ID+"/stats", "/v1/rooms/r/stats?limit=50", base+"/audio.flac",
		"/v1/search?q=word1&room=r&limit=1")
	h.do(http.StatusNotFound, http.MethodGet, base+"/transcript.doc", "")
	for _, track := range m.Tracks {
		at := base + "/tracks/" + track.ID
		h.get(at + "/audio.wav")
		if track.Participant == "bob" {
			h.do(http.StatusNotFound, http.MethodGet, at+"/audio.opus", "")
		} else {
			h.get(at + "/audio.opus")
		}
	}
	h.parts(base + "/tracks/" + m.Tracks[0].ID + "/audio.wav")
	h.do(http.StatusOK, http.MethodPost, base+"/end", "")
	h.do(http.StatusOK, http.MethodPost, "/v1/links", `{"paths":["`+base+`/audio.flac"]}`)
}

// parts asks for a part of a file, and for what a cache has.
func (h *held) parts(path string) {
	head, _ := h.do(http.StatusPartialContent, http.MethodGet, path, "", "Range", "bytes=0-99")
	h.do(http.StatusRequestedRangeNotSatisfiable, http.MethodGet, path, "", "Range", "bytes=99999999-")
	if tag := head.Get("ETag"); tag != "" {
		h.do(http.StatusNotModified, http.MethodGet, path, "", "If-None-Match", tag)
		h.do(http.StatusPreconditionFailed, http.MethodGet, path, "", "If-Match", `"other"`)
		return
	}
	h.do(http.StatusNotModified, http.MethodGet, path, "", "If-Modified-Since", head.Get("Last-Modified"))
	h.do(http.StatusPreconditionFailed, http.MethodGet, path, "", "If-Unmodified-Since", "Thu, 01 Jan 2026 00:00:00 GMT")
}

// kept is what there is of them when recordings are kept and audio is not.
func (h *held) kept(t *testing.T) {
	m := h.s.until("all audio has expired", func(meeting.Meeting) bool {
		return !slices.ContainsFunc(h.s.meetings(), func(m meeting.Meeting) bool {
			return m.RecordedAt == nil || slices.ContainsFunc(m.Tracks, func(tr meeting.Track) bool { return tr.Audio != meeting.AudioExpired })
		})
	})
	ms := h.s.meetings()
	base := "/v1/meetings/" + ms[len(ms)-1].ID
	h.get("/v1/meetings", base, base+"/audio.flac")
	h.parts(base + "/audio.flac")
	for _, track := range ms[len(ms)-1].Tracks {
		at := base + "/tracks/" + track.ID
		h.do(http.StatusGone, http.MethodGet, at+"/audio.wav", "")
		if track.Participant == "bob" {
			h.do(http.StatusGone, http.MethodGet, at+"/audio.opus", "")
		} else {
			h.get(at + "/audio.opus")
			h.parts(at + "/audio.opus")
		}
	}
	h.do(http.StatusNoContent, http.MethodDelete, "/v1/meetings/"+m.ID, "")
	h.do(http.StatusNotFound, http.MethodDelete, "/v1/meetings/"+m.ID, "")
}
