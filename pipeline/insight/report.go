package insight

import (
	"time"

	"verbatim/pipeline/meeting"
)

// Head says which meeting numbers are of. As long as its State is live or ended,
// there is talk that is not in them yet.
type Head struct {
	ID        string        `json:"id"`
	State     meeting.State `json:"state"`
	StartedAt time.Time     `json:"started_at"`
	EndedAt   *time.Time    `json:"ended_at"`
}

// MeetingReport is the account of a meeting and its numbers.
type MeetingReport struct {
	Head
	Room string `json:"room"`
	// Coverage says how much of the audio the numbers speak for.
	Coverage meeting.Coverage `json:"coverage"`
	Stats
	// Trend sets the meeting against those before it in the room.
	Trend Comparison `json:"trend"`
}

// RoomReport is what the meetings of a room were like.
type RoomReport struct {
	Room     string        `json:"room"`
	Meetings []RoomMeeting `json:"meetings"` // the newest first
	// Trend is over those of Meetings that are transcribed to their end.
	Trend Overview `json:"trend"`
	Next  string   `json:"next"` // the cursor of the page with older ones, "" at the end
}

// RoomMeeting is one of them.
type RoomMeeting struct {
	Head
	Participants int `json:"participants"`
	Numbers
}

// HeadOf says which meeting m is.
func HeadOf(m meeting.Meeting) Head {
	return Head{ID: m.ID, State: m.State, StartedAt: m.StartedAt, EndedAt: m.EndedAt}
}
