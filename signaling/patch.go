package signaling

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/media"
)

const fragmentType = "application/trickle-ice-sdpfrag"

// patch takes candidates that the client found after its offer, or restarts
// ICE: RFC 9725, 4.3.
func (s *Server) patch(w http.ResponseWriter, r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != fragmentType {
		w.Header().Set("Accept-Patch", fragmentType)
		return problem(http.StatusUnsupportedMediaType, "not-sdpfrag", "Send the SDP fragment with Content-Type: "+fragmentType+".")
	}
	match, err := ifMatch(r.Header.Values("If-Match"))
	if err != nil {
		return err
	}
	text, err := readBody(w, r)
	if err != nil {
		return err
	}
	fragment, err := media.ParseFragment(text)
	if err != nil {
		return fragmentProblem(err)
	}
	answer, err := s.cfg.Media.Patch(r.Context(), chi.URLParam(r, "session"), fragment, match)
	if errors.Is(err, media.ErrOtherICESession) && match == nil {
		return problem(http.StatusPreconditionRequired, "no-if-match",
			`These are not the session's ICE credentials; to restart ICE, send If-Match: *.`) // RFC 6585, 3
	}
	if err != nil {
		return fragmentProblem(err)
	}
	if answer == (media.Answer{}) {
		return s.noContent(w, r)
	}
	h := w.Header()
	h.Set("Content-Type", fragmentType)
	h.Set("ETag", `"`+answer.Tag+`"`)
	h.Set("Cache-Control", "no-store")
	_, err = io.WriteString(w, answer.SDP)
	return err
}

func fragmentProblem(err error) error {
	switch {
	case errors.Is(err, media.ErrMalformedFragment):
		return problem(http.StatusBadRequest, "bad-fragment", "The body must be an SDP fragment (RFC 8840) with candidates or ICE credentials: "+err.Error()+".")
	case errors.Is(err, media.ErrNoSession), errors.Is(err, media.ErrClosed):
		return noSession()
	case errors.Is(err, media.ErrOtherICESession):
		return problem(http.StatusPreconditionFailed, "other-ice-session",
			"The session's ICE was restarted meanwhile; restart it again, or use the ETag of the last restart.")
	case errors.Is(err, media.ErrTooManyRestarts):
		return problem(http.StatusTooManyRequests, "too-many-restarts", "The session's ICE was restarted too often; try again in a few seconds.").after(5 * time.Second)
	}
	return err
}

// ifMatch reads a precondition (RFC 9110, 13.1.1); nil is for none. Any is the
// one that restarts ICE, quoted as in the RFC's own example or not. Weak tags
// match nothing, since the comparison is the strong one.
func ifMatch(values []string) (match func(tag string) bool, err error) {
	if len(values) == 0 {
		return nil, nil //nolint:nilnil // no precondition, no error
	}
	list := strings.Join(values, ",")
	if t := strings.TrimSpace(list); t == "*" || t == `"*"` {
		return func(string) bool { return true }, nil
	}
	var tags []string
	for list = strings.Trim(list, " \t,"); list != ""; list = strings.TrimLeft(list, " \t,") {
		strong, weak := strings.CutPrefix(list, "W/")
		tag, ok := strings.CutPrefix(strong, `"`)
		tag, rest, closed := strings.Cut(tag, `"`)
		if !ok || !closed || (rest != "" && !strings.ContainsRune(" \t,", rune(rest[0]))) {
			return nil, problem(http.StatusBadRequest, "bad-if-match", `If-Match is * or a list of entity tags in double quotes, as in the ETag header.`)
		}
		if !weak {
			tags = append(tags, tag)
		}
		list = rest
	}
	return func(tag string) bool {
		for _, t := range tags {
			if t == tag {
				return true
			}
		}
		return false
	}, nil
}
