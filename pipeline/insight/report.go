package insight

import "verbatim/pipeline/meeting"

// MeetingReport is the account of a meeting and its numbers. As long as its State
// is live or ended, they are of what is known by then.
type MeetingReport struct {
	meeting.Head
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
	meeting.Head
	Participants int `json:"participants"`
	Numbers
}
