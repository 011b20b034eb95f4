package meeting

// The types of Event, as they are named in the event stream.
const (
	EventState    = "state"    // the room has a new meeting
	EventCaption  = "caption"  // Data is a transcript.Segment
	EventJoined   = "joined"   // Data is a Presence
	EventLeft     = "left"     // Data is a Presence
	EventCoverage = "coverage" // Data is a Progress
	EventEnded    = "ended"    // Data is an Ended
	EventErased   = "erased"   // Data is an Erased
	EventMoving   = "moving"   // Data is a Moving
)

// EventMissed is for no client to see: events of the room may have been missed;
// what there is to know is in the store. It has no Data, and no Meeting.
const EventMissed = "missed"

// Event is something that happened in a room, for those who watch it live.
type Event struct {
	Room    string
	Meeting string
	Type    string
	// Number is that of a final caption in its meeting: 1, 2, 3, … in the order
	// in which they were stored. 0 for everything that is not stored.
	Number int64
	Data   any
}

// Presence is a participant that came or went.
type Presence struct {
	Meeting     string      `json:"meeting"`
	Participant Participant `json:"participant"`
}

// Progress is the account of a meeting as it grows.
type Progress struct {
	Meeting  string          `json:"meeting"`
	Coverage Coverage        `json:"coverage"`
	Tracks   []TrackProgress `json:"tracks"`
}

// TrackProgress is the account of one track.
type TrackProgress struct {
	ID          string     `json:"id"`
	Participant string     `json:"participant"`
	State       TrackState `json:"state"`
	Coverage    Coverage   `json:"coverage"`
	// Transcription is nil unless the track is being transcribed right now.
	Transcription *Transcription `json:"transcription,omitempty"`
}

// Ended says that a meeting ended, or that its transcript is finished.
type Ended struct {
	Meeting string `json:"meeting"`
	Room    string `json:"-"`
	State   State  `json:"state"`
}

// Erased says that nothing is left of a meeting.
type Erased struct {
	Meeting string `json:"meeting"`
}

// Moving asks participants to go to another server: the one that has their
// sessions shuts down.
type Moving struct {
	Participants []string `json:"participants"` // their ids
	// WithinMS is for how long they are waited for.
	WithinMS int64 `json:"within_ms"`
}
