package signaling

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/auth"
)

// Peers knows the other nodes of a database; store.Store does.
type Peers interface {
	Peer(ctx context.Context, node string) (meeting.Peer, error)
}

// forNode is in the query of a redirect, and says for which node it was made: who is
// led to a wrong one is told so, and not led on.
const forNode = "node"

// openLinks is the mark of servers that ask for no tokens, whose files need no link.
const openLinks = "open"

// LinkMark tells other nodes whether this one opens files by the links that they sign.
func LinkMark(tokens *auth.Verifier, links *auth.Links) string {
	if tokens == nil || links == nil {
		return openLinks
	}
	return links.Mark()
}

// elsewhere leads a request for a file to the node that has it: 307, with a link, so
// that no token goes to another host. It returns a problem if that cannot be.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request, node string) *Problem {
	at, why := s.linkAt(r, node)
	if why != "" {
		return problem(http.StatusMisdirectedRequest, "audio-elsewhere", why)
	}
	w.Header().Set("Location", at)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// linkAt is the address of a file at another node, or why there is none.
func (s *Server) linkAt(r *http.Request, node string) (at, why string) {
	if node == "" {
		return "", "The audio is on several nodes. What is made of all of it can be had when it is recorded (recorded_at), for which all need the same --recordings."
	}
	why = "The audio is on another node (" + node + "): ask that one. This one cannot lead there, since "
	asked := r.URL.Query()
	if asked.Has(forNode) {
		return "", why + "it was led here itself: the --node-url of the node " + asked.Get(forNode) + " may be another server's."
	}
	if s.cfg.Peers == nil {
		return "", why + "it does not know it."
	}
	peer, err := s.cfg.Peers.Peer(r.Context(), node)
	switch {
	case errors.Is(err, meeting.ErrNotFound):
		return "", why + "it does not know it."
	case err != nil:
		s.cfg.Logger.Warn("another node cannot be looked up", "node", node, "err", err)
		return "", why + "the database does not answer."
	case !peer.Alive:
		return "", why + "it does not run."
	case peer.URL == "":
		return "", why + "it has no URL of its own (--node-url)."
	case peer.Links != LinkMark(s.cfg.Tokens, s.cfg.Links):
		return "", why + "it signs links with another secret (--auth-link-secret-file)."
	}
	link := url.Values{}
	switch {
	case s.cfg.Tokens == nil:
	case callerOf(r).Participant == "": // by a link, whose time is not made longer
		link = auth.Link(asked)
	default:
		link, _ = s.cfg.Links.Sign(r.URL.EscapedPath())
	}
	link.Set(forNode, node)
	return peer.URL + r.URL.EscapedPath() + "?" + link.Encode(), ""
}
