package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"verbatim/signaling/auth"
)

// authSecret is where the secret may stand, beside a file: not on the command
// line, which everybody on the machine can read.
const authSecret = "VERBATIM_AUTH_SECRET" // #nosec G101 -- its name

const defaultAudience = "verbatim"

// issuance is what makes tokens of one issuer: serve and token have it in common.
type issuance struct {
	AuthSecretFile string `help:"File with the secret that tokens are signed with (JWT, HS256), at least 32 bytes; the environment's VERBATIM_AUTH_SECRET may hold it instead." type:"path" group:"Access"`
	AuthIssuer     string `help:"What a token's iss has to be (default: anything)." group:"Access"`
	AuthAudience   string `help:"What a token's aud has to name." default:"${audience}" group:"Access"`
}

// secret is nil if there is none.
func (i *issuance) secret() ([]byte, error) {
	return readSecret("auth-secret-file", i.AuthSecretFile, authSecret, auth.CheckSecret)
}

// authFlags say who may use the server.
type authFlags struct {
	issuance           `embed:""`
	AuthJWKS           string `name:"auth-jwks" help:"URL of the keys of whoever issues tokens (JWKS), for RS256, ES256 and EdDSA, instead of a secret." placeholder:"https://HOST/…" group:"Access"`
	AuthLinkSecretFile string `help:"File with the secret that links to audio and transcripts are signed with, at least 32 bytes, the same for all servers of a database (default: made of the secret for tokens, or with --auth-jwks a random one in --data)." type:"path" group:"Access"`
}

// configured reports whether the server asks for tokens.
func (a *authFlags) configured() bool {
	return a.AuthSecretFile != "" || a.AuthJWKS != "" || os.Getenv(authSecret) != ""
}

// build makes what the server asks of tokens; without any setting, the verifier is
// nil and the links are good until the process ends.
func (a *authFlags) build(ctx context.Context, data string, log *slog.Logger) (*auth.Verifier, *auth.Links, error) {
	secret, err := a.secret()
	if err != nil {
		return nil, nil, err
	}
	if len(secret) > 0 && a.AuthJWKS != "" {
		return nil, nil, errors.New("tokens come from one issuer: give a secret or --auth-jwks, not both")
	}
	key, err := a.linkSecret(secret, data)
	if err != nil {
		return nil, nil, err
	}
	links, err := auth.NewLinks(key, time.Now)
	if err != nil || !a.configured() {
		return nil, links, err
	}
	tokens, err := auth.NewVerifier(ctx, auth.Config{Secret: secret, JWKS: a.AuthJWKS, Issuer: a.AuthIssuer, Audience: a.AuthAudience, Logger: log})
	return tokens, links, err
}

func (a *authFlags) linkSecret(secret []byte, data string) ([]byte, error) {
	switch {
	case a.AuthLinkSecretFile != "":
		return readSecret("auth-link-secret-file", a.AuthLinkSecretFile, "", auth.CheckSecret)
	case len(secret) > 0:
		return secret, nil
	case a.AuthJWKS == "":
		return []byte(rand.Text() + rand.Text()), nil
	}
	name := filepath.Join(data, "link.key")
	b, err := os.ReadFile(name)
	if err == nil {
		return b, auth.CheckSecret(b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b = []byte(rand.Text() + rand.Text())
	return b, keep(name, string(b))
}

type tokenCmd struct {
	issuance    `embed:""`
	Room        []string      `help:"Room that it is for (may be repeated), or * for all." required:"" placeholder:"ROOM"`
	Act         []string      `help:"What it allows: publish (send audio), listen (read captions, transcripts and recordings), manage (end and erase meetings)." enum:"publish,listen,manage" default:"publish,listen"`
	Participant string        `help:"Id of the participant that it is for: A-Z, a-z, 0-9, - and _ (default: a random one)." placeholder:"ID"`
	Name        string        `help:"Name that others see (default: the id)."`
	For         time.Duration `help:"How long it is good." default:"1h"`
	URL         string        `help:"Print the address of a page with the token in it instead, for this server." placeholder:"https://HOST"`
}

// Run prints a token.
func (c *tokenCmd) Run() error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	if len(secret) == 0 {
		return errors.New("a token is signed with the server's secret: --auth-secret-file FILE, or " + authSecret +
			" in the environment; make one with: openssl rand -hex 32")
	}
	if c.For <= 0 {
		return errors.New("--for is how long the token is good, such as 1h")
	}
	if c.Participant == "" {
		c.Participant = rand.Text()
	}
	claims := auth.Claims{Room: c.Room, Participant: c.Participant, Name: c.Name}
	for _, a := range c.Act {
		claims.Act = append(claims.Act, auth.Act(a))
	}
	claims.Stamp(time.Now(), c.For, c.AuthIssuer, c.AuthAudience)
	token, err := auth.Sign(secret, claims)
	if err != nil {
		return err
	}
	if c.URL == "" {
		fmt.Println(token)
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("--url is the server's address, such as https://captions.example.org, not %q", c.URL)
	}
	if len(c.Room) == 1 && c.Room[0] != auth.AllRooms {
		u.RawQuery = url.Values{"room": c.Room}.Encode()
	}
	u.Fragment = "token=" + token // which browsers send to no server
	fmt.Println(u)
	return nil
}
