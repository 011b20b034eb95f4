package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/auth"
)

// tokenProtocol is what the subprotocol with a token begins with: browsers send
// no Authorization header with a WebSocket's handshake.
const tokenProtocol = "verbatim.token."

type callerKey struct{}

// callerOf is who sent a request.
func callerOf(r *http.Request) auth.Caller {
	c, _ := r.Context().Value(callerKey{}).(auth.Caller)
	return c
}

// authenticate reads the token of every request that has one. A request without is
// one of a caller who may do nothing; a preflight never has one.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		who := auth.Anybody()
		if s.cfg.Tokens != nil {
			who = auth.Caller{}
			if token := tokenOf(r); token != "" {
				var err error
				if who, err = s.cfg.Tokens.Verify(r.Context(), token); err != nil {
					return badToken(w, err)
				}
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
		return nil
	})
}

// tokenOf is a request's bearer token (RFC 6750, 2.1), or that of a WebSocket's
// subprotocols.
func tokenOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(p), tokenProtocol); ok {
				return token
			}
		}
	}
	return ""
}

// badToken is for tokens that count for nothing: RFC 6750, 3.1.
func badToken(w http.ResponseWriter, err error) error {
	if errors.Is(err, auth.ErrUnavailable) {
		return problem(http.StatusServiceUnavailable, "no-keys", "The server could not fetch the keys of whoever issues tokens; try again in a few seconds.").after(5 * time.Second)
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="verbatim", error="invalid_token"`)
	if errors.Is(err, auth.ErrExpired) {
		return problem(http.StatusUnauthorized, "token-expired", "The token's time is over; get a new one from where it came from.")
	}
	return problem(http.StatusUnauthorized, "bad-token", "The token is not accepted: "+err.Error()+".")
}

// refuse a caller who may not do it: who has no token is asked for one.
func refuse(w http.ResponseWriter, c auth.Caller, what string) error {
	if c.Participant == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="verbatim"`)
		return problem(http.StatusUnauthorized, "no-token", "This server asks for a token: Authorization: Bearer …; `verbatim token` makes one.")
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="verbatim", error="insufficient_scope"`)
	return problem(http.StatusForbidden, "forbidden", what)
}

func refuseAct(w http.ResponseWriter, c auth.Caller, act auth.Act) error {
	return refuse(w, c, "The token does not allow that: it needs the act "+string(act)+" for this room.")
}

// inRoom lets those through who may do it in the room of the address.
func (s *Server) inRoom(act auth.Act) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return s.handle(func(w http.ResponseWriter, r *http.Request) error {
			if c := callerOf(r); !c.May(act, chi.URLParam(r, "room")) {
				return refuseAct(w, c, act)
			}
			next.ServeHTTP(w, r)
			return nil
		})
	}
}

// inMeeting lets those through who may do it in the room of the meeting. To others
// who may do it somewhere the meeting is as unknown as one that never was.
func (s *Server) inMeeting(act auth.Act) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return s.handle(func(w http.ResponseWriter, r *http.Request) error {
			if err := s.mayInMeeting(w, r, act, chi.URLParam(r, "meeting")); err != nil {
				return err
			}
			next.ServeHTTP(w, r)
			return nil
		})
	}
}

func (s *Server) mayInMeeting(w http.ResponseWriter, r *http.Request, act auth.Act, id string) error {
	c := callerOf(r)
	if c.May(act, auth.AllRooms) {
		return nil
	}
	if !c.Has(act) {
		return refuseAct(w, c, act)
	}
	room, err := s.cfg.Meetings.Room(r.Context(), id)
	if err == nil && !c.May(act, room) {
		err = meeting.ErrNotFound
	}
	return err
}

// file is inMeeting for what can be heard or read as a file, which links open, too.
func (s *Server) file(next http.Handler) http.Handler {
	withToken := s.inMeeting(auth.Listen)(next)
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if s.cfg.Tokens == nil || callerOf(r).Participant != "" || !auth.Signed(r.URL.Query()) {
			withToken.ServeHTTP(w, r)
			return nil
		}
		switch ok, expired := s.cfg.Links.Verify(r.URL.EscapedPath(), r.URL.Query()); {
		case !ok:
			return problem(http.StatusForbidden, "bad-link", "This link was not made by the server, or not for this file; POST /v1/links makes one.")
		case expired:
			return problem(http.StatusForbidden, "link-expired", "The link's time is over; POST /v1/links makes a new one.")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// ownSession lets those through whose session it is, or who manage its room and
// want to end it. To others it is as unknown as one that never was.
func (s *Server) ownSession(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if s.cfg.Tokens == nil {
			next.ServeHTTP(w, r)
			return nil
		}
		c := callerOf(r)
		if !c.Has(auth.Publish) && !c.Has(auth.Manage) {
			return refuse(w, c, "The token does not allow that: it needs the act publish.")
		}
		m, err := s.cfg.Rooms.Session(chi.URLParam(r, "session"))
		own := err == nil && c.May(auth.Publish, m.Room) && c.Participant == m.Participant.ID
		switch {
		case errors.Is(err, meeting.ErrNoSession):
			return noSession()
		case err != nil:
			return err
		case own, r.Method == http.MethodDelete && c.May(auth.Manage, m.Room):
			next.ServeHTTP(w, r)
			return nil
		case c.May(auth.Manage, m.Room):
			return refuse(w, c, "Only the participant may change a session's connection.")
		}
		return noSession()
	})
}

// operator lets those through who may manage all rooms.
func (s *Server) operator(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if c := callerOf(r); !c.May(auth.Manage, auth.AllRooms) {
			return refuse(w, c, "The token does not allow that: it needs the act manage for all rooms.")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// roomToList is the room that a list is to be of, or empty for all: the caller's
// own where they name none.
func roomToList(w http.ResponseWriter, r *http.Request) (string, error) {
	room, err := roomOf(r)
	if err != nil {
		return "", err
	}
	c := callerOf(r)
	if only, ok := c.OnlyRoom(); ok && room == "" {
		room = only
	}
	switch {
	case !c.Has(auth.Listen), room != "" && !c.May(auth.Listen, room):
		return "", refuseAct(w, c, auth.Listen)
	case room == "" && !c.May(auth.Listen, auth.AllRooms):
		return "", refuse(w, c, "The token is for some rooms only: say of which one, ?room=….")
	}
	return room, nil
}

// files are what links can be made for.
var files = map[string]bool{
	"/v1/meetings/{meeting}/transcript.{format}":       true,
	"/v1/meetings/{meeting}/audio.flac":                true,
	"/v1/meetings/{meeting}/tracks/{track}/audio.opus": true,
	"/v1/meetings/{meeting}/tracks/{track}/audio.wav":  true,
}

const maxLinks = 100 // of one request

type link struct {
	Path      string    `json:"path"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// links makes addresses of files that need no token.
func (s *Server) links(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Paths []string `json:"paths"`
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(body), &ask); err != nil || len(ask.Paths) == 0 || len(ask.Paths) > maxLinks {
		return problem(http.StatusBadRequest, "bad-links", `Send {"paths": ["/v1/meetings/…/audio.flac", …]}, 1 to 100 of them.`)
	}
	routes := chi.RouteContext(r.Context()).Routes
	links, may := make([]link, 0, len(ask.Paths)), map[string]bool{} // each meeting is looked up once
	for _, path := range ask.Paths {
		at := chi.NewRouteContext()
		if !routes.Match(at, http.MethodGet, path) || !files[at.RoutePattern()] {
			return problem(http.StatusBadRequest, "bad-links", "Links are made for transcripts and audio of meetings, by the path of their address.")
		}
		if id := at.URLParam("meeting"); !may[id] {
			if err := s.mayInMeeting(w, r, auth.Listen, id); err != nil {
				return err
			}
			may[id] = true
		}
		query, expires := s.cfg.Links.Sign(path)
		links = append(links, link{Path: path, URL: path + "?" + query.Encode(), ExpiresAt: expires})
	}
	return writeJSON(w, struct {
		Links []link `json:"links"`
	}{links})
}
