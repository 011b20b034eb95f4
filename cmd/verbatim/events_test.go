package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// beRecognizer makes this test binary a recognizer that says a word for every
// quarter of a second of audio: what is between the bars in it, one after the
// other, or word0, word1, … if it is "1".
const beRecognizer = "TEST_BE_RECOGNIZER"

func recognizer(says string) {
	const quarter = 16000 / 4 * 2 // bytes
	in := bufio.NewReader(os.Stdin)
	vocabulary := strings.Split(says, "|")
	for i := 0; ; i++ {
		if _, err := io.CopyN(io.Discard, in, quarter); err != nil {
			return
		}
		at := float64(i) / 4
		word := vocabulary[i%len(vocabulary)]
		if word == "1" {
			word = fmt.Sprintf("word%d", i)
		}
		fmt.Printf(`{"type":"interim","start":%g,"end":%g,"text":"word"}`+"\n", at, at+0.1)
		fmt.Printf(`{"type":"final","start":%g,"end":%g,"text":%q,"words":[{"text":%[3]q,"start":%[1]g,"end":%[2]g,"confidence":0.5}]}`+"\n", at, at+0.25, word)
	}
}

// seen is one event of the stream.
type seen struct {
	id, kind string
	data     []byte
}

// watch reads a room's event stream until ctx ends.
func (s *process) watch(ctx context.Context, room, lastID string, each func(seen)) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/rooms/"+room+"/events", nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // cut off
	}
	defer resp.Body.Close()
	eachEvent(resp.Body, each)
}

// eachEvent reads an event stream to its end. What is ended by an empty line is an
// event; it has no kind if there was a comment alone.
func eachEvent(stream io.Reader, each func(seen)) {
	var e seen
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = []byte(value)
		case "":
			each(e)
			e = seen{}
		}
	}
}

// A client whose stream is cut all the time gets every final once and in order.
func TestEventsResume(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	s := serve(t, t.TempDir(), "command:"+os.Args[0], "--linger", "1s")
	done := make(chan error, 1)
	go func() {
		out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0870"), "--room", "r", "--count", "3", "--url", s.url).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		done <- err
	}()
	var got []string
	lastID, interims := "", 0
	look := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		first := true
		s.watch(ctx, "r", lastID, func(e seen) {
			if first && e.kind != meeting.EventState {
				t.Errorf("the first event is %s", e.kind)
			}
			first = false
			if e.kind != meeting.EventCaption {
				return
			}
			var seg transcript.Segment
			if err := json.Unmarshal(e.data, &seg); err != nil {
				t.Error(err)
			}
			if (e.id != "") != seg.Final {
				t.Errorf("id %q on a caption with final %v", e.id, seg.Final)
			}
			if seg.Final {
				got, lastID = append(got, seg.ID), e.id
			} else {
				interims++
			}
		})
		cancel()
	}
	// The meeting is over once all three have left; recognizers may be behind then.
	for ms := s.meetings(); len(ms) == 0 || ms[0].State != meeting.StateComplete; ms = s.meetings() {
		look()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var d struct{ Segments []transcript.Segment }
	if err := json.Unmarshal(s.get("/v1/meetings/"+s.meetings()[0].ID+"/transcript.json"), &d); err != nil {
		t.Fatal(err)
	}
	s.until("all finals have come", func(meeting.Meeting) bool {
		look()
		return len(got) >= len(d.Segments)
	})
	want := make([]string, len(d.Segments))
	for i, seg := range d.Segments {
		want[i] = seg.ID
	}
	if len(want) != 3*28 {
		t.Errorf("%d segments, want 28 of each of three", len(want))
	}
	sorted := slices.Sorted(slices.Values(got))
	if !slices.Equal(sorted, slices.Sorted(slices.Values(want))) {
		t.Errorf("got %d finals, want %d:\n%v\n%v", len(got), len(want), sorted, want)
	}
	if interims == 0 {
		t.Error("no interims")
	}
	var stats insight.MeetingReport
	if err := json.Unmarshal(s.get("/v1/meetings/"+s.meetings()[0].ID+"/stats"), &stats); err != nil {
		t.Fatal(err)
	}
	if len(stats.Participants) != 3 || stats.Words == nil || *stats.Words != len(want) || stats.TalkMS < 3*6900 || stats.DoubleTalkMS == 0 {
		t.Errorf("all three talk for 7 s, a word in each segment: %+v", stats.Numbers)
	}
	// A new client of the ended room gets none of it; with an id of another
	// room's meeting neither.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s.watch(ctx, "other", strings.Split(lastID, ".")[0]+".0", func(e seen) {
		if e.kind == meeting.EventCaption {
			t.Errorf("a caption in another room: %s", e.data)
		}
	})
	s.stop()
}

// The newest session of a participant wins; who comes back is the same person.
func TestReplacedAndRejoined(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--linger", "30s")
	post := func(query string) string {
		resp, err := http.Post(s.url+"/v1/rooms/r/whip?"+query, "application/sdp", strings.NewReader(offer(t)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status)
		}
		return resp.Header.Get("Location")
	}
	leave := func(url string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	first := post("participant=ada&name=Ada")
	second := post("participant=ada&name=Ada+L.")
	post("participant=bob&name=Bob")
	s.until("the first session is gone", func(meeting.Meeting) bool { return leave(first) == http.StatusNotFound })
	m := s.meetings()[0]
	if len(m.Participants) != 2 || m.Participants[0].Name != "Ada L." || m.Participants[0].LeftAt != nil {
		t.Errorf("participants %+v", m.Participants)
	}
	if st := leave(second); st != http.StatusOK {
		t.Errorf("leave: %d", st)
	}
	s.until("she has left", func(m meeting.Meeting) bool { return m.Participants[0].LeftAt != nil })
	post("participant=ada&name=Ada")
	m = s.meetings()[0]
	if len(s.meetings()) != 1 || len(m.Participants) != 2 || m.Participants[0].LeftAt != nil {
		t.Errorf("after she came back: %+v", m.Participants)
	}

	// End: everyone out, nothing to transcribe, complete; and then erased.
	resp, err := http.Post(s.url+"/v1/meetings/"+m.ID+"/end", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	m = s.meetings()[0]
	if m.State != meeting.StateComplete || m.EndedAt == nil {
		t.Errorf("after the end the meeting is %s", m.State)
	}
	if st := leave(s.url + "/v1/meetings/" + m.ID); st != http.StatusNoContent {
		t.Errorf("erase: %d", st)
	}
	if n := len(s.meetings()); n != 0 {
		t.Errorf("%d meetings after the erasure", n)
	}
	s.stop()
}

// Many sessions of one participant at once leave one, and none once the meeting
// has ended, whatever they were doing meanwhile.
func TestJoinsAtTheSameTime(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--linger", "30s")
	var wg sync.WaitGroup
	for range 8 {
		text := offer(t)
		wg.Go(func() {
			resp, err := http.Post(s.url+"/v1/rooms/r/whip?participant=ada", "application/sdp", strings.NewReader(text))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusConflict {
				t.Error(resp.Status)
			}
		})
	}
	wg.Wait()
	m := s.meetings()[0]
	if len(m.Participants) != 1 || m.Participants[0].LeftAt != nil {
		t.Errorf("participants %+v, want one who is there", m.Participants)
	}
	resp, err := http.Post(s.url+"/v1/meetings/"+m.ID+"/end", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if m = s.meetings()[0]; m.State != meeting.StateComplete {
		t.Errorf("the meeting is %s", m.State)
	}
	s.stop()
}

// A client that hangs up while its session is set up keeps no meeting alive.
func TestHangUpWhileJoining(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--linger", "100ms")
	text := offer(t)
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/rooms/r/whip", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/sdp")
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			cancel()
			leave, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, resp.Header.Get("Location"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := http.DefaultClient.Do(leave); err == nil {
				resp.Body.Close()
			}
		}
		cancel()
	}
	// Sessions of which the client never learned end by themselves after 30 s.
	deadline := time.Now().Add(30*time.Second + time.Minute) // there may be no meeting at all
	for slices.ContainsFunc(s.meetings(), func(m meeting.Meeting) bool { return m.State == meeting.StateLive }) {
		if time.Now().After(deadline) {
			t.Fatalf("still live: %+v", s.meetings())
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
}
