package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// version is that of the messages below. A node ignores those of another.
const version = 1

const (
	// maxMessage bounds a message in bytes; NATS itself takes 1 MiB unless it is
	// told otherwise. What is larger is sent as EventMissed: it is in the store.
	maxMessage = 512 << 10
	maxNode    = 128
	maxRooms   = 4096 // that a node names as watched; beyond that it is all
)

// sender says who sent a message.
type sender struct {
	Version int    `json:"v"`
	Node    string `json:"node"`
	Run     string `json:"run"` // another for each start of the node
}

// message is an event between nodes. On the subject of a room the room is not
// said again.
type message struct {
	sender
	// Seq counts the messages of the node to this subject: a hole says that some
	// were lost.
	Seq     uint64          `json:"seq,omitempty"`
	Room    string          `json:"room,omitempty"`
	Meeting string          `json:"meeting,omitempty"`
	Type    string          `json:"type"`
	Number  int64           `json:"number,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// announcement tells which rooms are watched at a node.
type announcement struct {
	sender
	Seq    uint64   `json:"seq"`
	Missed uint64   `json:"missed"` // how often the node could not send what it had to
	Rooms  []string `json:"rooms"`
	All    bool     `json:"all,omitempty"` // more than it names
	Bye    bool     `json:"bye,omitempty"` // it is shutting down
}

// errUnknown is returned for what a node of another version may have sent.
var errUnknown = errors.New("a message of an unknown version or type")

// encode writes an event. The words of a final stay behind: they are in the
// store, which whoever gets the event reads.
func encode(from sender, seq uint64, room string, e meeting.Event) ([]byte, error) {
	m := message{sender: from, Seq: seq, Room: room, Meeting: e.Meeting, Type: e.Type, Number: e.Number}
	if e.Data != nil && e.Number == 0 {
		var err error
		if m.Data, err = json.Marshal(e.Data); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(m)
	if err == nil && len(b) > maxMessage {
		return json.Marshal(message{sender: from, Seq: seq, Room: room, Type: meeting.EventMissed})
	}
	return b, err
}

// decode reads a message of another node, which may hold anything.
func decode(b []byte) (m message, e meeting.Event, err error) {
	if len(b) > maxMessage {
		return m, e, fmt.Errorf("a message of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, e, err
	}
	if err := m.check(); err != nil {
		return m, e, err
	}
	e = meeting.Event{Room: m.Room, Meeting: m.Meeting, Type: m.Type, Number: m.Number}
	if m.Type != meeting.EventMissed && m.Type != meeting.EventMoving {
		if _, err := ulid.ParseStrict(m.Meeting); err != nil {
			return m, e, fmt.Errorf("meeting: %w", err)
		}
	}
	switch m.Type {
	case meeting.EventMissed, meeting.EventState:
	case meeting.EventCaption:
		if m.Number == 0 {
			err = caption(m, &e)
		}
	case meeting.EventJoined, meeting.EventLeft:
		err = take(m.Data, &e, func(d meeting.Presence) bool {
			return d.Meeting == m.Meeting && meeting.ValidParticipant(d.Participant.ID)
		})
	case meeting.EventCoverage:
		err = take(m.Data, &e, func(d meeting.Progress) bool { return d.Meeting == m.Meeting })
	case meeting.EventEnded:
		err = take(m.Data, &e, func(d meeting.Ended) bool {
			return d.Meeting == m.Meeting &&
				(d.State == meeting.StateEnded || d.State == meeting.StateComplete || d.State == meeting.StateIncomplete)
		})
	case meeting.EventMoving:
		err = take(m.Data, &e, func(d meeting.Moving) bool { return d.WithinMS >= 0 && d.Participants != nil })
	case meeting.EventErased:
		err = take(m.Data, &e, func(d meeting.Erased) bool { return d.Meeting == m.Meeting })
	default:
		err = errUnknown
	}
	return m, e, err
}

func (s sender) check() error {
	switch {
	case s.Version != version:
		return errUnknown
	case s.Node == "" || len(s.Node) > maxNode || s.Run == "" || len(s.Run) > maxNode:
		return errors.New("a message of nobody")
	}
	return nil
}

func caption(m message, e *meeting.Event) error {
	return take(m.Data, e, func(d transcript.Segment) bool {
		// Also what takes an interim back is final, and not stored.
		return d.Meeting == m.Meeting && strings.HasPrefix(d.ID, d.Track+".") && meeting.ValidParticipant(d.Participant.ID)
	})
}

// take reads the Data of an event.
func take[T any](raw json.RawMessage, e *meeting.Event, ok func(T) bool) error {
	var d T
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	if !ok(d) {
		return fmt.Errorf("what %s tells cannot be", e.Type)
	}
	e.Data = d
	return nil
}

// peer is another node, as its announcements tell of it.
type peer struct {
	node   string
	seen   time.Time
	rooms  map[string]bool
	all    bool
	seq    uint64
	missed uint64
}

func (a announcement) check() error {
	if err := a.sender.check(); err != nil {
		return err
	}
	if len(a.Rooms) > maxRooms {
		return fmt.Errorf("%d rooms are announced", len(a.Rooms))
	}
	for _, room := range a.Rooms {
		if !meeting.ValidRoom(room) {
			return errors.New("what is announced is no room")
		}
	}
	return nil
}
