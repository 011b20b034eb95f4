package signaling

import (
	"net/http"
	"strings"

	"verbatim/pipeline/meeting"
)

// maxQuery is how long a search may be, in bytes.
const maxQuery = 500

func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	text := strings.TrimSpace(q.Get("q"))
	if text == "" || len(text) > maxQuery {
		return problem(http.StatusBadRequest, "bad-query", "q is what to search for: some words, at most 500 bytes.")
	}
	room, err := roomToList(w, r)
	if err != nil {
		return err
	}
	limit, err := limitOf(r, maxList)
	if err != nil {
		return err
	}
	var found []meeting.Found
	var next string
	err = s.read(r, func() (err error) {
		found, next, err = s.cfg.Transcripts.Search(r.Context(), text, room, limit, q.Get("cursor"))
		return err
	})
	if err != nil {
		return badCursor(err)
	}
	if found == nil {
		found = []meeting.Found{}
	}
	return writeJSON(w, struct {
		Found []meeting.Found `json:"found"`
		Next  string          `json:"next"`
	}{found, next})
}
