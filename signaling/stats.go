package signaling

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"verbatim/pipeline/insight"
)

// maxStats is the most meetings that one report on a room reads.
const maxStats = 50

func (s *Server) meetingStats(w http.ResponseWriter, r *http.Request) error {
	var report insight.MeetingReport
	err := s.read(r, func() (err error) {
		report, err = s.cfg.Insight.MeetingStats(r.Context(), chi.URLParam(r, "meeting"))
		return err
	})
	if err != nil {
		return err
	}
	return writeJSON(w, report)
}

func (s *Server) roomStats(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r, maxStats)
	if err != nil {
		return err
	}
	var report insight.RoomReport
	err = s.read(r, func() (err error) {
		report, err = s.cfg.Insight.RoomStats(r.Context(), chi.URLParam(r, "room"), limit, r.URL.Query().Get("cursor"))
		return err
	})
	if err != nil {
		return badCursor(err)
	}
	return writeJSON(w, report)
}
