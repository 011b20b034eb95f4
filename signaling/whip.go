package signaling

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/auth"
)

const (
	maxBody = 64 << 10 // bytes; browsers send offers of 1 to 4 KiB for audio
	maxName = 80       // characters
	sdpType = "application/sdp"
)

// room refuses names that no room can have.
func (s *Server) room(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if !meeting.ValidRoom(chi.URLParam(r, "room")) {
			return problem(http.StatusBadRequest, "bad-room",
				"A room's name is 1 to 64 of a-z, 0-9, - and _, and begins with a letter or digit.")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// whip begins a session: RFC 9725, 4.2.
func (s *Server) whip(w http.ResponseWriter, r *http.Request) (err error) {
	began := time.Now()
	defer func() {
		if err != nil {
			s.joined(r, began, "", err)
		}
	}()
	if err := s.refuseWhileDraining(r); err != nil {
		return err
	}
	offer, err := readOffer(w, r)
	if err != nil {
		return err
	}
	who, err := participant(r)
	if err != nil {
		return err
	}
	room := chi.URLParam(r, "room")
	places, err := s.gate.enter(r, room, who.ID)
	if err != nil {
		return err
	}
	// The offer comes first: one that cannot be answered must not end the session
	// that the participant has.
	var member meeting.Membership
	answer, err := s.cfg.Media.Accept(r.Context(), offer, func() (string, error) {
		var err error
		member, err = s.cfg.Rooms.Join(r.Context(), room, who)
		if err == nil {
			s.gate.bind(member.Session, places)
		}
		return member.Session, err
	})
	if member.Session == "" {
		s.gate.give(places...)
	}
	if err != nil && member.Session != "" {
		s.gate.closed(member.Session)
		err = errors.Join(err, s.cfg.Rooms.SessionClosed(context.WithoutCancel(r.Context()), member.Session))
	}
	if err != nil {
		return offerProblem(err)
	}
	// Whoever replaced it or ended the meeting meanwhile could not close it yet.
	if !s.cfg.Rooms.Current(member.Session) {
		s.cfg.Media.CloseSession(member.Session, audio.ReasonReplaced)
		return problem(http.StatusConflict, "session-over", "The participant joined again, or the meeting was ended, while this session was set up.")
	}
	s.joined(r, began, member.Session, nil) // before the client can do anything with the answer
	h := w.Header()
	h.Set("Content-Type", sdpType)
	h.Set("Location", s.baseURL(r)+"/v1/sessions/"+member.Session)
	h.Set("ETag", `"`+answer.Tag+`"`)
	s.linkICEServers(h, r)
	h.Set("Verbatim-Meeting", member.Meeting)
	h.Set("Verbatim-Participant", member.Participant.ID)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer.SDP) // the client is gone: its session times out
	return nil
}

func readOffer(w http.ResponseWriter, r *http.Request) (media.Offer, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != sdpType {
		w.Header().Set("Accept-Post", sdpType)
		return media.Offer{}, problem(http.StatusUnsupportedMediaType, "not-sdp", "Send the SDP offer with Content-Type: application/sdp.")
	}
	text, err := readBody(w, r)
	if err != nil {
		return media.Offer{}, err
	}
	if text == "" {
		return media.Offer{}, problem(http.StatusBadRequest, "bad-offer", "The request has no body; it must be an SDP offer.")
	}
	offer, err := media.ParseOffer(text)
	if err != nil {
		return media.Offer{}, offerProblem(err)
	}
	return offer, nil
}

// readBody reads the SDP that a client sends.
func readBody(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return "", problem(http.StatusRequestEntityTooLarge, "too-large", "The SDP for one audio track fits into 64 KiB.")
	}
	if err != nil {
		return "", problem(http.StatusBadRequest, "cut-off", "The request's body ended early.")
	}
	return string(body), nil
}

// offerProblem tells what is wrong with an offer, if that is what err is about.
func offerProblem(err error) error {
	switch {
	case errors.Is(err, media.ErrFull):
		return fullProblem()
	case errors.Is(err, media.ErrClosed):
		return drainingProblem()
	case errors.Is(err, media.ErrUnsupportedMedia):
		return problem(http.StatusUnprocessableEntity, "unsupported-media", "Offer exactly one audio track and nothing else: "+err.Error()+".")
	case errors.Is(err, media.ErrNoCodec):
		return problem(http.StatusUnprocessableEntity, "no-codec", "Offer Opus (opus/48000/2).")
	case errors.Is(err, media.ErrNotSending):
		return problem(http.StatusBadRequest, "not-sending", "Offer audio as sendonly: "+err.Error()+". Captions come from the room's /events.")
	case errors.Is(err, media.ErrMalformedOffer):
		return problem(http.StatusBadRequest, "bad-offer", "The body must be a complete SDP offer as RTCPeerConnection makes it: "+err.Error()+".")
	}
	return err
}

// participant is who joins: by the token, or by the query where there are none.
func participant(r *http.Request) (transcript.Participant, error) {
	q := r.URL.Query()
	if c := callerOf(r); c.Participant != "" {
		q = url.Values{"name": {c.Name}, "participant": {c.Participant}}
	}
	name := strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) { // those turn around what stands beside the name
			return -1
		}
		return c
	}, q.Get("name")))
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxName {
		return transcript.Participant{}, problem(http.StatusBadRequest, "bad-name", "A name is at most 80 characters of UTF-8.")
	}
	if name == "" {
		name = "Guest"
	}
	id := q.Get("participant")
	if id == "" {
		id = rand.Text()
	}
	if !meeting.ValidParticipant(id) {
		return transcript.Participant{}, problem(http.StatusBadRequest, "bad-participant",
			"A participant's id is 1 to 64 of A-Z, a-z, 0-9, - and _, and begins with a letter or digit.")
	}
	return transcript.Participant{ID: id, Name: name}, nil
}

// leave ends a session: RFC 9725, 4.2. If-Match is of no matter here (4.3.1).
func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "session")
	if !s.cfg.Media.CloseSession(id, audio.ReasonLeft) && !s.cfg.Ingest.CloseSession(id, audio.ReasonLeft) {
		return noSession()
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func noSession() *Problem {
	return problem(http.StatusNotFound, "no-session", "There is no such session; it may have ended already.")
}

// whipOptions tells what the endpoint takes, and the ICE servers to clients that
// must know them before they make an offer (RFC 9725, 4.6; not to a CORS
// preflight, nor to who may not join: the servers' credentials are in it).
func (s *Server) whipOptions(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Accept-Post", sdpType)
	may := callerOf(r).May(auth.Publish, chi.URLParam(r, "room"))
	if may && r.Header.Get("Access-Control-Request-Method") == "" {
		s.linkICEServers(w.Header(), r)
	}
	return s.noContent(w, r)
}

func (s *Server) sessionOptions(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Accept-Patch", fragmentType)
	return s.noContent(w, r)
}

// noContent is also what GET is answered with on a room's endpoint and a
// session: RFC 9725, 4.1, reserves it.
func (s *Server) noContent(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// linkICEServers tells a client of the ICE servers, with credentials of its own for
// those that have them.
func (s *Server) linkICEServers(h http.Header, r *http.Request) {
	for _, l := range links(s.cfg.ICEServers, r.Host, time.Now()) {
		h.Add("Link", l)
	}
}

// baseURL is how clients call this server and no other.
func (s *Server) baseURL(r *http.Request) string {
	if s.cfg.NodeURL != "" {
		return s.cfg.NodeURL
	}
	return calledURL(r)
}
