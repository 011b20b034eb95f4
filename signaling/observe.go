package signaling

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5/middleware"
)

// Request is what is told of a request that was answered: nothing that could be a
// secret, and nothing of which there is no end.
type Request struct {
	Method   string // "other" for those that HTTP does not have
	Route    string // its pattern, "" where there is none
	Status   int
	Duration time.Duration
}

// Join is a WHIP offer that is about to be answered.
type Join struct {
	Began   time.Time // when the request came
	Session string    // "" when there is none
	Status  int
	// Parent is the traceparent header (W3C Trace Context), as the client sent it.
	Parent string
}

// joined tells of an offer.
func (s *Server) joined(r *http.Request, began time.Time, session string, err error) {
	if s.cfg.Joined == nil {
		return
	}
	j := Join{Began: began, Session: session, Status: http.StatusCreated, Parent: r.Header.Get("Traceparent")}
	if err != nil {
		j.Session, j.Status = "", http.StatusInternalServerError
		if p := new(Problem); errors.As(err, &p) {
			j.Status = p.Status
		}
	}
	s.cfg.Joined(j)
}

// observe tells of requests when they are over.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() { // also when it is cut off
			q := Request{Method: method(r.Method), Route: routeOf(r), Status: ww.Status(), Duration: time.Since(began)}
			if q.Status == 0 {
				q.Status = http.StatusOK // nothing was written, or it is a WebSocket now
			}
			s.cfg.Logger.Debug("request", "method", q.Method, "route", q.Route, "status", q.Status, "duration", q.Duration)
			if s.cfg.Observe != nil {
				s.cfg.Observe(q)
			}
		}()
		next.ServeHTTP(ww, r)
	})
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodPut:
		return m
	}
	return "other"
}
