package meeting

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

// ErrNoSession is returned for a session that does not exist, or whose meeting
// has ended.
var ErrNoSession = errors.New("no such session")

// Store keeps meetings and who is in them; pipeline/store has one.
type Store interface {
	// Join returns the meeting with p as its only participant.
	Join(ctx context.Context, room string, p transcript.Participant, newID string, now time.Time) (Meeting, bool, error)
	Leave(ctx context.Context, meeting, participant string, at time.Time) error
	EndMeeting(ctx context.Context, id string, at time.Time) (State, error)
	LiveMeetings(ctx context.Context) ([]Meeting, error)
}

// Config of a Registry.
type Config struct {
	Store   Store
	Publish func(Event)
	// CloseSession ends a media session; it must not call the Registry back
	// before it returns.
	CloseSession func(session string, r audio.Reason) bool
	// Linger is how long an empty room's meeting stays live.
	Linger time.Duration
	// Now is the clock of everything that is stored (default time.Now). It must
	// never run back.
	Now    func() time.Time
	Logger *slog.Logger
}

// Membership is what a session belongs to.
type Membership struct {
	Session     string
	Room        string
	Meeting     string
	StartedAt   time.Time // of the meeting
	Participant transcript.Participant
	JoinedAt    time.Time // of the participant, in the meeting
}

// room is one with a live meeting.
type room struct {
	meeting  Meeting
	sessions map[string]string // participant → its newest session
	emptyAt  time.Time         // when the last one left
}

// Registry knows who is in which meeting by which session. Its methods may be
// called by anyone at any time. Run ends the meetings of empty rooms.
type Registry struct {
	cfg Config

	// mu guards the maps, and is held over calls of the store, so that a join
	// and the end of the same meeting do not pass each other.
	mu       sync.Mutex
	rooms    map[string]*room
	sessions map[string]Membership
}

// NewRegistry makes a registry that knows the store's live meetings: those that
// a server before this one left behind, all empty now.
func NewRegistry(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Registry{cfg: cfg, rooms: map[string]*room{}, sessions: map[string]Membership{}}
	live, err := cfg.Store.LiveMeetings(ctx)
	if err != nil {
		return nil, fmt.Errorf("find live meetings: %w", err)
	}
	now := cfg.Now()
	for _, m := range live {
		for _, p := range m.Participants {
			if p.LeftAt != nil {
				continue
			}
			if err := cfg.Store.Leave(ctx, m.ID, p.ID, now); err != nil {
				return nil, fmt.Errorf("find live meetings: %w", err)
			}
		}
		r.rooms[m.Room] = &room{meeting: m, sessions: map[string]string{}, emptyAt: now}
	}
	return r, nil
}

// newSessionID makes an unguessable id (128 random bits): whoever knows it may
// end the session.
func newSessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Join puts a participant into the room's meeting, beginning one if there is
// none, and gives them a session. A session that they had before is closed as
// replaced.
func (r *Registry) Join(ctx context.Context, roomName string, p transcript.Participant) (Membership, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	m, created, err := r.cfg.Store.Join(ctx, roomName, p, ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String(), now)
	if err != nil {
		return Membership{}, fmt.Errorf("join room %s: %w", roomName, err)
	}
	rm := r.rooms[roomName]
	if rm == nil || rm.meeting.ID != m.ID {
		rm = &room{meeting: m, sessions: map[string]string{}}
		r.rooms[roomName] = rm
	}
	s := Membership{
		Session: newSessionID(), Room: roomName, Meeting: m.ID, StartedAt: m.StartedAt, Participant: p,
	}
	joined := m.Participants[0]
	s.JoinedAt = joined.JoinedAt
	old := rm.sessions[p.ID]
	rm.sessions[p.ID] = s.Session
	r.sessions[s.Session] = s
	if created {
		r.cfg.Logger.Info("meeting started", "room", roomName, "meeting", m.ID)
		r.publish(rm, EventState, nil)
	}
	if old != "" {
		r.cfg.CloseSession(old, audio.ReasonReplaced)
	}
	if old == "" {
		r.publish(rm, EventJoined, Presence{Meeting: m.ID, Participant: joined})
	}
	return s, nil
}

// Session is what a session belongs to, while its meeting is live.
func (r *Registry) Session(id string) (Membership, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[id]
	if rm := r.rooms[s.Room]; !ok || rm == nil || rm.meeting.ID != s.Meeting {
		return Membership{}, ErrNoSession
	}
	return s, nil
}

// Current reports whether a session is its participant's newest, in a meeting
// that is live.
func (r *Registry) Current(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	rm := r.rooms[s.Room]
	return rm != nil && rm.meeting.ID == s.Meeting && rm.sessions[s.Participant.ID] == id
}

// SessionClosed says that a session is over. Its participant has left, unless
// they have a newer one.
func (r *Registry) SessionClosed(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[id]
	if !ok {
		return nil
	}
	delete(r.sessions, id)
	rm := r.rooms[s.Room]
	current := rm != nil && rm.meeting.ID == s.Meeting
	if current && rm.sessions[s.Participant.ID] != id {
		return nil
	}
	now := r.cfg.Now()
	if current { // whatever the store says: a session that is over keeps no meeting alive
		delete(rm.sessions, s.Participant.ID)
		if len(rm.sessions) == 0 {
			rm.emptyAt = now
		}
	}
	err := r.cfg.Store.Leave(ctx, s.Meeting, s.Participant.ID, now)
	if !current && errors.Is(err, ErrNotFound) {
		return nil // the meeting was erased
	}
	if err != nil {
		return fmt.Errorf("leave room %s: %w", s.Room, err)
	}
	if !current {
		return nil // the meeting has ended, and that was told
	}
	r.publish(rm, EventLeft, Presence{
		Meeting:     s.Meeting,
		Participant: Participant{ID: s.Participant.ID, Name: s.Participant.Name, JoinedAt: s.JoinedAt, LeftAt: &now},
	})
	return nil
}

// End ends a meeting and closes its sessions. Ending one that is not live
// changes nothing; the state is that after the call.
func (r *Registry) End(ctx context.Context, id string) (State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rm := range r.rooms {
		if rm.meeting.ID == id {
			return r.end(ctx, rm)
		}
	}
	return r.cfg.Store.EndMeeting(ctx, id, r.cfg.Now())
}

// end is End for a live meeting, with r.mu held.
func (r *Registry) end(ctx context.Context, rm *room) (State, error) {
	st, err := r.cfg.Store.EndMeeting(ctx, rm.meeting.ID, r.cfg.Now())
	if err != nil {
		return "", fmt.Errorf("end a meeting: %w", err)
	}
	delete(r.rooms, rm.meeting.Room)
	for _, session := range rm.sessions {
		r.cfg.CloseSession(session, audio.ReasonServer)
	}
	r.cfg.Logger.Info("meeting ended", "room", rm.meeting.Room, "meeting", rm.meeting.ID, "state", st)
	r.publish(rm, EventEnded, Ended{Meeting: rm.meeting.ID, State: st})
	return st, nil
}

// Run ends meetings whose room stayed empty for the time to linger, until ctx
// ends.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(max(min(r.cfg.Linger/4, time.Second), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.expire(ctx, r.cfg.Now())
		}
	}
}

func (r *Registry) expire(ctx context.Context, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rm := range r.rooms {
		if len(rm.sessions) > 0 || now.Sub(rm.emptyAt) < r.cfg.Linger {
			continue
		}
		if _, err := r.end(ctx, rm); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Error("an empty meeting could not be ended; trying again", "meeting", rm.meeting.ID, "err", err)
		}
	}
}

func (r *Registry) publish(rm *room, kind string, data any) {
	r.cfg.Publish(Event{Room: rm.meeting.Room, Meeting: rm.meeting.ID, Type: kind, Data: data})
}
