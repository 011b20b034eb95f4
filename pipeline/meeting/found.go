package meeting

import (
	"time"

	"verbatim/pipeline/transcript"
)

// Found is what a search has found: a segment, without its Words, and which
// meeting it is of.
type Found struct {
	Meeting Head               `json:"meeting"`
	Segment transcript.Segment `json:"segment"`
}

// Head is what a list shows of a meeting.
type Head struct {
	ID        string     `json:"id"`
	Room      string     `json:"room"`
	State     State      `json:"state"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Head is the meeting's.
func (m Meeting) Head() Head {
	return Head{ID: m.ID, Room: m.Room, State: m.State, StartedAt: m.StartedAt, EndedAt: m.EndedAt}
}
