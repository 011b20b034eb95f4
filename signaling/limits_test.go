package signaling

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/auth"
)

func (s *service) joins(who, sdp string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/v1/rooms/r/whip?participant="+who, sdp, "Content-Type", sdpType)
}

// soon waits until a place that was given up is free.
func soon(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// A full room takes nobody more, but those who are in it may come back by another
// way.
func TestFullRoom(t *testing.T) {
	s := begin(t, Config{Limits: Limits{SessionsPerRoom: 2}})
	sdp := offer(t)
	s.joins("ada", sdp)
	s.joins("bob", sdp)
	for range 2 {
		if a := s.joins("eve", sdp); a.status != 429 || a.kind != "room-full" || a.header.Get("Retry-After") != "30" {
			t.Errorf("the third: %d %s", a.status, a.body)
		}
	}
	a := s.joins("ada", sdp)
	if a.status != 201 {
		t.Errorf("who is there: %d %s", a.status, a.body)
	}
	soon(t, "the old session is over", func() bool { return s.engine.Sessions() == 2 })
	if a := s.joins("eve", sdp); a.status != 429 {
		t.Errorf("the third, after another came again: %d %s", a.status, a.body)
	}
	s.do(http.MethodDelete, a.header.Get("Location"), "")
	soon(t, "a place is free", func() bool { return s.joins("eve", sdp).status == 201 })
	// What comes to nothing takes no place.
	if a := s.do(http.MethodPost, "/v1/rooms/q/whip", "garbage", "Content-Type", sdpType); a.status != 400 {
		t.Errorf("garbage: %d", a.status)
	}
	if n := s.server.gate.count("room q"); n != 0 {
		t.Errorf("garbage takes %d places", n)
	}
	if st := s.server.Stats(); st.Refused[tooManyInRoom] < 3 {
		t.Errorf("counted: %+v", st)
	}
}

// from asks the server as if it came from an address.
func (s *service) from(address, method, path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	r.RemoteAddr = address
	r.Header.Set("Content-Type", sdpType)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func TestLimitsOfAnAddress(t *testing.T) {
	s := begin(t, Config{Limits: Limits{SessionsPerAddress: 2, JoinsPerAddressPerMinute: 20, RequestsPerAddressPerMinute: 30}})
	s.handler = s.server.Routes()
	sdp := offer(t)
	join := func(address string, n int) int {
		return s.from(address, http.MethodPost, fmt.Sprintf("/v1/rooms/r%d/whip", n), sdp).Code
	}
	for i, c := range []struct {
		address string
		want    int
	}{
		{"192.0.2.1:1000", 201}, {"192.0.2.1:1001", 201}, {"192.0.2.1:1002", 429}, {"192.0.2.2:1000", 201},
		{"[2001:db8::1]:1000", 201}, {"[2001:db8::2]:1000", 201}, {"[2001:db8::3]:1000", 429}, {"[2001:db8:0:1::1]:1000", 201},
		{"127.0.0.1:1000", 201}, {"127.0.0.1:1001", 201}, {"127.0.0.1:1002", 201}, {"[::1]:1", 201},
	} {
		if got := join(c.address, i); got != c.want {
			t.Errorf("%d, %s: %d, want %d", i, c.address, got, c.want)
		}
	}
	count := func(address, method, path, body string) (answered int) {
		for range 50 {
			w := s.from(address, method, path, body)
			if w.Code != http.StatusTooManyRequests {
				answered++
			} else if w.Header().Get("Retry-After") == "" || len(w.Header()["Retry-After"]) != 1 {
				t.Errorf("%s %s: Retry-After %q", method, path, w.Header()["Retry-After"])
			}
		}
		return answered
	}
	if n := count("192.0.2.9:1", http.MethodPost, "/v1/rooms/r/whip", "garbage"); n != 20 {
		t.Errorf("%d joins in vain were answered, want 20", n)
	}
	if n := count("192.0.2.10:1", http.MethodGet, "/v1/nothing/at/all", ""); n != 50 {
		t.Errorf("%d requests for nothing were answered, want all", n) // they cost nothing
	}
	if n := count("192.0.2.11:1", http.MethodGet, "/v1/meetings?limit=x", ""); n != 30 {
		t.Errorf("%d requests were answered, want 30", n)
	}
	if n := count("192.0.2.11:1", http.MethodGet, "/healthz", ""); n != 50 {
		t.Errorf("%d looks at its health were answered, want all", n)
	}
	if st := s.server.Stats(); st.Refused[tooManyAtAddress] != 2 || st.Refused[tooFast] != 30+20 {
		t.Errorf("counted: %+v", st)
	}
}

func TestJoinsPerSecond(t *testing.T) {
	s := begin(t, Config{Limits: Limits{JoinsPerSecond: 5}})
	refused, began := 0, time.Now()
	for range 20 {
		if a := s.joins("", "garbage"); a.kind == "too-fast" {
			refused++
		} else if a.kind != "bad-offer" {
			t.Errorf("%d %s", a.status, a.kind)
		}
	}
	// As many at once as in a second, and what the time has given since.
	if least := 20 - 5 - int(5*time.Since(began).Seconds()) - 1; refused < least || refused > 15 {
		t.Errorf("%d of 20 were refused, want %d to 15", refused, least)
	}
}

// A token begins only so many sessions, whatever address it is used from; others are
// not concerned.
func TestJoinsOfAToken(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	tokens, err := auth.NewVerifier(t.Context(), auth.Config{Secret: secret, Audience: "verbatim"})
	if err != nil {
		t.Fatal(err)
	}
	s := begin(t, Config{Limits: Limits{JoinsPerTokenPerMinute: 3}, Tokens: tokens})
	join := func(who string) answer {
		claims := auth.Claims{Room: auth.Rooms{"*"}, Act: []auth.Act{auth.Publish}, Participant: who}
		claims.Stamp(time.Now(), time.Hour, "", "verbatim")
		token, err := auth.Sign(secret, claims)
		if err != nil {
			t.Fatal(err)
		}
		return s.do(http.MethodPost, "/v1/rooms/r/whip", "garbage", "Content-Type", sdpType, "Authorization", "Bearer "+token)
	}
	for i, want := range []string{"bad-offer", "bad-offer", "bad-offer", "too-fast"} {
		if a := join("ada"); a.kind != want {
			t.Errorf("the join number %d: %d %s, want %s", i+1, a.status, a.kind, want)
		}
	}
	if a := join("bob"); a.kind != "bad-offer" {
		t.Errorf("another's: %d %s", a.status, a.kind)
	}
	if n := s.server.Stats().Refused[tooFast]; n != 1 {
		t.Errorf("%d were counted", n)
	}
}

// noMeetings is a room in which nobody ever was.
type noMeetings struct{ allMeetings }

type allMeetings interface{ Meetings } // its name hides the method of that name

func (noMeetings) LiveMeeting(context.Context, string) (meeting.Meeting, bool, error) {
	return meeting.Meeting{}, false, nil
}

func TestOpenStreams(t *testing.T) {
	s := begin(t, Config{Limits: Limits{Streams: 2}, Meetings: noMeetings{}})
	open := func() (status int, cancel func()) {
		ctx, stop := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/rooms/r/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, func() { stop(); resp.Body.Close() }
	}
	_, one := open()
	_, two := open()
	if a := s.do(http.MethodGet, "/v1/rooms/r/events", ""); a.status != 429 || a.kind != "too-many-streams" {
		t.Errorf("the third: %d %s", a.status, a.body)
	}
	if st := s.server.Stats(); st.Used[tooManyStreams] != 2 || st.Refused[tooManyStreams] != 1 {
		t.Errorf("counted: %+v", st)
	}
	one()
	soon(t, "a place is free", func() bool { return s.server.Stats().Used[tooManyStreams] == 1 })
	status, three := open()
	if status != http.StatusOK {
		t.Errorf("the third, later: %d", status)
	}
	two()
	three()
	soon(t, "all are closed", func() bool { return s.server.Stats().Used[tooManyStreams] == 0 })
}

func TestDownloadsAtATime(t *testing.T) {
	s := begin(t, Config{Limits: Limits{Downloads: 2}, Recordings: reel{}})
	open := func() *http.Response {
		resp, err := http.Get(s.url + "/v1/meetings/m/audio.flac")
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	one, two := open(), open()
	defer two.Body.Close()
	a := s.do(http.MethodGet, "/v1/meetings/m/tracks/t/audio.opus", "")
	if a.status != http.StatusTooManyRequests || a.kind != "too-many-downloads" || a.header.Get("Retry-After") == "" {
		t.Errorf("the third: %d %s", a.status, a.body)
	}
	if st := s.server.Stats(); st.Used[tooManyDownloads] != 2 || st.Refused[tooManyDownloads] != 1 {
		t.Errorf("counted: %+v", st)
	}
	one.Body.Close()
	soon(t, "a place is free", func() bool { return s.server.Stats().Used[tooManyDownloads] == 1 })
	three := open()
	three.Body.Close()
	if three.StatusCode != http.StatusOK {
		t.Errorf("the third, later: %s", three.Status)
	}
}

// One address has some of the places; this machine all.
func TestDownloadsOfAnAddress(t *testing.T) {
	s := begin(t, Config{Limits: Limits{DownloadsPerAddress: -1}, Recordings: shelf{kept: "fLaC"}})
	s.handler = s.server.Routes()
	taken := place{tooManyDownloads + " 192.0.2.1/32", tooManyDownloads, -1}
	s.server.gate.take(taken)
	get := func(address string) int { return s.from(address, http.MethodGet, "/v1/meetings/m/audio.flac", "").Code }
	if got := get("192.0.2.1:5"); got != http.StatusOK {
		t.Errorf("without a limit: %d", got)
	}
	s = begin(t, Config{Limits: Limits{DownloadsPerAddress: 1}, Recordings: shelf{kept: "fLaC"}})
	s.handler = s.server.Routes()
	s.server.gate.take(taken)
	for address, want := range map[string]int{"192.0.2.1:5": http.StatusTooManyRequests, "192.0.2.2:5": http.StatusOK, "127.0.0.1:5": http.StatusOK} {
		if got := get(address); got != want {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}
}
