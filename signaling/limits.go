package signaling

import (
	"cmp"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/httprate"

	"verbatim/internal/netlimit"
)

// Limits bound what clients may take. Zero is the default of each, a negative one
// none. Addresses of IPv6 count by their /64; this machine's own are not limited.
type Limits struct {
	// Sessions at the same time.
	SessionsPerRoom    int // default 250
	SessionsPerAddress int // default 100: an office behind one address
	SessionsPerToken   int // default 20, of the token's participant in all rooms
	// Joins that are begun, by WHIP and WebSocket, also in vain.
	JoinsPerSecond           int // default 200
	JoinsPerAddressPerMinute int // default 120
	JoinsPerTokenPerMinute   int // default 60, of the token's participant
	// RequestsPerAddressPerMinute are of any kind but joins (default 3000).
	RequestsPerAddressPerMinute int
	// Streams are event streams and WebSockets at the same time.
	Streams           int // default 10000
	StreamsPerAddress int // default 500
	// Downloads are files that are sent at the same time: audio and transcripts.
	Downloads           int // default 1000
	DownloadsPerAddress int // default 100
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	return Limits{
		SessionsPerRoom:             cmp.Or(l.SessionsPerRoom, 250),
		SessionsPerAddress:          cmp.Or(l.SessionsPerAddress, 100),
		SessionsPerToken:            cmp.Or(l.SessionsPerToken, 20),
		JoinsPerSecond:              cmp.Or(l.JoinsPerSecond, 200),
		JoinsPerAddressPerMinute:    cmp.Or(l.JoinsPerAddressPerMinute, 120),
		JoinsPerTokenPerMinute:      cmp.Or(l.JoinsPerTokenPerMinute, 60),
		RequestsPerAddressPerMinute: cmp.Or(l.RequestsPerAddressPerMinute, 3000),
		Streams:                     cmp.Or(l.Streams, 10000),
		StreamsPerAddress:           cmp.Or(l.StreamsPerAddress, 500),
		Downloads:                   cmp.Or(l.Downloads, 1000),
		DownloadsPerAddress:         cmp.Or(l.DownloadsPerAddress, 100),
	}
}

// The reasons for which a client is refused.
const (
	tooManyInRoom    = "room"      // sessions in one room
	tooManyAtAddress = "address"   // sessions of one address
	tooManyOfToken   = "token"     // sessions of one token's participant
	tooManyStreams   = "streams"   // event streams and WebSockets
	tooManyDownloads = "downloads" // files
	tooFast          = "rate"      // joins, or requests of one address
)

// gate counts what is limited. Its zero value is not ready: newGate.
type gate struct {
	limits Limits

	mu       sync.Mutex // guards all below
	counts   map[string]int
	sessions map[string][]string // what each session counts for
	refused  map[string]uint64   // by reason
}

func newGate(l Limits) *gate {
	return &gate{
		limits: l.WithDefaults(), counts: map[string]int{}, sessions: map[string][]string{},
		refused: map[string]uint64{tooManyInRoom: 0, tooManyAtAddress: 0, tooManyOfToken: 0, tooManyStreams: 0, tooManyDownloads: 0, tooFast: 0},
	}
}

// place is something that is counted, and how many there may be.
type place struct {
	key, reason string
	limit       int
}

// take counts one more of each place, or none: then it says which is full.
func (g *gate) take(places ...place) (full string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range places {
		if p.limit >= 0 && g.counts[p.key] >= p.limit {
			g.refused[p.reason]++
			return p.reason
		}
	}
	for _, p := range places {
		g.counts[p.key]++
	}
	return ""
}

func (g *gate) count(key string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts[key]
}

func (g *gate) give(keys ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		if g.counts[k]--; g.counts[k] <= 0 {
			delete(g.counts, k)
		}
	}
}

// enter makes room for a session of a participant. The session's id comes later:
// bind, or give. Who is in the room takes their old session's place.
func (g *gate) enter(r *http.Request, room, participant string) (keys []string, err error) {
	places := []place{{"room " + room, tooManyInRoom, g.limits.SessionsPerRoom}}
	if a := addressOf(r); a != "" {
		places = append(places, place{"address " + a, tooManyAtAddress, g.limits.SessionsPerAddress})
	}
	if c := callerOf(r); c.Participant != "" {
		places = append(places, place{"token " + c.Participant, tooManyOfToken, g.limits.SessionsPerToken})
	}
	again := place{"member " + room + "/" + participant, "", -1}
	if places = append(places, again); g.count(again.key) > 0 {
		for i := range places {
			places[i].limit = -1
		}
	}
	switch g.take(places...) {
	case "":
		for _, p := range places {
			keys = append(keys, p.key)
		}
		return keys, nil
	case tooManyInRoom:
		return nil, problem(http.StatusTooManyRequests, "room-full", "The room has as many participants as the server takes in one; try again when somebody has left.").after(30 * time.Second)
	}
	return nil, problem(http.StatusTooManyRequests, "too-many-sessions", "There are as many sessions from your network, or of your token, as the server takes; end one first.").after(30 * time.Second)
}

// bind says which session it is that was made room for.
func (g *gate) bind(session string, keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions[session] = keys
}

// closed gives back what a session took. One that is not known took nothing, or has
// given it back.
func (g *gate) closed(session string) {
	g.mu.Lock()
	keys := g.sessions[session]
	delete(g.sessions, session)
	g.mu.Unlock()
	g.give(keys...)
}

// SessionClosed says that a session is over, so that its place is free.
func (s *Server) SessionClosed(session string) { s.gate.closed(session) }

// Stats are the numbers of a Server.
type Stats struct {
	Used    map[string]int    // what is open now: streams (event streams and WebSockets), downloads
	Refused map[string]uint64 // clients by reason (room, address, token, streams, downloads, rate), since the start
}

// Stats may be called at any time. The maps are the caller's.
func (s *Server) Stats() Stats {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	st := Stats{Used: map[string]int{}, Refused: maps.Clone(s.gate.refused)}
	for _, key := range []string{tooManyStreams, tooManyDownloads} {
		st.Used[key] = s.gate.counts[key]
	}
	return st
}

// stream bounds what stays open.
func (s *Server) stream(next http.Handler) http.Handler {
	l := s.gate.limits
	return s.open(next, tooManyStreams, l.Streams, l.StreamsPerAddress,
		problem(http.StatusTooManyRequests, "too-many-streams", "There are as many open streams, from your network or in all, as the server takes; close one first.").after(30*time.Second))
}

// download bounds files that are being sent, which clients may take slowly.
func (s *Server) download(next http.Handler) http.Handler {
	l := s.gate.limits
	return s.open(next, tooManyDownloads, l.Downloads, l.DownloadsPerAddress,
		problem(http.StatusTooManyRequests, "too-many-downloads", "As many files are being sent, to your network or in all, as the server sends at a time; try again when one is there.").after(10*time.Second))
}

// open bounds answers of a kind that there are at the same time, in all and to one
// address.
func (s *Server) open(next http.Handler, kind string, most, each int, refusal *Problem) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		places := []place{{kind, kind, most}}
		if a := addressOf(r); a != "" {
			places = append(places, place{kind + " " + a, kind, each})
		}
		if s.gate.take(places...) != "" {
			return refusal
		}
		defer func() {
			for _, p := range places {
				s.gate.give(p.key)
			}
		}()
		next.ServeHTTP(w, r)
		return nil
	})
}

// join bounds how fast sessions are begun: what costs most.
func (s *Server) join() func(http.Handler) http.Handler {
	l := s.gate.limits
	all := s.rate(l.JoinsPerSecond, time.Second, func(*http.Request) string { return "all" })
	each := s.rate(l.JoinsPerAddressPerMinute, time.Minute, addressOf)
	token := s.rate(l.JoinsPerTokenPerMinute, time.Minute, func(r *http.Request) string { return callerOf(r).Participant })
	return func(next http.Handler) http.Handler { return each(token(all(next))) }
}

// rate bounds requests in a window of time by a key; an empty one is not counted.
func (s *Server) rate(limit int, window time.Duration, key func(*http.Request) string) func(http.Handler) http.Handler {
	if limit < 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	limiter := httprate.NewRateLimiter(limit, window, httprate.WithResponseHeaders(httprate.ResponseHeaders{}))
	return func(next http.Handler) http.Handler {
		return s.handle(func(w http.ResponseWriter, r *http.Request) error {
			if k := key(r); k != "" && limiter.OnLimit(w, r, k) {
				s.gate.mu.Lock()
				s.gate.refused[tooFast]++
				s.gate.mu.Unlock()
				return problem(http.StatusTooManyRequests, "too-fast", "The server takes no more requests of this kind for a moment; try again later.").after(max(window/10, time.Second))
			}
			next.ServeHTTP(w, r)
			return nil
		})
	}
}

// addressOf is what limits count a client by: empty for this machine's own.
func addressOf(r *http.Request) string {
	ip := clientIP(r)
	if ip.IsLoopback() {
		return ""
	}
	return netlimit.Network(ip).String()
}
