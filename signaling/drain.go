package signaling

import (
	"net/http"
	"sync"

	"github.com/go-chi/chi/v5"
)

// maxTurnedAway bounds of how many participants it is known that they were refused.
const maxTurnedAway = 10_000

// turnedAway counts who was refused since Drain.
type turnedAway struct {
	mu sync.Mutex // guards by
	by map[[2]string]int
}

func (t *turnedAway) add(room, participant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[[2]string]int{}
	}
	key := [2]string{room, participant}
	if _, known := t.by[key]; known || len(t.by) < maxTurnedAway {
		t.by[key]++
	}
}

func (t *turnedAway) times(room, participant string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[[2]string{room, participant}]
}

// refuseWhileDraining is the answer to who wants a session of a server that goes
// down, nil while it does not.
func (s *Server) refuseWhileDraining(r *http.Request) error {
	if !s.draining.Load() {
		return nil
	}
	if who, err := participant(r); err == nil {
		s.turned.add(chi.URLParam(r, "room"), who.ID)
	}
	return drainingProblem()
}
