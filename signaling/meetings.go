package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/pipeline/meeting"
)

// maxList is the most meetings of one page.
const maxList = 100

// roomState is a room and the meeting in it, if there is one.
type roomState struct {
	Room    string           `json:"room"`
	Meeting *meeting.Meeting `json:"meeting"`
}

func (s *Server) roomState(r *http.Request) (roomState, error) {
	st := roomState{Room: chi.URLParam(r, "room")}
	m, ok, err := s.cfg.Meetings.LiveMeeting(r.Context(), st.Room)
	if ok {
		st.Meeting = &m
	}
	return st, err
}

func (s *Server) getRoom(w http.ResponseWriter, r *http.Request) error {
	st, err := s.roomState(r)
	if err != nil {
		return err
	}
	return writeJSON(w, st)
}

func (s *Server) listMeetings(w http.ResponseWriter, r *http.Request) error {
	room, err := roomToList(w, r)
	if err != nil {
		return err
	}
	limit, err := limitOf(r, maxList)
	if err != nil {
		return err
	}
	var ms []meeting.Meeting
	var next string
	err = s.read(r, func() (err error) {
		ms, next, err = s.cfg.Meetings.Meetings(r.Context(), room, limit, r.URL.Query().Get("cursor"))
		return err
	})
	if err != nil {
		return badCursor(err)
	}
	if ms == nil {
		ms = []meeting.Meeting{}
	}
	return writeJSON(w, struct {
		Meetings []meeting.Meeting `json:"meetings"`
		Next     string            `json:"next"`
	}{ms, next})
}

// roomOf is the room that the client asks for, or empty for all.
func roomOf(r *http.Request) (string, error) {
	room := r.URL.Query().Get("room")
	if room != "" && !meeting.ValidRoom(room) {
		return "", problem(http.StatusBadRequest, "bad-room", "No room can have this name.")
	}
	return room, nil
}

// limitOf is how many entries a page has: as many as the client asks for.
func limitOf(r *http.Request, most int) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return 20, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, problem(http.StatusBadRequest, "bad-limit", fmt.Sprintf("limit is a number from 1 to %d.", most))
	}
	return n, nil
}

// badCursor tells the client of a cursor that is none.
func badCursor(err error) error {
	if errors.Is(err, meeting.ErrBadCursor) {
		return problem(http.StatusBadRequest, "bad-cursor", "cursor is the value of next in the page before; leave it out for the first.")
	}
	return err
}

func (s *Server) getMeeting(w http.ResponseWriter, r *http.Request) error {
	m, err := s.cfg.Meetings.Meeting(r.Context(), chi.URLParam(r, "meeting"))
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

func (s *Server) endMeeting(w http.ResponseWriter, r *http.Request) error {
	m, err := s.cfg.Meetings.End(r.Context(), chi.URLParam(r, "meeting"))
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

func (s *Server) eraseMeeting(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.Meetings.Erase(r.Context(), chi.URLParam(r, "meeting"))
	if errors.Is(err, meeting.ErrLive) {
		return problem(http.StatusConflict, "meeting-live", "The meeting is still going on; end it first (POST …/end).")
	}
	if errors.Is(err, meeting.ErrErasing) {
		return erasingProblem()
	}
	if err != nil {
		return err
	}
	return s.noContent(w, r)
}

func erasingProblem() *Problem {
	return problem(http.StatusServiceUnavailable, "erasing",
		"The meeting is hidden from now on, but not all of its files could be removed yet; the server goes on by itself. Ask again to learn when it is done.").after(time.Minute)
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(b, '\n'))
	return err
}
