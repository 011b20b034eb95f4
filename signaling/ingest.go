package signaling

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"

	"verbatim/media/audio"
	"verbatim/media/ingest"
	"verbatim/pipeline/transcript"
)

// Ingest speaks with WebSocket clients; ingest.Engine does.
type Ingest interface {
	Serve(ws *websocket.Conn, room ingest.Room)
	CloseSession(session string, r audio.Reason) bool
}

// ingest begins or resumes a stream of PCM over a WebSocket: docs/INGEST.md.
func (s *Server) ingest(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return drainingProblem()
	}
	if !hasToken(r.Header, "Upgrade", "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		return problem(http.StatusUpgradeRequired, "not-websocket",
			"Connect with a WebSocket client and the subprotocol "+ingest.Protocol+"; docs/INGEST.md describes it.")
	}
	if !hasToken(r.Header, "Sec-Websocket-Protocol", ingest.Protocol) {
		return problem(http.StatusBadRequest, "no-subprotocol", "Offer the WebSocket subprotocol "+ingest.Protocol+".")
	}
	if !s.ownOrigin(r) {
		return foreignOrigin()
	}
	who, err := participant(r)
	if err != nil {
		return err
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{ingest.Protocol},
		InsecureSkipVerify: true, // ownOrigin has looked
	})
	if err != nil {
		return nil //nolint:nilerr // the library has answered
	}
	s.cfg.Ingest.Serve(ws, ingestRoom{s: s, r: r, room: chi.URLParam(r, "room"), who: who, known: s.cfg.Tokens != nil})
	return nil
}

// hasToken looks for an element of a header that is a list; case is of no matter.
func hasToken(h http.Header, key, token string) bool {
	for _, line := range h.Values(key) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// ownOrigin reports whether a request comes from a page that may use the API, or
// from no page. CORS does not keep pages from opening WebSockets, and neither
// does http.CrossOriginProtection: the request is a GET.
func (s *Server) ownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(s.cfg.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// ingestRoom is where a WebSocket client joins.
type ingestRoom struct {
	s    *Server
	r    *http.Request // of the handshake
	room string
	who  transcript.Participant
	// known says that the client has shown who it is.
	known bool
}

func (i ingestRoom) Join(ctx context.Context) (session, meeting string, err error) {
	places, err := i.s.gate.enter(i.r, i.room, i.who.ID)
	if err != nil {
		return "", "", ingest.ErrFull
	}
	m, err := i.s.cfg.Rooms.Join(ctx, i.room, i.who)
	if err != nil {
		i.s.gate.give(places...)
		return "", "", err
	}
	i.s.gate.bind(m.Session, places)
	return m.Session, m.Meeting, nil
}

// Owner is who the token is for.
func (i ingestRoom) Owner() string {
	if !i.known {
		return ""
	}
	return i.room + "/" + i.who.ID
}

func (i ingestRoom) Current(session string) bool { return i.s.cfg.Rooms.Current(session) }
