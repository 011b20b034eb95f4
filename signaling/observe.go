package signaling

import (
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
