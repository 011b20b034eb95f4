// Package signaling is the HTTP side of Verbatim: WHIP (RFC 9725), rooms and
// meetings, live events (SSE), exports. It keeps no state but whether it is
// draining; what it needs of the rest it declares as interfaces.
//
// Every handler runs in the goroutine of its request.
package signaling

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/cors"

	"verbatim/internal/loopback"
	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/auth"
)

// Media answers offers; media.Engine does.
type Media interface {
	Accept(ctx context.Context, o media.Offer, join func() (session string, err error)) (media.Answer, error)
	Patch(ctx context.Context, session string, f media.Fragment, match func(tag string) bool) (media.Answer, error)
	CloseSession(session string, r audio.Reason) bool
}

// Rooms knows who is in which room; meeting.Registry does.
type Rooms interface {
	Join(ctx context.Context, room string, p transcript.Participant) (meeting.Membership, error)
	SessionClosed(ctx context.Context, session string) error
	Current(session string) bool
	// Session is what a session belongs to, or meeting.ErrNoSession.
	Session(id string) (meeting.Membership, error)
}

// Meetings knows all meetings. Unknown ones are meeting.ErrNotFound.
type Meetings interface {
	Meeting(ctx context.Context, id string) (meeting.Meeting, error)
	// Room is that of a meeting, which costs less than the whole of it.
	Room(ctx context.Context, id string) (string, error)
	LiveMeeting(ctx context.Context, room string) (m meeting.Meeting, ok bool, err error)
	Meetings(ctx context.Context, room string, limit int, cursor string) (ms []meeting.Meeting, next string, err error)
	End(ctx context.Context, id string) (meeting.Meeting, error)
	// Erase removes everything of a meeting; of a live one, meeting.ErrLive. What
	// takes longer is meeting.ErrErasing and goes on by itself.
	Erase(ctx context.Context, id string) error
}

// Transcripts knows what was said. Unknown meetings and tracks are
// meeting.ErrNotFound.
type Transcripts interface {
	// Finals gives the stored segments with a number above after, and their
	// numbers, in order: at most limit.
	Finals(ctx context.Context, meeting string, after int64, limit int) ([]transcript.Segment, []int64, error)
	Transcript(ctx context.Context, meeting string) (transcript.Document, error)
	// Search finds segments by their words, in a room or, if it is empty, in all:
	// the newest first, and paged as Meetings.Meetings is.
	Search(ctx context.Context, text, room string, limit int, cursor string) (found []meeting.Found, next string, err error)
	Audio(ctx context.Context, meeting, track string) (samples int64, frames iter.Seq2[audio.Frame, error], err error)
}

// Recordings makes and keeps files of what was heard. Unknown meetings and tracks
// are meeting.ErrNotFound.
type Recordings interface {
	// Mix is a FLAC file with everybody in a meeting; of a live one,
	// meeting.ErrLive.
	Mix(ctx context.Context, meeting string) (meeting.Recording, error)
	// Opus is an Ogg Opus file of one track.
	Opus(ctx context.Context, meeting, track string) (meeting.Recording, error)
}

// Insight says what meetings were like; pipeline.Pipeline does. Unknown meetings
// are meeting.ErrNotFound, a room without meetings has an empty report.
type Insight interface {
	MeetingStats(ctx context.Context, id string) (insight.MeetingReport, error)
	// RoomStats reports on up to limit meetings, paged as Meetings.Meetings is.
	RoomStats(ctx context.Context, room string, limit int, cursor string) (insight.RoomReport, error)
}

// Events tells what happens in a room. A channel that is closed by the other
// side has lost events.
type Events interface {
	Subscribe(room string) (events <-chan meeting.Event, cancel func())
}

// Config of a Server.
type Config struct {
	Media       Media
	Ingest      Ingest
	Rooms       Rooms
	Meetings    Meetings
	Transcripts Transcripts
	Recordings  Recordings
	Insight     Insight
	Events      Events
	Web         http.Handler // the pages; nil for none
	Metrics     http.Handler // what /metrics answers; nil for nothing
	ICEServers  []ICEServer  // that clients are told of
	Logger      *slog.Logger

	// Tokens says who may do what; nil: everybody may do everything.
	Tokens *auth.Verifier
	Links  *auth.Links
	// Limits bound what clients may take.
	Limits Limits

	Alive   []Check       // of /healthz
	Ready   []Check       // of /readyz, which also says that the server is draining
	Observe func(Request) // is told of every request when it is over; nil: nobody is
	Joined  func(Join)    // is told of every WHIP offer before it is answered; nil: nobody is

	// Loopback says that only this machine can reach the server. Requests must
	// name it as such then (DNS rebinding).
	Loopback bool
	// NodeURL is by what clients reach this server among several, "": as they have
	// called it.
	NodeURL string
	// Peers are the other ones; nil: there are none.
	Peers Peers
	// Origins are those of other sites whose pages may call the API, each as
	// CheckOrigin wants it. Others count for nothing.
	Origins []string
	// TrustedProxies are where the reverse proxies are that may say who their
	// client is (X-Forwarded-For, -Host and -Proto).
	TrustedProxies []netip.Prefix
}

// Server makes the HTTP handler. It starts nothing.
type Server struct {
	cfg      Config
	gate     *gate
	costly   costly
	draining atomic.Bool
	turned   turnedAway

	alive, ready *checks
}

// New makes a server.
func New(cfg Config) *Server {
	cfg.Origins = slices.DeleteFunc(slices.Clone(cfg.Origins), func(o string) bool {
		err := CheckOrigin(o)
		if err != nil {
			cfg.Logger.Error("ignoring an origin", "origin", o, "err", err)
		}
		return err != nil
	})
	return &Server{
		cfg: cfg, gate: newGate(cfg.Limits), costly: newCostly(), alive: newChecks(cfg.Logger, cfg.Alive), ready: newChecks(cfg.Logger, cfg.Ready),
	}
}

// Drain makes the server refuse new sessions from now on; all else goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// TurnedAway is how often a participant asked for a session since Drain and was
// refused. One who moves and comes back here again and again has nowhere to go.
func (s *Server) TurnedAway(room, participant string) int { return s.turned.times(room, participant) }

// Routes is everything that the server answers. They are flat: chi takes a folder
// of them (Route, Mount) for an address that has all methods.
func (s *Server) Routes() http.Handler {
	r := chi.NewRouter()
	r.Use(s.forwarded, s.observe, s.headers, s.host, s.origin)
	r.NotFound(s.handle(func(http.ResponseWriter, *http.Request) error {
		return problem(http.StatusNotFound, "no-route", "There is nothing at this address; /openapi.yaml describes the API.")
	}))
	r.MethodNotAllowed(s.handle(s.otherMethod))

	get(r, "/healthz", s.Healthz)
	get(r, "/readyz", s.Readyz)
	get(r, "/openapi.yaml", s.handle(s.openapi))
	if s.cfg.Metrics != nil {
		get(r.With(s.authenticate, s.operator), "/metrics", s.cfg.Metrics.ServeHTTP)
	}
	r.Route("/v1", func(r chi.Router) {
		r.Use(s.cors())
		r.With(s.room, s.authenticate).Options("/rooms/{room}/whip", s.handle(s.whipOptions))
		r.Options("/sessions/{session}", s.handle(s.sessionOptions))
		get(r, "/sessions/{session}", s.handle(s.noContent))
		get(r.With(s.room), "/rooms/{room}/whip", s.handle(s.noContent))

		r = r.With(s.rate(s.gate.limits.RequestsPerAddressPerMinute, time.Minute, addressOf), s.authenticate)
		listen, publish := r.With(s.room, s.inRoom(auth.Listen)), r.With(s.room, s.inRoom(auth.Publish))
		get(listen, "/rooms/{room}", s.handle(s.getRoom))
		get(listen, "/rooms/{room}/stats", s.handle(s.roomStats))
		listen.With(s.stream).Get("/rooms/{room}/events", s.handle(s.events)) // HEAD would never end
		join := s.join()
		get(publish.With(s.stream, join), "/rooms/{room}/ingest", s.handle(s.ingest))
		publish.With(join).Post("/rooms/{room}/whip", s.handle(s.whip))

		session := r.With(s.ownSession)
		session.Patch("/sessions/{session}", s.handle(s.patch))
		session.Delete("/sessions/{session}", s.handle(s.leave))

		get(r, "/search", s.handle(s.search))
		get(r, "/meetings", s.handle(s.listMeetings))
		r.Post("/links", s.handle(s.links))

		read, manage, file := r.With(s.inMeeting(auth.Listen)), r.With(s.inMeeting(auth.Manage)), r.With(s.file, s.download)
		get(read, "/meetings/{meeting}", s.handle(s.getMeeting))
		manage.Delete("/meetings/{meeting}", s.handle(s.eraseMeeting))
		manage.Post("/meetings/{meeting}/end", s.handle(s.endMeeting))
		get(read, "/meetings/{meeting}/stats", s.handle(s.meetingStats))
		get(file, "/meetings/{meeting}/transcript.{format}", s.handle(s.transcript))
		get(file, "/meetings/{meeting}/audio.flac", s.handle(s.mix))
		get(file, "/meetings/{meeting}/tracks/{track}/audio.opus", s.handle(s.opus))
		get(file, "/meetings/{meeting}/tracks/{track}/audio.wav", s.handle(s.wav))
	})
	if s.cfg.Web != nil {
		get(r, "/*", s.cfg.Web.ServeHTTP) // no other method: it would hide what the API says of it
	}
	return r
}

// get has HEAD answered wherever GET is.
func get(r chi.Router, path string, h http.HandlerFunc) {
	r.Get(path, h)
	r.Head(path, h)
}

// HTTPServer wraps the handler with limits that no honest client meets. Answers
// that go on for long set their own deadlines.
func (s *Server) HTTPServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           s.Routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          ErrorLog(s.cfg.Logger),
	}
}

func drainingProblem() *Problem {
	return problem(http.StatusServiceUnavailable, "shutting-down", "The server is shutting down; try again in a few seconds.").after(5 * time.Second)
}

func fullProblem() *Problem {
	return problem(http.StatusServiceUnavailable, "full", "The server has as many sessions as it takes; try again in a while.").after(30 * time.Second)
}

// otherMethod says which methods there are (RFC 9110, 9.3.7 and 15.5.6). OPTIONS
// is answered for every address: browsers ask so before they send a page's DELETE
// or Last-Event-ID to another origin.
func (s *Server) otherMethod(w http.ResponseWriter, r *http.Request) error {
	routes := chi.RouteContext(r.Context()).Routes
	var allow []string
	for _, m := range []string{"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"} {
		if m == http.MethodOptions || routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
			allow = append(allow, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	if r.Method == http.MethodOptions {
		return s.noContent(w, r)
	}
	return problem(http.StatusMethodNotAllowed, "method", r.Method+" is not possible here; the Allow header says what is.")
}

// hsts has browsers call this name by https alone for a year (RFC 6797).
const hsts = "max-age=31536000"

func (s *Server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", hsts)
		}
		next.ServeHTTP(w, r)
	})
}

// host refuses requests that reached a loopback server under a foreign name: a
// page of that name would otherwise be of the same origin.
func (s *Server) host(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Loopback && !loopback.Name(r.Host) {
			problem(http.StatusMisdirectedRequest, "foreign-host",
				"This server listens on loopback only; call it localhost or 127.0.0.1.").write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// origin refuses what pages of other sites send without being asked for by CORS
// (cross-site request forgery).
func (s *Server) origin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	for _, o := range s.cfg.Origins {
		_ = p.AddTrustedOrigin(o) // CheckOrigin has done so
	}
	p.SetDenyHandler(s.handle(func(http.ResponseWriter, *http.Request) error { return foreignOrigin() }))
	next = p.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.spied(r) {
			foreignOrigin().write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// spied reports whether a page of another site has had the API of a server that asks
// nobody who they are read something, be it that it cannot see the answer: how long it
// takes to search for a word tells whether it was said. A person who follows a link, and
// pages of Config.Origins, are none of these. Browsers say who asks (Fetch Metadata).
func (s *Server) spied(r *http.Request) bool {
	if !s.cfg.Loopback || s.cfg.Tokens != nil || r.Header.Get("Sec-Fetch-Site") != "cross-site" || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return false
	}
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return false
	}
	from := r.Header.Get("Origin")
	if from == "" { // an <audio>, say: it is not told of which page
		return len(s.cfg.Origins) == 0
	}
	return !slices.Contains(s.cfg.Origins, from)
}

// CheckOrigin says what is wrong with an origin for Config.Origins. It is one site: the
// parts of this package that ask for it would each understand a * differently, and one
// of them as every site there is.
func CheckOrigin(origin string) error {
	if strings.Contains(origin, "*") {
		return errors.New("it is one origin such as https://app.example.org; there is none for all or some of them")
	}
	return http.NewCrossOriginProtection().AddTrustedOrigin(origin)
}

func foreignOrigin() *Problem {
	return problem(http.StatusForbidden, "foreign-origin", "Pages of this origin may not do that; the server's --cors-origin allows it.")
}

func (s *Server) cors() func(http.Handler) http.Handler {
	if len(s.cfg.Origins) == 0 {
		return func(next http.Handler) http.Handler { return next } // same origin only
	}
	return cors.Handler(cors.Options{
		AllowedOrigins:     slices.Clone(s.cfg.Origins),
		AllowedMethods:     []string{"GET", "POST", "PATCH", "DELETE", "OPTIONS"},
		AllowedHeaders:     []string{"Authorization", "Content-Type", "If-Match", "Last-Event-ID"},
		ExposedHeaders:     []string{"Location", "ETag", "Link", "Verbatim-Meeting", "Verbatim-Participant", "Retry-After", "WWW-Authenticate", "Accept-Post", "Accept-Patch"},
		MaxAge:             3600,
		OptionsPassthrough: true,
	})
}

func routeOf(r *http.Request) string {
	if c := chi.RouteContext(r.Context()); c != nil {
		return c.RoutePattern() // not the path: it can hold a session's id
	}
	return ""
}
