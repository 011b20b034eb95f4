package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
)

func verifier(t *testing.T, c Config) *Verifier {
	t.Helper()
	if c.Audience == "" {
		c.Audience = "verbatim"
	}
	c.Now, c.Logger = func() time.Time { return now }, slog.New(slog.DiscardHandler)
	v, err := NewVerifier(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// good are the claims of a token that is accepted, as JSON.
func good(change func(c map[string]any)) jwt.MapClaims {
	c := map[string]any{
		"aud": "verbatim", "exp": now.Add(time.Hour).Unix(), "room": "standup", "act": []string{"publish"}, "participant": "ada",
	}
	if change != nil {
		change(c)
	}
	return c
}

func signed(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCriticalHeaders(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, good(nil))
	for _, c := range []struct {
		name string
		ok   bool
	}{{"other", true}, {"crit", false}} {
		token.Header[c.name] = []string{"b64"}
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), text); (err == nil) != c.ok || err != nil && !errors.Is(err, errCritical) {
			t.Errorf("with %s in the header: %v", c.name, err)
		}
	}
}

func TestWhichTokensAreAccepted(t *testing.T) {
	v := verifier(t, Config{Secret: secret, Issuer: "https://issuer.example"})
	from := func(change func(c map[string]any)) jwt.MapClaims {
		return good(func(c map[string]any) {
			c["iss"] = "https://issuer.example"
			if change != nil {
				change(c)
			}
		})
	}
	set := func(key string, value any) jwt.MapClaims {
		return from(func(c map[string]any) { c[key] = value })
	}
	without := func(key string) jwt.MapClaims {
		return from(func(c map[string]any) { delete(c, key) })
	}
	hs := func(c jwt.MapClaims) string { return signed(t, jwt.SigningMethodHS256, secret, "", c) }
	many := make([]string, maxRooms+1)
	for i := range many {
		many[i] = "r"
	}
	for name, c := range map[string]struct{ token, want string }{
		"good":                   {hs(from(nil)), ""},
		"several rooms":          {hs(set("room", []string{"a", "b"})), ""},
		"all rooms":              {hs(set("room", "*")), ""},
		"several audiences":      {hs(set("aud", []string{"other", "verbatim"})), ""},
		"begins within leeway":   {hs(set("nbf", now.Add(leeway/2).Unix())), ""},
		"ended within leeway":    {hs(set("exp", now.Add(-leeway/2).Unix())), ""},
		"expired":                {hs(set("exp", now.Add(-time.Minute).Unix())), "expired"},
		"never expires":          {hs(without("exp")), "exp"},
		"not yet":                {hs(set("nbf", now.Add(time.Minute).Unix())), "not valid yet"},
		"other audience":         {hs(set("aud", "other")), "aud"},
		"no audience":            {hs(without("aud")), "aud"},
		"other issuer":           {hs(set("iss", "https://evil.example")), "iss"},
		"no issuer":              {hs(without("iss")), "iss"},
		"no room":                {hs(without("room")), "room"},
		"empty list of rooms":    {hs(set("room", []string{})), "room"},
		"too many rooms":         {hs(set("room", many)), "room"},
		"bad room":               {hs(set("room", "../x")), "room"},
		"room of another type":   {hs(set("room", 7)), "it is no token"},
		"no act":                 {hs(without("act")), "act"},
		"unknown act":            {hs(set("act", []string{"publish", "own"})), "act"},
		"nobody":                 {hs(without("participant")), "who it is for"},
		"bad participant":        {hs(set("participant", "a b")), "participant"},
		"other secret":           {signed(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", from(nil)), "signed"},
		"another HMAC":           {signed(t, jwt.SigningMethodHS512, secret, "", from(nil)), "signed"},
		"no signature":           {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", from(nil)), "signed"},
		"nothing":                {"", "no token"},
		"garbage":                {"a.b.c", "no token"},
		"cut off":                {hs(from(nil))[:60], "no token"},
		"four parts":             {hs(from(nil)) + ".x", "no token"},
		"a signature with a bit": {flip(hs(from(nil))), "signed"},
	} {
		who, err := v.Verify(t.Context(), c.token)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want one about %q", name, err, c.want)
		case err != nil && (who.Has(Publish) || who.Participant != ""):
			t.Errorf("%s: is somebody in spite of %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), hs(set("exp", now.Add(-time.Minute).Unix()))); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

// flip changes the first character of the signature.
func flip(token string) string {
	i := strings.LastIndexByte(token, '.') + 1
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func TestWhoMayDoWhat(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	who := func(room any, acts ...string) Caller {
		c, err := v.Verify(t.Context(), signed(t, jwt.SigningMethodHS256, secret, "", good(func(c map[string]any) { c["room"], c["act"] = room, acts })))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, c := range map[string]struct {
		who  Caller
		act  Act
		room string
		may  bool
	}{
		"publishes in the room":            {who("a", "publish"), Publish, "a", true},
		"publishes elsewhere":              {who("a", "publish"), Publish, "b", false},
		"publisher listens":                {who("a", "publish"), Listen, "a", false},
		"listens in one of the rooms":      {who([]string{"a", "b"}, "listen"), Listen, "b", true},
		"listener publishes":               {who("a", "listen"), Publish, "a", false},
		"listener manages":                 {who("a", "listen"), Manage, "a", false},
		"manager listens":                  {who("a", "manage"), Listen, "a", true},
		"manager publishes":                {who("a", "manage"), Publish, "a", false},
		"manager of one manages all":       {who("a", "manage"), Manage, AllRooms, false},
		"manager of all manages all":       {who("*", "manage"), Manage, AllRooms, true},
		"manager of all manages any":       {who("*", "manage"), Manage, "a", true},
		"nobody":                           {Caller{}, Listen, "a", false},
		"nobody in a room without a name":  {Caller{}, Listen, "", false},
		"anybody where no token is needed": {Anybody(), Manage, AllRooms, true},
	} {
		if may := c.who.May(c.act, c.room); may != c.may {
			t.Errorf("%s: %v", name, may)
		}
	}
}

func TestWhoSomebodyIs(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	for _, c := range []struct{ participant, sub, name, wantID, wantName string }{
		{"ada", "x", "Ada", "ada", "Ada"},
		{"", "ada", "", "ada", "ada"},
		{"", "auth0|5f7c8ec7c33c6c004bbafe82", "Ada", "p-igveq6eh4pcfygnsisfs6a3fki", "Ada"},
	} {
		token := signed(t, jwt.SigningMethodHS256, secret, "", good(func(m map[string]any) {
			m["participant"], m["sub"], m["name"] = c.participant, c.sub, c.name
		}))
		who, err := v.Verify(t.Context(), token)
		if err != nil || who.Participant != c.wantID || who.Name != c.wantName {
			t.Errorf("%+v: %q %q, %v", c, who.Participant, who.Name, err)
		}
	}
}

// issuer serves keys.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	keys  map[string]crypto.PublicKey
	away  bool
	asked int
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{keys: map[string]crypto.PublicKey{}}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked++
		if i.away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		var set jwkset.JWKSMarshal
		for kid, key := range i.keys {
			jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
			if err != nil {
				t.Error(err)
			}
			set.Keys = append(set.Keys, jwk.Marshal())
		}
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) set(kid string, key crypto.PublicKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[kid] = key
}

func TestKeysOfAnIssuer(t *testing.T) {
	i := newIssuer(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.set("rsa", rsaKey.Public())
	i.set("ec", ecKey.Public())
	i.set("ed", edPublic)
	v := verifier(t, Config{JWKS: i.URL})
	public, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	ps := jwt.SigningMethodPS256
	for name, c := range map[string]struct {
		token string
		ok    bool
	}{
		"RS256":                            {signed(t, jwt.SigningMethodRS256, rsaKey, "rsa", good(nil)), true},
		"ES256":                            {signed(t, jwt.SigningMethodES256, ecKey, "ec", good(nil)), true},
		"EdDSA":                            {signed(t, jwt.SigningMethodEdDSA, edKey, "ed", good(nil)), true},
		"without a key's name":             {signed(t, jwt.SigningMethodES256, ecKey, "", good(nil)), true},
		"under another key's name":         {signed(t, jwt.SigningMethodES256, ecKey, "rsa", good(nil)), false},
		"a method that was not asked for":  {signed(t, ps, rsaKey, "rsa", good(nil)), false},
		"HS256 with the public key":        {signed(t, jwt.SigningMethodHS256, public, "rsa", good(nil)), false},
		"none":                             {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa", good(nil)), false},
		"a key that the issuer never made": {signed(t, jwt.SigningMethodES256, other(t), "other", good(nil)), false},
	} {
		if who, err := v.Verify(t.Context(), c.token); (err == nil) != c.ok || who.May(Publish, "standup") != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func other(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A key that the issuer began to use is fetched when the first token comes, and
// whoever makes keys up does not set the server on the issuer.
func TestIssuersNewKey(t *testing.T) {
	i := newIssuer(t)
	old, next := other(t), other(t)
	i.set("old", old.Public())
	v := verifier(t, Config{JWKS: i.URL})
	i.set("new", next.Public())
	if _, err := v.Verify(t.Context(), signed(t, jwt.SigningMethodES256, next, "new", good(nil))); err != nil {
		t.Errorf("the new key: %v", err)
	}
	before := i.asked
	began := time.Now()
	for range 50 {
		if _, err := v.Verify(t.Context(), signed(t, jwt.SigningMethodES256, next, "made-up", good(nil))); err == nil || errors.Is(err, ErrUnavailable) {
			t.Fatalf("a made-up key: %v", err)
		}
	}
	if i.asked > before || time.Since(began) > 30*time.Second {
		t.Errorf("50 made-up keys: %d requests to the issuer, %v", i.asked-before, time.Since(began))
	}
}

func TestIssuerIsAway(t *testing.T) {
	i := newIssuer(t)
	key := other(t)
	i.set("k", key.Public())
	i.away = true
	v := verifier(t, Config{JWKS: i.URL})
	token := signed(t, jwt.SigningMethodES256, key, "k", good(nil))
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while the issuer is away: %v", err)
	}
	i.away = false
	v = verifier(t, Config{JWKS: i.URL})
	i.away = true
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("keys that are known do not go away with the issuer: %v", err)
	}
	v = verifier(t, Config{JWKS: i.URL + "/moved"})
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("by a redirect: %v", err)
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for name, c := range map[string]Config{
		"a short secret":          {Secret: secret[:MinSecret-1], Audience: "a"},
		"no audience":             {Secret: secret},
		"nothing":                 {Audience: "a"},
		"keys by http":            {JWKS: "http://issuer.example/jwks.json", Audience: "a"},
		"keys by a file":          {JWKS: "file:///etc/passwd", Audience: "a"},
		"a password in the URL":   {JWKS: "https://u:hunter22@issuer.example/jwks.json", Audience: "a"},
		"a URL that cannot be so": {JWKS: "https://%zz", Audience: "a"},
	} {
		if _, err := NewVerifier(t.Context(), c); err == nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSign(t *testing.T) {
	c := Claims{Room: Rooms{"standup"}, Act: []Act{Listen}, Participant: "ada", Name: "Ada"}
	c.Stamp(now, time.Minute, "", "verbatim")
	token, err := Sign(secret, c)
	if err != nil {
		t.Fatal(err)
	}
	who, err := verifier(t, Config{Secret: secret}).Verify(context.Background(), token)
	if err != nil || !who.May(Listen, "standup") || !who.Expires.Equal(now.Add(time.Minute)) {
		t.Errorf("%+v, %v", who, err)
	}
	if only, ok := who.OnlyRoom(); !ok || only != "standup" {
		t.Errorf("only room: %q", only)
	}
	for name, change := range map[string]func(*Claims){
		"room": func(c *Claims) { c.Room = Rooms{"No"} }, "act": func(c *Claims) { c.Act = nil }, "participant": func(c *Claims) { c.Participant = "" },
	} {
		bad := c
		change(&bad)
		if _, err := Sign(secret, bad); err == nil {
			t.Errorf("a token with a wrong %s was made", name)
		}
	}
	if _, err := Sign(secret[:8], c); err == nil {
		t.Error("a token was made with a short secret")
	}
}

func TestLinks(t *testing.T) {
	at := now
	clock := func() time.Time { return at }
	l, err := NewLinks(secret, clock)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/v1/meetings/01KAV5Q3ZJ9X6T0M8W2Y4R7B1C/audio.flac"
	query, expires := l.Sign(path)
	if !Signed(query) || !expires.Equal(now.Add(LinkLifetime)) {
		t.Errorf("%v until %v", query, expires)
	}
	check := func(name string, l *Links, path string, q url.Values, wantOK, wantExpired bool) {
		t.Helper()
		if ok, expired := l.Verify(path, q); ok != wantOK || expired != wantExpired {
			t.Errorf("%s: ok %v, expired %v", name, ok, expired)
		}
	}
	with := func(key, value string) url.Values {
		return url.Values{linkExpires: {query.Get(linkExpires)}, linkSignature: {query.Get(linkSignature)}, key: {value}}
	}
	check("as made", l, path, query, true, false)
	check("another path", l, path+"x", query, false, false)
	check("longer", l, path, with(linkExpires, "99999999999"), false, false)
	check("no number", l, path, with(linkExpires, "soon"), false, false)
	check("another signature", l, path, with(linkSignature, flip("." + query.Get(linkSignature))[1:]), false, false)
	check("no signature", l, path, with(linkSignature, ""), false, false)
	same, _ := NewLinks(secret, clock)
	check("another server with the secret", same, path, query, true, false)
	foreign, _ := NewLinks([]byte(strings.Repeat("x", 32)), clock)
	check("another server with another secret", foreign, path, query, false, false)
	check("what is left of a longer query", l, path, Link(with("node", "n2")), true, false)
	if m := l.Mark(); m != same.Mark() || m == foreign.Mark() || len(m) < 16 || strings.Contains(query.Get(linkSignature), m) {
		t.Errorf("marks %q, %q and %q", m, same.Mark(), foreign.Mark())
	}
	at = now.Add(LinkLifetime)
	check("later", l, path, query, true, true)
}
