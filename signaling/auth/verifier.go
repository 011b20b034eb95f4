package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"verbatim/internal/loopback"
)

const (
	// leeway is by how much clocks may differ.
	leeway = 10 * time.Second
	// MinSecret is how long a secret is at least, in bytes (RFC 7518, 3.2).
	MinSecret = 32

	jwksTimeout  = 3 * time.Second
	jwksInterval = 15 * time.Minute // between two looks at the issuer's keys
	// unknownKey is how often, at most, a token with an unknown key has the keys
	// fetched anew: who turns keys waits that long, and who makes keys up does not
	// set us on the issuer.
	unknownKey = 10 * time.Second
	maxJWKS    = 256 << 10 // bytes
)

// Config of a Verifier: Secret or JWKS, not both.
type Config struct {
	Secret []byte // for HS256, at least MinSecret bytes
	JWKS   string // URL of the issuer's keys (RFC 7517), for RS256, ES256 and EdDSA
	// Issuer is what iss has to be; empty: anything.
	Issuer string
	// Audience is what aud has to contain.
	Audience string
	Now      func() time.Time // default time.Now; the wall clock
	Logger   *slog.Logger
}

// Verifier reads tokens. It may be used by anyone at any time.
type Verifier struct {
	parser *jwt.Parser
	keys   func(context.Context) jwt.Keyfunc
	known  func(context.Context) bool // whether there is any key
}

// NewVerifier makes a verifier. With JWKS it asks the issuer for the keys, for 3 s
// at most, and again every 15 minutes until ctx ends; an issuer that is away is
// only logged.
func NewVerifier(ctx context.Context, c Config) (*Verifier, error) {
	if c.Audience == "" {
		return nil, errors.New("tokens need an audience")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	options := []jwt.ParserOption{
		jwt.WithAudience(c.Audience), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(c.Now), jwt.WithStrictDecoding(),
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if len(c.Secret) > 0 {
		if err := CheckSecret(c.Secret); err != nil {
			return nil, err
		}
		secret := c.Secret
		return &Verifier{
			parser: jwt.NewParser(append(options, jwt.WithValidMethods([]string{"HS256"}))...),
			keys:   func(context.Context) jwt.Keyfunc { return func(*jwt.Token) (any, error) { return secret, nil } },
			known:  func(context.Context) bool { return true },
		}, nil
	}
	set, err := fetchKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		parser: jwt.NewParser(append(options, jwt.WithValidMethods([]string{"RS256", "ES256", "EdDSA"}))...),
		keys:   set.KeyfuncCtx,
		known: func(ctx context.Context) bool {
			keys, err := set.Storage().KeyReadAll(ctx)
			return err == nil && len(keys) > 0
		},
	}, nil
}

// CheckSecret reports what is wrong with a secret, if anything is.
func CheckSecret(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("the secret for tokens has %d bytes; it needs at least %d, such as `openssl rand -hex 32` makes", len(secret), MinSecret)
	}
	return nil
}

func fetchKeys(ctx context.Context, c Config) (keyfunc.Keyfunc, error) {
	u, err := url.Parse(c.JWKS)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("the address of the issuer's keys is a URL such as https://issuer.example/.well-known/jwks.json")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback.Name(u.Hostname())) {
		return nil, errors.New("the issuer's keys come by https (http only from this machine): who changed them on their way could make tokens")
	}
	set, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{c.JWKS}, keyfunc.Override{
		Client: &http.Client{
			Timeout:   jwksTimeout,
			Transport: bounded{http.DefaultTransport},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the address of the issuer's keys redirects; name the one that it redirects to")
			},
		},
		HTTPTimeout:     jwksTimeout,
		RefreshInterval: jwksInterval,
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(_ context.Context, err error) {
				c.Logger.Error("the issuer's keys could not be fetched; those that are known go on", "host", u.Host, "err", err)
			}
		},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownKey), 1),
		RateLimitWaitMax:  jwksTimeout, // it bounds the fetching, too
	})
	if err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	return set, nil
}

// bounded cuts answers off.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxJWKS), res.Body}
	}
	return res, err
}

// errCritical: whoever does not understand what crit lists has to refuse the token (RFC
// 7515, 4.1.11), and the library looks at none of it.
var errCritical = errors.New("its header has crit, of which nothing is understood")

// Verify says who a token is for. Errors are ErrExpired, ErrUnavailable or say what
// is wrong with the token, without repeating any of it but names.
func (v *Verifier) Verify(ctx context.Context, token string) (Caller, error) {
	var claims Claims
	key := v.keys(ctx)
	_, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, errCritical
		}
		return key(t)
	})
	switch {
	case err == nil:
		return claims.caller(), nil
	case errors.Is(err, errCritical):
		return Caller{}, errCritical
	case errors.Is(err, jwt.ErrTokenExpired):
		return Caller{}, ErrExpired
	case errors.Is(err, jwt.ErrTokenMalformed):
		return Caller{}, errors.New("it is no token")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		if !v.known(ctx) {
			return Caller{}, ErrUnavailable
		}
		return Caller{}, errors.New("its key is not among the issuer's")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Caller{}, errors.New("it was not signed with the right key, or in a way that is not accepted")
	}
	// What is left is about claims. The library's errors name them.
	return Caller{}, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), jwt.ErrTokenInvalidClaims.Error()+": "))
}

// Sign makes a token, HS256.
func Sign(secret []byte, c Claims) (string, error) {
	if err := CheckSecret(secret); err != nil {
		return "", err
	}
	if err := c.Validate(); err != nil {
		return "", err
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
}
