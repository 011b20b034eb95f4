// Package meeting is the registry of what is going on: rooms, meetings, the
// participants in them, their sessions and tracks, and the account of every
// millisecond (Coverage).
package meeting

import (
	"errors"
	"regexp"
	"time"

	"verbatim/media/audio"
)

// What a caller can do something about.
var (
	ErrNotFound  = errors.New("no such meeting or track")
	ErrMoved     = errors.New("the participant has a newer session")
	ErrBadCursor = errors.New("not a cursor of this list")
	// ErrAudioLost: the audio should be there, and is not.
	ErrAudioLost = errors.New("the track's audio is not on the disk")
	// ErrLive: what is asked for is made only of meetings that are over.
	ErrLive = errors.New("the meeting is still going on")
	// ErrAway: the store does not answer, and may later.
	ErrAway = errors.New("the database does not answer")
	// ErrErasing: the meeting is hidden, and not all of it is gone yet.
	ErrErasing = errors.New("the meeting is still being erased")
	// ErrNotOpus: the sender of the track never sent Opus.
	ErrNotOpus = errors.New("the track has no Opus")
)

// ElsewhereError says that audio is on another node, which is asked for it; on several
// nodes, of which none has all of it, if Node is empty.
type ElsewhereError struct{ Node string }

func (e *ElsewhereError) Error() string {
	if e.Node == "" {
		return "the audio is on several nodes"
	}
	return "the audio is on the node " + e.Node
}

// Peer is what has to be known of another node to lead somebody there.
type Peer struct {
	URL   string // by which clients reach it; "" if it has none of its own
	Alive bool
	Links string // the mark of the secret that it signs links with
}

// State of a meeting.
type State string

// A meeting is live, then ended while transcripts are outstanding, and at last
// complete, or incomplete when something of it could not be transcribed.
const (
	StateLive       State = "live"
	StateEnded      State = "ended"
	StateComplete   State = "complete"
	StateIncomplete State = "incomplete"
)

// TrackState is the state of a track.
type TrackState string

// A track is live while audio arrives, pending while its transcript is
// outstanding after that, and then complete or incomplete.
const (
	TrackLive       TrackState = "live"
	TrackPending    TrackState = "pending"
	TrackComplete   TrackState = "complete"
	TrackIncomplete TrackState = "incomplete"
)

// Meeting is one occurrence in a room.
type Meeting struct {
	ID        string     `json:"id"` // ULID
	Room      string     `json:"room"`
	State     State      `json:"state"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	// RecordedAt is when the files of the meeting were made of its audio, which
	// are kept until the meeting is erased; nil before that.
	RecordedAt *time.Time `json:"recorded_at,omitempty"`
	// Recorder is the node that makes these files, or has made them; "" if that is
	// not known, or there is only one.
	Recorder     string        `json:"-"`
	Participants []Participant `json:"participants"`
	Tracks       []Track       `json:"tracks"`
	Coverage     Coverage      `json:"coverage"`
}

// Participant is one identity in a meeting, stable across reconnects.
type Participant struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	JoinedAt time.Time  `json:"joined_at"`
	LeftAt   *time.Time `json:"left_at"` // nil while in the room
}

// Track is one audio source of one session of a participant.
type Track struct {
	ID          string     `json:"id"` // ULID
	Meeting     string     `json:"-"`
	Participant string     `json:"participant"` // Participant.ID
	State       TrackState `json:"state"`
	EndedBy     string     `json:"ended_by,omitempty"` // audio.Reason, empty while live
	// StartedAt is the wall time of the track's sample 0.
	StartedAt time.Time `json:"started_at"`
	Coverage  Coverage  `json:"coverage"`
	// Transcription is nil unless the track is being transcribed right now.
	Transcription *Transcription `json:"transcription,omitempty"`
	// Audio says whether the track's audio can still be had; AudioExpiredAt is
	// when it was removed, after its transcript was finished.
	Audio          Audio      `json:"audio"`
	AudioExpiredAt *time.Time `json:"audio_expired_at,omitempty"`

	// FinishedAt is when the track's transcript was, nil before that.
	FinishedAt *time.Time `json:"-"`
	// Account is what arrived, in ticks (48 kHz).
	Account audio.Account `json:"-"`
	// Through is the point in ticks (48 kHz) up to which the track's audio is
	// spoken for in the transcript: the only checkpoint that there is.
	Through int64 `json:"-"`
	// Skipped is how much before Through was given up, in ticks (48 kHz).
	Skipped int64 `json:"-"`
	// Epoch is the ownership under which a process may write the transcript.
	Epoch int64 `json:"-"`
	// Node is the one that has the track's audio; "" if there is only one.
	Node string `json:"-"`
	// Part is the bucket into which that node has put a copy of the audio, for the one
	// that makes the meeting's recordings; "" if there is none.
	Part string `json:"-"`
	// ToForward: its audio is to be handed to other services (pipeline/forward).
	// It is for who creates the track; others ask the store for such tracks.
	ToForward bool `json:"-"`
	// NextSegment is the number that the track's next segment gets.
	NextSegment int64 `json:"-"`
}

// Transcription is what a recognizer makes of a track at the moment.
type Transcription struct {
	State   string    `json:"state"`  // a transcribe.State
	Engine  string    `json:"engine"` // "" as long as none was chosen
	Retries int       `json:"retries"`
	Since   time.Time `json:"since"` // of State
}

// Audio is what became of a track's audio. It is kept until the track is
// transcribed, and longer if so configured.
type Audio string

// Audio is kept, or expired, or lost: it should be kept, and is not.
const (
	AudioKept    Audio = "kept"
	AudioExpired Audio = "expired"
	AudioLost    Audio = "lost"
)

// ExpiredError is returned for the audio of a track that was kept no longer.
type ExpiredError struct{ At time.Time }

func (e *ExpiredError) Error() string {
	return "the track's audio expired at " + e.At.Format(time.RFC3339)
}

// Coverage is the account of every millisecond. The first six fields add up to
// the duration, the last three do too.
type Coverage struct {
	DurationMS int64 `json:"duration_ms"`

	ReceivedMS      int64 `json:"received_ms"`
	RecoveredMS     int64 `json:"recovered_ms"`
	ConcealedMS     int64 `json:"concealed_ms"`
	SilenceMS       int64 `json:"silence_ms"`
	DiscontinuityMS int64 `json:"discontinuity_ms"`
	ShedMS          int64 `json:"shed_ms"`

	TranscribedMS int64 `json:"transcribed_ms"`
	PendingMS     int64 `json:"pending_ms"`
	SkippedMS     int64 `json:"skipped_ms"`
}

var (
	roomName        = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	participantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

// ValidRoom reports whether s can name a room.
func ValidRoom(s string) bool { return roomName.MatchString(s) }

// ValidParticipant reports whether s can identify a participant.
func ValidParticipant(s string) bool { return participantName.MatchString(s) }
