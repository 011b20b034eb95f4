package signaling

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"verbatim/signaling/auth"
)

// meetings is Meetings by another name, for a struct in which it is a field.
type meetings = Meetings

// register is a store of meetings that counts how often it is asked.
type register struct {
	meetings
	asked int
}

func (m *register) Room(context.Context, string) (string, error) {
	m.asked++
	return "lobby", nil
}

// However many links are asked for, and in whichever order, each meeting is looked up
// once.
func TestLinksOfManyFiles(t *testing.T) {
	secret := []byte(strings.Repeat("s", auth.MinSecret))
	log := slog.New(slog.DiscardHandler)
	tokens, err := auth.NewVerifier(t.Context(), auth.Config{Secret: secret, Audience: "verbatim", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auth.NewLinks(secret, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	claims := auth.Claims{Room: auth.Rooms{"lobby"}, Act: []auth.Act{auth.Listen}, Participant: "eve"}
	claims.Stamp(time.Now(), time.Hour, "", "verbatim")
	token, err := auth.Sign(secret, claims)
	if err != nil {
		t.Fatal(err)
	}
	m := &register{}
	var paths []string
	for range maxLinks / 2 {
		paths = append(paths, "/v1/meetings/a/audio.flac", "/v1/meetings/b/audio.flac")
	}
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/links", strings.NewReader(string(body)))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	New(Config{Tokens: tokens, Links: signer, Meetings: m, Logger: log}).Routes().ServeHTTP(w, r)
	if n := strings.Count(w.Body.String(), `"url"`); w.Code != http.StatusOK || n != maxLinks {
		t.Fatalf("%d, %d links: %.200s", w.Code, n, w.Body)
	}
	if m.asked != 2 {
		t.Errorf("two meetings were looked up %d times", m.asked)
	}
}
