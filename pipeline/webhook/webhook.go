// Package webhook tells other programs what happens in meetings, by HTTP and as
// Standard Webhooks has it (https://www.standardwebhooks.com).
//
// # Flow
//
//	store: change and event in one transaction ─▶ outbox ─▶ Sender.Run ─▶ POST
//
// Each endpoint has a Sender of its own, so that one that is away holds up no
// other. A Sender sends one event at a time in the order in which they happened,
// and removes it when the endpoint has taken it: an endpoint may get an event
// twice (the same webhook-id), but none is lost, whoever dies.
//
// An endpoint that is away (no connection, 429, 502, 503, 504), or whose address or
// secret is wrong (3xx, 401, 403, 404, 405), gets all that waits when that is over.
// An event that it refuses (other 4xx) is tried again later and holds up nothing. What may be either (a timeout, 408, 500) is taken for the
// endpoint's trouble six times, then for the event's. After 24 h an event is given
// up.
//
// # Goroutines
//
// Who calls Run waits for it; it starts none.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"verbatim/pipeline/store"
)

const (
	keep        = 24 * time.Hour // how long an event is tried
	timeout     = 15 * time.Second
	firstDelay  = time.Second
	lastDelay   = 5 * time.Minute // of an endpoint that is away
	lastRefused = 2 * time.Hour   // of an event that was refused
	maxWait     = time.Hour       // that an endpoint may ask for (Retry-After)
	maxAnswer   = 64 << 10        // bytes of an answer that are read, so that the connection can be used again
	storeDelay  = time.Second     // after an error of the store
	countEvery  = 10 * time.Second
	lookEvery   = time.Minute // although nobody has said that there is something
	patience    = 6           // attempts that may be the endpoint's trouble or the event's
)

// Outbox is where the events wait; store.Store is.
type Outbox interface {
	NextDelivery(ctx context.Context, endpoint string, now time.Time) (d store.Delivery, ok bool, next time.Time, err error)
	Delivered(ctx context.Context, n int64) error
	Refused(ctx context.Context, n int64, next time.Time) error
	GiveUp(ctx context.Context, endpoint string, before time.Time) (int64, error)
	CloseEndpoint(ctx context.Context, endpoint string) (int64, error)
	PendingDeliveries(ctx context.Context, endpoint string) (int64, error)
}

// Secrets sign; receivers accept a signature of any of them, which is how one is
// changed for another.
type Secrets []*standardwebhooks.Webhook

// ParseSecrets reads secrets as Standard Webhooks has them, whsec_ and base64 of 24
// to 64 bytes, with space between them. Errors say nothing of what stands in text.
func ParseSecrets(text string) (s Secrets, err error) {
	const form = "a secret is whsec_ and 24 to 64 bytes in base64, such as: echo whsec_$(openssl rand -base64 32)"
	for _, word := range strings.Fields(text) {
		rest, ok := strings.CutPrefix(word, "whsec_")
		if n := len(rest) / 4 * 3; !ok || n < 24 || n > 66 {
			return nil, errors.New(form)
		}
		w, err := standardwebhooks.NewWebhook(word)
		if err != nil {
			return nil, errors.New(form) // the error has the secret in it
		}
		s = append(s, w)
	}
	if len(s) == 0 {
		return nil, errors.New(form)
	}
	return s, nil
}

// Endpoint is where events are sent to.
type Endpoint struct {
	url  string
	Name string // for the store: no secrets, and the same after a restart
	Text string // for people: without what may be secret
}

// ParseEndpoint reads a URL. Errors do not repeat it.
func ParseEndpoint(text string) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return Endpoint{}, errors.New("an endpoint is a URL such as https://example.org/verbatim")
	}
	sum := sha256.Sum256([]byte(text))
	shown := url.URL{Scheme: u.Scheme, Host: u.Host} // paths may be secret, too
	return Endpoint{url: text, Name: hex.EncodeToString(sum[:8]), Text: shown.String()}, nil
}

// Config of a Sender.
type Config struct {
	Endpoint Endpoint
	Secrets  Secrets
	Outbox   Outbox
	Now      func() time.Time // the clock of the store (default time.Now)
	Client   *http.Client     // nil for one with a deadline that follows no redirects
	Logger   *slog.Logger
}

// Stats are the numbers of a Sender since it began.
type Stats struct {
	Delivered, Failed, GivenUp int64 // events taken; attempts that failed; events given up
	Pending                    int64 // that wait, as of some seconds ago
}

// Sender sends one endpoint its events.
type Sender struct {
	cfg                                 Config
	wake                                chan struct{}
	delivered, failed, givenUp, pending atomic.Int64
	away                                int       // attempts in a row to which nobody was there
	refused                             int       // events in a row that were refused
	notBefore                           time.Time // when the next attempt is due
	counted                             time.Time
}

// New makes a sender. It starts nothing.
func New(cfg Config) *Sender {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
		t.MaxIdleConnsPerHost = 1
		cfg.Client = &http.Client{
			Timeout:       timeout,
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Sender{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Wake says that there may be something to send. It does not block.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Stats may be called from any goroutine.
func (s *Sender) Stats() Stats {
	return Stats{Delivered: s.delivered.Load(), Failed: s.failed.Load(), GivenUp: s.givenUp.Load(), Pending: s.pending.Load()}
}

// Run sends until ctx ends, or the endpoint says that it wants nothing more (410).
func (s *Sender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := s.next(ctx)
		if errors.Is(err, errGone) {
			s.close(ctx)
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Logger.Error("events for a webhook could not be read or noted; trying again", "endpoint", s.cfg.Endpoint.Text, "err", err)
			}
			wait = storeDelay
		}
		if wait == 0 {
			continue
		}
		wake := s.wake
		if err != nil || s.notBefore.After(s.cfg.Now()) {
			wake = nil // that more has happened changes nothing
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(wait):
		}
	}
}

// next sends one event, if there is one, and says how long to wait then.
func (s *Sender) next(ctx context.Context) (wait time.Duration, err error) {
	now := s.cfg.Now()
	if err := s.count(ctx, now); err != nil {
		return 0, err
	}
	if rest := s.notBefore.Sub(now); rest > 0 {
		return min(rest, lookEvery), nil
	}
	d, ok, at, err := s.cfg.Outbox.NextDelivery(ctx, s.cfg.Endpoint.Name, now)
	if err != nil {
		return 0, err
	}
	if !ok {
		s.away = 0 // nothing is left of what it was tried with
		if at.IsZero() {
			s.pending.Store(0)
			return lookEvery, nil
		}
		return min(max(at.Sub(now), time.Millisecond), lookEvery), nil
	}
	if d.CreatedAt.Before(now.Add(-keep)) {
		return 0, s.giveUp(ctx, now)
	}
	return s.deliver(ctx, d)
}

// count asks the store how much waits: not each time, there may be much.
func (s *Sender) count(ctx context.Context, now time.Time) error {
	if now.Sub(s.counted) < countEvery {
		return nil
	}
	n, err := s.cfg.Outbox.PendingDeliveries(ctx, s.cfg.Endpoint.Name)
	s.pending.Store(n)
	s.counted = now
	return err
}

func (s *Sender) giveUp(ctx context.Context, now time.Time) error {
	n, err := s.cfg.Outbox.GiveUp(ctx, s.cfg.Endpoint.Name, now.Add(-keep))
	s.givenUp.Add(n)
	if err == nil {
		s.cfg.Logger.Error("events for a webhook were given up after 24 h", "endpoint", s.cfg.Endpoint.Text, "events", n)
	}
	return err
}

// deliver makes one attempt, and notes what became of it.
func (s *Sender) deliver(ctx context.Context, d store.Delivery) (wait time.Duration, err error) {
	f := s.post(ctx, d)
	switch {
	case f == nil:
		if s.away > 0 {
			s.cfg.Logger.Info("a webhook takes events again", "endpoint", s.cfg.Endpoint.Text)
		}
		s.away, s.refused = 0, 0
		s.delivered.Add(1)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout) // it was taken, also if this was the last
		defer cancel()
		return 0, s.cfg.Outbox.Delivered(ctx, d.N)
	case ctx.Err() != nil:
		return 0, nil
	}
	s.failed.Add(1)
	log := s.cfg.Logger.With("endpoint", s.cfg.Endpoint.Text, "event", d.Type, "id", d.ID, "err", f.err)
	switch {
	case f.status == http.StatusGone:
		return 0, errGone
	case f.away && (!f.unsure || s.away < patience):
		if s.away == 0 {
			log.Warn("a webhook is away; its events wait for it")
		}
		s.away++
		s.notBefore = s.cfg.Now().Add(max(backoff(s.away, lastDelay), f.after))
		return 0, nil
	default:
		s.away = 0
		if d.Attempts == 0 {
			log.Warn("a webhook refused an event, which is sent again later")
		}
		if s.refused++; s.refused > patience { // it may refuse all of them
			s.notBefore = s.cfg.Now().Add(backoff(s.refused-patience, lastDelay))
		}
		next := s.cfg.Now().Add(max(backoff(d.Attempts+3, lastRefused), f.after))
		return 0, s.cfg.Outbox.Refused(ctx, d.N, next)
	}
}

// errGone: the endpoint answered 410, which the specification has mean that it
// wants nothing more.
var errGone = errors.New("the endpoint is gone")

func (s *Sender) close(ctx context.Context) {
	n, err := s.cfg.Outbox.CloseEndpoint(ctx, s.cfg.Endpoint.Name)
	s.givenUp.Add(n)
	s.pending.Store(0)
	s.cfg.Logger.Error("a webhook answered 410: it gets nothing more until the next start", "endpoint", s.cfg.Endpoint.Text, "dropped", n, "err", err)
}

// failure is an attempt that failed.
type failure struct {
	err    error
	status int           // 0 without an answer
	away   bool          // it is the endpoint, not this event
	unsure bool          // it may be this event nevertheless
	after  time.Duration // that it asked for
}

func (s *Sender) post(ctx context.Context, d store.Delivery) *failure {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Endpoint.url, bytes.NewReader(d.Body))
	if err != nil {
		return &failure{err: bare(err)}
	}
	now := time.Now() // receivers compare it with their own clock
	h := r.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "Verbatim")
	h.Set(standardwebhooks.HeaderWebhookID, d.ID)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if h[signature], err = s.sign(d, now); err != nil {
		return &failure{err: err}
	}
	res, err := s.cfg.Client.Do(r)
	if err != nil {
		return &failure{err: bare(err), away: true, unsure: timedOut(err)}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // what it says beside the status is for nobody
	if res.StatusCode/100 == 2 {
		return nil
	}
	sure := res.StatusCode < 400 || slices.Contains(notTheEvent, res.StatusCode)
	unsure := !sure && (res.StatusCode >= 500 || res.StatusCode == http.StatusRequestTimeout)
	return &failure{
		err:    fmt.Errorf("the answer was %d", res.StatusCode),
		status: res.StatusCode,
		away:   sure || unsure,
		unsure: unsure,
		after:  retryAfter(res.Header.Get("Retry-After")),
	}
}

// notTheEvent are answers that speak of the endpoint: it is away, or its address or
// the secret is wrong.
var notTheEvent = []int{
	http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
}

// signature is the header's canonical form; webhook-signature is the same one.
var signature = http.CanonicalHeaderKey(standardwebhooks.HeaderWebhookSignature)

func (s *Sender) sign(d store.Delivery, at time.Time) ([]string, error) {
	all := make([]string, 0, len(s.cfg.Secrets))
	for _, secret := range s.cfg.Secrets {
		sig, err := secret.Sign(d.ID, at, d.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, sig)
	}
	return []string{strings.Join(all, " ")}, nil
}

func timedOut(err error) bool {
	var u *url.Error
	return errors.As(err, &u) && u.Timeout()
}

// bare is an error without the URL, which may hold a secret.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// backoff is how long to wait after the nth failure: twice as long each time, up to
// most, and a random quarter less.
func backoff(n int, most time.Duration) time.Duration {
	d := most
	if n < 30 {
		d = min(firstDelay<<(n-1), most)
	}
	return d - time.Duration(rand.Int64N(int64(d)/4))
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3).
func retryAfter(text string) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(min(n, 1<<20))*time.Second, maxWait)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxWait)
	}
	return 0
}
