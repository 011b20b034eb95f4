package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/internal/contract"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/auth"
	"verbatim/signaling/whipclient"
)

const tokenSecret = "the-secret-of-these-tests-0123456789"

// guarded is a server that asks for tokens.
type guarded struct {
	*process
	doc     *contract.Document
	live    string // meeting in the room "mine", in which ada is
	over    string // another one there, with a track
	track   string
	started func() string // begins a session of ada's, and gives its path
}

// token makes one for a room.
func token(t testing.TB, room, participant string, good time.Duration, acts ...auth.Act) string {
	t.Helper()
	c := auth.Claims{Room: auth.Rooms{room}, Act: acts, Participant: participant, Name: strings.ToUpper(participant)}
	c.Stamp(time.Now(), good, "", defaultAudience)
	s, err := auth.Sign([]byte(tokenSecret), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func serveGuarded(t *testing.T, more ...string) *guarded {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &guarded{process: serve(t, t.TempDir(), "none:", append(more, "--auth-secret-file", file)...)}
	doc, err := contract.Parse(g.get("/openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g.doc = doc
	return g
}

// ask sends a request with a token, "" for none, and gives what is answered. Of
// what never ends it is the head. Headers are name and value by turns.
func (g *guarded) ask(token, method, path, body string, headers ...string) (status int, h http.Header, text string) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp.StatusCode, resp.Header, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if strings.HasPrefix(path, "/v1") || strings.HasSuffix(path, "z") {
		if err := g.doc.Check(req, resp.StatusCode, resp.Header, b); err != nil {
			g.t.Error(err)
		}
	}
	return resp.StatusCode, resp.Header, string(b)
}

// fill makes the meetings.
func (g *guarded) fill(t *testing.T) {
	t.Helper()
	ada := token(t, "mine", "ada", time.Hour, auth.Publish)
	manager := token(t, "mine", "boss", time.Hour, auth.Manage)
	pcm := speech.PCM("sas-0880")[:16000]
	for _, m := range []*string{&g.over, &g.live} {
		g.token, g.room = ada, "mine"
		c := g.ingest("", 16000, "")
		*m = c.ready.Meeting
		c.send(pcm, 0, len(pcm))
		if m == &g.over {
			c.end(len(pcm))
			g.ask(manager, http.MethodPost, "/v1/meetings/"+g.over+"/end", "")
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var m meeting.Meeting
		_, _, text := g.ask(manager, http.MethodGet, "/v1/meetings/"+g.over, "")
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if m.State == meeting.StateComplete {
			g.track = m.Tracks[0].ID
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the meeting is %s", m.State)
		}
	}
	sdp := offer(t)
	g.started = func() string {
		status, h, text := g.ask(ada, http.MethodPost, "/v1/rooms/mine/whip", sdp, "Content-Type", "application/sdp")
		if status != http.StatusCreated {
			t.Fatalf("join: %d %s", status, text)
		}
		return strings.TrimPrefix(h.Get("Location"), g.url)
	}
}

// Every route answers every kind of caller as this table says. Where a request is
// let through, what it is answered with shows that: 415 and 426 are for bodies and
// handshakes that are none, 409 is for a meeting that goes on.
func TestWhoMayDoWhat(t *testing.T) {
	g := serveGuarded(t)
	g.fill(t)
	all := []auth.Act{auth.Publish, auth.Listen, auth.Manage}
	callers := []struct{ name, token string }{
		{"nobody", ""},
		{"garbage", "a.b.c"},
		{"expired", token(t, "mine", "ada", -time.Minute, all...)},
		{"of another room", token(t, "other", "ada", time.Hour, all...)},
		{"listener", token(t, "mine", "eve", time.Hour, auth.Listen)},
		{"another participant", token(t, "mine", "bob", time.Hour, auth.Publish)},
		{"ada", token(t, "mine", "ada", time.Hour, auth.Publish)},
		{"manager", token(t, "mine", "boss", time.Hour, auth.Manage)},
		{"operator", token(t, "*", "root", time.Hour, auth.Manage)},
	}
	const (
		public = "200 200 200 200 200 200 200 200 200"
		empty  = "204 204 204 204 204 204 204 204 204"
		reads  = "401 401 401 403 200 403 403 200 200" // by the room's name
		knows  = "401 401 401 404 200 403 403 200 200" // by the meeting's id
	)
	over, live := "/v1/meetings/"+g.over, "/v1/meetings/"+g.live
	rows := map[string]struct {
		path, want string
		body       string
	}{
		"GET /healthz":      {path: "/healthz", want: public},
		"GET /readyz":       {path: "/readyz", want: public},
		"GET /openapi.yaml": {path: "/openapi.yaml", want: public},
		"GET /metrics":      {path: "/metrics", want: "401 401 401 403 403 403 403 403 200"},

		"POST /v1/rooms/{room}/whip":    {path: "/v1/rooms/mine/whip", want: "401 401 401 403 403 415 415 403 403"},
		"OPTIONS /v1/rooms/{room}/whip": {path: "/v1/rooms/mine/whip", want: "204 401 401 204 204 204 204 204 204"},
		"GET /v1/rooms/{room}/whip":     {path: "/v1/rooms/mine/whip", want: empty},
		"GET /v1/rooms/{room}/ingest":   {path: "/v1/rooms/mine/ingest", want: "401 401 401 403 403 426 426 403 403"},

		"PATCH /v1/sessions/{session}":   {want: "401 401 401 404 403 404 415 403 403"},
		"DELETE /v1/sessions/{session}":  {want: "401 401 401 404 403 404 200 200 200"},
		"OPTIONS /v1/sessions/{session}": {path: "/v1/sessions/x", want: empty},
		"GET /v1/sessions/{session}":     {path: "/v1/sessions/x", want: empty},

		"GET /v1/rooms/{room}":        {path: "/v1/rooms/mine", want: reads},
		"GET /v1/rooms/{room}/events": {path: "/v1/rooms/mine/events", want: reads},
		"GET /v1/rooms/{room}/stats":  {path: "/v1/rooms/mine/stats", want: reads},
		"GET /v1/meetings":            {path: "/v1/meetings?room=mine", want: reads},
		"GET /v1/search":              {path: "/v1/search?q=x&room=mine", want: reads},

		"GET /v1/meetings/{meeting}":                           {path: over, want: knows},
		"GET /v1/meetings/{meeting}/stats":                     {path: over + "/stats", want: knows},
		"GET /v1/meetings/{meeting}/transcript.{format}":       {path: over + "/transcript.txt", want: knows},
		"GET /v1/meetings/{meeting}/audio.flac":                {path: over + "/audio.flac", want: knows},
		"GET /v1/meetings/{meeting}/tracks/{track}/audio.opus": {path: over + "/tracks/" + g.track + "/audio.opus", want: "401 401 401 404 404 403 403 404 404"}, // it was PCM
		"GET /v1/meetings/{meeting}/tracks/{track}/audio.wav":  {path: over + "/tracks/" + g.track + "/audio.wav", want: knows},
		"POST /v1/links": {path: "/v1/links", body: `{"paths":["` + over + `/audio.flac"]}`, want: knows},

		"POST /v1/meetings/{meeting}/end": {path: over + "/end", want: "401 401 401 404 403 403 403 200 200"},
		"DELETE /v1/meetings/{meeting}":   {path: live, want: "401 401 401 404 403 403 403 409 409"},
	}
	if have, want := slices.Sorted(maps.Keys(rows)), g.doc.Operations(); !slices.Equal(have, want) {
		t.Fatalf("the table has\n%s\nthe server has\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	for op, row := range rows {
		method, _, _ := strings.Cut(op, " ")
		for i, want := range strings.Fields(row.want) {
			path := row.path
			if path == "" {
				path = g.started()
			}
			status, h, text := g.ask(callers[i].token, method, path, row.body)
			if fmt.Sprint(status) != want {
				t.Errorf("%s: %s gets %d, want %s: %.200s", op, callers[i].name, status, want, text)
			}
			challenge := h.Get("WWW-Authenticate")
			if (status == http.StatusUnauthorized || status == http.StatusForbidden) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%s: %s gets %d with WWW-Authenticate %q", op, callers[i].name, status, challenge)
			}
			if (status == http.StatusNotFound) && strings.Contains(text, "mine") {
				t.Errorf("%s: %s is told of the room: %s", op, callers[i].name, text)
			}
		}
	}
	g.stop()
}

// What lists give is what the token is for, and who joins is who the token says.
func TestTokensAreForTheirRooms(t *testing.T) {
	g := serveGuarded(t, "--ice-server", "turn:turn.example.net?username=u&credential=c")
	g.fill(t)
	both := auth.Claims{Room: auth.Rooms{"mine", "other"}, Act: []auth.Act{auth.Listen, auth.Publish}, Participant: "ada", Name: "Ada"}
	both.Stamp(time.Now(), time.Hour, "", defaultAudience)
	two, err := auth.Sign([]byte(tokenSecret), both)
	if err != nil {
		t.Fatal(err)
	}
	mine, other, all := token(t, "mine", "eve", time.Hour, auth.Listen), token(t, "other", "eve", time.Hour, auth.Listen), token(t, "*", "root", time.Hour, auth.Listen)
	for _, c := range []struct {
		name, token, query string
		status, meetings   int
	}{
		{"the token's own", mine, "", 200, 2},
		{"the token's own, in which nobody was", other, "", 200, 0},
		{"another's", other, "?room=mine", 403, 0},
		{"of two, without saying which", two, "", 403, 0},
		{"of two", two, "?room=mine", 200, 2},
		{"of all", all, "", 200, 2},
	} {
		status, _, text := g.ask(c.token, http.MethodGet, "/v1/meetings"+c.query, "")
		if n := strings.Count(text, `"room":"mine"`); status != c.status || n != c.meetings {
			t.Errorf("%s: %d with %d meetings, want %d with %d", c.name, status, n, c.status, c.meetings)
		}
	}
	// Neither the query nor the position of another room's events count.
	status, h, _ := g.ask(two, http.MethodPost, "/v1/rooms/other/whip?participant=bob&name=Bob", offer(t), "Content-Type", "application/sdp")
	_, _, text := g.ask(two, http.MethodGet, "/v1/rooms/other", "")
	if status != 201 || !strings.Contains(text, `"id":"ada","name":"Ada"`) || strings.Contains(strings.ToLower(text), "bob") {
		t.Errorf("who joined: %d %s", status, text)
	}
	if !strings.Contains(h.Get("Link"), "credential=") {
		t.Errorf("who may join is not told of the TURN server: %q", h.Get("Link"))
	}
	for name, who := range map[string]string{"nobody": "", "listener": mine} {
		if _, h, _ := g.ask(who, http.MethodOptions, "/v1/rooms/mine/whip", ""); h.Get("Link") != "" {
			t.Errorf("%s is told of the TURN server: %q", name, h.Get("Link"))
		}
	}
	g.stop()
}

// A link opens one file for whoever has it.
func TestLinksNeedNoToken(t *testing.T) {
	g := serveGuarded(t)
	g.fill(t)
	base := "/v1/meetings/" + g.over
	listener := token(t, "mine", "eve", time.Hour, auth.Listen)
	paths := []string{base + "/audio.flac", base + "/transcript.vtt", base + "/tracks/" + g.track + "/audio.wav"}
	ask, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		t.Fatal(err)
	}
	_, _, text := g.ask(listener, http.MethodPost, "/v1/links", string(ask))
	var made struct {
		Links []struct{ Path, URL string }
	}
	if err := json.Unmarshal([]byte(text), &made); err != nil || len(made.Links) != len(paths) {
		t.Fatalf("%v: %s", err, text)
	}
	for i, l := range made.Links {
		if l.Path != paths[i] {
			t.Errorf("link %d is for %s, want %s", i, l.Path, paths[i])
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if status, _, text := g.ask("", method, l.URL, ""); status != http.StatusOK {
				t.Errorf("%s %s: %d %s", method, l.Path, status, text)
			}
		}
	}
	if status, h, _ := g.ask("", http.MethodGet, made.Links[2].URL, "", "Range", "bytes=0-3"); status != http.StatusPartialContent || h.Get("Content-Length") != "4" {
		t.Errorf("a part of a file: %d", status)
	}
	_, query, _ := strings.Cut(made.Links[0].URL, "?")
	for name, path := range map[string]string{
		"another file":       base + "/audio.wav?" + query,
		"another transcript": base + "/transcript.txt?" + query,
		"no file":            base + "?" + query,
		"the room":           "/v1/rooms/mine?" + query,
		"a longer path":      base + "/audio.flac/../audio.flac?" + query,
		"escaped":            base + "/audio%2Eflac?" + query,
	} {
		if status, _, text := g.ask("", http.MethodGet, path, ""); status < 400 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, bad := range []string{"", "{}", `{"paths":[]}`, `{"paths":["` + base + `"]}`, `{"paths":["/metrics"]}`, `{"paths":["https://evil.example` + base + `/audio.flac"]}`, `{"paths":["` + base + `/audio.flac?x"]}`, `{"paths":7}`} {
		if status, _, text := g.ask(listener, http.MethodPost, "/v1/links", bad); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, status, text)
		}
	}
	g.stop()
}

// An event stream is over with its token.
func TestEventsEndWithTheToken(t *testing.T) {
	g := serveGuarded(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // without an end it goes on for ever
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/v1/rooms/mine/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	const good = 5 * time.Second
	began := time.Now()
	req.Header.Set("Authorization", "Bearer "+token(t, "mine", "eve", good, auth.Listen))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() {
		t.Error("the stream does not begin")
	}
	for lines.Scan() {
	}
	// Tokens have whole seconds. The 10 s by which clocks may differ are not for streams.
	if after := time.Since(began); lines.Err() != nil || after < good-time.Second || after > good+9*time.Second {
		t.Errorf("the stream ended after %v: %v", after, lines.Err())
	}
	g.stop()
}

// The commands that go with it.
func TestTokenAndPublish(t *testing.T) {
	g := serveGuarded(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := verbatim(t.Context(), "token", "--auth-secret-file", file, "--room", "r", "--participant", "ada", "--name", "Ada").Output()
	if err != nil {
		t.Fatalf("token: %v: %s", err, out)
	}
	made := strings.TrimSpace(string(out))
	args := []string{"publish", opusFile(t, "sas-0880"), "--room", "r", "--url", g.url}
	if out, err := verbatim(t.Context(), args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "asks for a token") {
		t.Errorf("publish without a token: %v: %s", err, out)
	}
	pub := verbatim(t.Context(), args...)
	pub.Env = append(pub.Env, "VERBATIM_TOKEN="+made)
	if out, err := pub.CombinedOutput(); err != nil {
		t.Errorf("publish: %v: %s", err, out)
	}
	client := whipclient.Client{URL: g.url, Token: made}
	_, _, text := g.ask(client.Token, http.MethodGet, "/v1/meetings?room=r", "")
	if !strings.Contains(text, `"id":"ada","name":"Ada"`) || strings.Contains(text, "Publisher") {
		t.Errorf("the meeting is %s", text)
	}
	if out, err := verbatim(t.Context(), "token", "--room", "r").CombinedOutput(); err == nil || !strings.Contains(string(out), "--auth-secret-file") {
		t.Errorf("a token without a secret: %v: %s", err, out)
	}
	out, err = verbatim(t.Context(), "token", "--auth-secret-file", file, "--room", "r", "--url", g.url).Output()
	if page, tok, ok := strings.Cut(strings.TrimSpace(string(out)), "#token="); err != nil || !ok || page != g.url+"?room=r" || strings.Count(tok, ".") != 2 {
		t.Errorf("the page's address: %v: %s", err, out)
	}
	g.stop()
}

// Off loopback, tokens are what is asked for.
func TestListensEverywhereWithTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, t.TempDir(), "none:", "--listen", "0.0.0.0:0", "--auth-secret-file", file)
	s.stop()
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := verbatim(t.Context(), "serve", "--listen", "0.0.0.0:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(), "--recognizer", "none:", "--auth-secret-file", file)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "at least 32") || strings.Contains(string(out), "short") {
		t.Errorf("%v: %s", err, out)
	}
}
