package signaling

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"verbatim/pipeline/meeting"
)

// Problem is an error that the client is told about (RFC 9457). Type is stable:
// clients may compare it. Detail is a sentence that says what to do.
type Problem struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`

	retryAfter time.Duration
}

func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// problem makes a Problem. kind is the last part of its type.
func problem(status int, kind, detail string) *Problem {
	return &Problem{
		Status: status, Type: "urn:verbatim:problem:" + kind, Title: http.StatusText(status), Detail: detail,
	}
}

// after says when to try again.
func (p *Problem) after(d time.Duration) *Problem {
	p.retryAfter = d
	return p
}

func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retryAfter/time.Second)))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone: nobody to tell
}

// handler answers a request, or returns a Problem, or an error that is logged
// and not shown.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		err := h(ww, r)
		if err != nil && ww.Status() != 0 {
			// Part of another answer is out already: all that is left is to cut
			// it off where the client can see it.
			if r.Context().Err() == nil {
				s.cfg.Logger.Warn("an answer was cut off", "method", r.Method, "route", routeOf(r), "err", err)
			}
			panic(http.ErrAbortHandler)
		}
		var p *Problem
		var expired *meeting.ExpiredError
		var elsewhere *meeting.ElsewhereError
		switch {
		case err == nil:
			return
		case errors.As(err, &p):
		case errors.Is(err, meeting.ErrNotFound):
			p = problem(http.StatusNotFound, "not-found", "There is no such meeting or track; see /v1/meetings for those that there are.")
		case errors.As(err, &expired):
			p = problem(http.StatusGone, "audio-expired", "The audio of this track was removed at "+
				expired.At.UTC().Format(time.RFC3339)+", as --keep-audio says; its transcript is kept.")
		case errors.As(err, &elsewhere):
			if p = s.elsewhere(ww, r, elsewhere.Node); p == nil {
				return
			}
		case errors.Is(err, meeting.ErrAway) && r.Context().Err() == nil:
			s.cfg.Logger.Error("the database does not answer", "method", r.Method, "route", routeOf(r), "err", err)
			p = problem(http.StatusServiceUnavailable, "away", "The database does not answer. Try again in some seconds.").after(5 * time.Second)
		case errors.Is(err, meeting.ErrAudioLost):
			p = problem(http.StatusGone, "audio-lost", "The audio of this track is not on the server's disk any more, though the server did not remove it; its transcript is kept.")
		case r.Context().Err() != nil:
			return // the client is gone
		default:
			s.cfg.Logger.Error("request failed", "method", r.Method, "route", routeOf(r), "err", err)
			p = problem(http.StatusInternalServerError, "internal", "Something went wrong in the server; its log says what. Try again.")
		}
		p.write(w)
	}
}
