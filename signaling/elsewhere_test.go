package signaling

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/auth"
)

// peers are other nodes by their names.
type peers map[string]meeting.Peer

func (p peers) Peer(_ context.Context, node string) (meeting.Peer, error) {
	if node == "away" {
		return meeting.Peer{}, errors.New("secret")
	}
	peer, ok := p[node]
	if !ok {
		return peer, meeting.ErrNotFound
	}
	return peer, nil
}

const secretOfTests = "the-secret-of-these-tests-0123456789"

// A file that another node has is asked for there, by a link; where that cannot be,
// the answer says why.
func TestLedElsewhere(t *testing.T) {
	links, err := auth.NewLinks([]byte(secretOfTests), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.NewVerifier(t.Context(), auth.Config{Secret: []byte(secretOfTests), Audience: "verbatim"})
	if err != nil {
		t.Fatal(err)
	}
	claims := auth.Claims{Room: auth.Rooms{auth.AllRooms}, Act: []auth.Act{auth.Listen}, Participant: "ada"}
	claims.Stamp(time.Now(), time.Hour, "", "verbatim")
	token, err := auth.Sign([]byte(secretOfTests), claims)
	if err != nil {
		t.Fatal(err)
	}
	known := peers{
		"fine":  {URL: "https://n2.example/node2", Alive: true, Links: links.Mark()},
		"open":  {URL: "http://n3.example:8080", Alive: true, Links: openLinks},
		"dead":  {URL: "https://n4.example", Links: links.Mark()},
		"bare":  {Alive: true, Links: links.Mark()},
		"other": {URL: "https://n5.example", Alive: true, Links: "another"},
	}
	server := func(node string, open bool) *service {
		err := error(&meeting.ElsewhereError{Node: node})
		cfg := Config{
			Transcripts: noAudio{err: fmt.Errorf("audio: %w", err)}, Recordings: shelf{broken: err}, Links: links, Peers: known,
		}
		if !open {
			cfg.Tokens = tokens
		}
		return begin(t, cfg)
	}
	const base = "/v1/meetings/m"
	paths := []string{base + "/audio.flac", base + "/tracks/t/audio.opus", base + "/tracks/t/audio.wav"}
	bearer := []string{"Authorization", "Bearer " + token}

	s := server("fine", false)
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := s.do(method, path, "", append(bearer, "Range", "bytes=0-9")...)
			at, err := url.Parse(got.header.Get("Location"))
			if got.status != http.StatusTemporaryRedirect || err != nil || got.body != "" || got.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s %s: %d, %v: %s", method, path, got.status, got.header, got.body)
			}
			if ok, expired := links.Verify(path, at.Query()); !ok || expired || at.Host != "n2.example" || at.Path != "/node2"+path || at.Query().Get("node") != "fine" {
				t.Errorf("%s %s leads to %s", method, path, at)
			}
			if strings.Contains(at.String(), token) {
				t.Error("the token is in it")
			}
		}
	}
	// A link leads on as long as it is good, and no longer.
	soon, err := auth.NewLinks([]byte(secretOfTests), func() time.Time { return time.Now().Add(-50 * time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	query, expires := soon.Sign(paths[2])
	got := s.do(http.MethodGet, paths[2]+"?"+query.Encode(), "")
	at, err := url.Parse(got.header.Get("Location"))
	if got.status != http.StatusTemporaryRedirect || err != nil || at.Query().Get("expires") != strconv.FormatInt(expires.Unix(), 10) {
		t.Errorf("%d, %v", got.status, got.header)
	}
	if ok, _ := links.Verify(paths[2], at.Query()); !ok {
		t.Errorf("it is no link: %s", at)
	}
	if got := s.do(http.MethodGet, paths[2], ""); got.status != http.StatusUnauthorized || got.header.Get("Location") != "" {
		t.Errorf("who may not hear it is led there: %d", got.status)
	}
	if got := s.do(http.MethodGet, paths[2]+"?node=fine", "", bearer...); got.kind != "audio-elsewhere" || !strings.Contains(got.body, "the --node-url of the node fine") {
		t.Errorf("led in a circle: %d %s", got.status, got.body)
	}

	// Servers without tokens need no link.
	got = server("open", true).do(http.MethodGet, paths[0], "")
	if got.status != http.StatusTemporaryRedirect || got.header.Get("Location") != "http://n3.example:8080"+paths[0]+"?node=open" {
		t.Errorf("%d, %v", got.status, got.header)
	}

	for _, c := range []struct {
		node string
		open bool
		says string
	}{
		{"dead", false, "it does not run"},
		{"bare", false, "--node-url"},
		{"other", false, "--auth-link-secret-file"},
		{"open", false, "--auth-link-secret-file"},
		{"fine", true, "--auth-link-secret-file"},
		{"unknown", false, "does not know it"},
		{"away", false, "the database does not answer"},
		{"", false, "on several nodes"},
	} {
		s := server(c.node, c.open)
		for _, path := range paths {
			got := s.do(http.MethodGet, path, "", bearer...)
			if got.status != http.StatusMisdirectedRequest || got.kind != "audio-elsewhere" || !strings.Contains(got.body, c.says) || strings.Contains(got.body, "secret\"") {
				t.Errorf("%q, open: %v: %d %s", c.node, c.open, got.status, got.body)
			}
		}
	}
	alone := begin(t, Config{Transcripts: noAudio{err: &meeting.ElsewhereError{Node: "fine"}}})
	if got := alone.do(http.MethodGet, paths[2], ""); got.kind != "audio-elsewhere" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
