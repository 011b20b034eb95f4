package meeting

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

// ErrNoSession is returned for a session that does not exist, or whose meeting
// has ended.
var ErrNoSession = errors.New("no such session")

// storeTimeout bounds what is asked of the store, and the waiting for others that
// ask: a store that is away costs a join that time, and then an error.
const storeTimeout = 10 * time.Second

// beatEvery is how often a node says that it is alive, and compares what it has with
// what the store has.
const beatEvery = 5 * time.Second

// Store keeps meetings and who is in them, for all nodes; pipeline/store has one.
type Store interface {
	// Join returns the meeting with p as its only participant.
	Join(ctx context.Context, room string, p transcript.Participant, session, newID string, now time.Time) (Meeting, bool, error)
	// Leave returns ErrMoved if the participant has a newer session, on any node.
	Leave(ctx context.Context, meeting, participant, session string, at time.Time) error
	Meeting(ctx context.Context, id string) (Meeting, error)
	EndMeeting(ctx context.Context, id string, at time.Time) (State, error)
	// EndEmpty ends the meetings that the last one left at or before that time.
	EndEmpty(ctx context.Context, before, at time.Time) ([]Ended, error)
	// Beat says that this node is alive, and finds those that are not.
	Beat(ctx context.Context, at time.Time) (Beat, error)
	// Seats are the participants of live meetings whose newest session is this
	// node's. Those that are taken for gone, but are open, are back.
	Seats(ctx context.Context, open map[string]bool, now time.Time) ([]Seat, error)
}

// Seat is a participant in a live meeting, by a session.
type Seat struct {
	Room, Meeting string
	Participant   Participant
	Session       string // its key
	Back          bool   // it had been taken for gone
}

// Beat is what a node's saying that it is alive has shown.
type Beat struct {
	Dead  bool     // this node had been declared dead
	Nodes []string // those that are declared dead now
	Left  []Seat   // who has left with them
	Ended []Ended  // meetings that were completed by giving up a node, and of which nobody was told
}

// SessionKey is what a store knows a session by. Whoever knows a session's id may end
// it, so that stands nowhere.
func SessionKey(session string) string {
	sum := sha256.Sum256([]byte(session))
	return hex.EncodeToString(sum[:16])
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

// room is one with sessions of this node in a live meeting.
type room struct {
	meeting  Meeting
	sessions map[string]string // participant → its newest session
}

// Registry knows who is in which meeting by which session of this node. What other
// nodes have is in the store: it learns of it when it looks there, every five seconds
// or when Wake says so. Its methods may be called by anyone at any time. Run ends the
// meetings of empty rooms.
type Registry struct {
	cfg     Config
	began   time.Time
	changed chan struct{} // of Run: look at once; capacity 1
	failing bool          // Run's: the last look failed

	// busy is held over calls of the store and what follows from them, so that a join
	// and the end of the same meeting do not pass each other; capacity 1. It is taken
	// before mu.
	busy chan struct{}

	mu       sync.Mutex // guards the maps
	rooms    map[string]*room
	sessions map[string]Membership
}

// NewRegistry makes a registry. Whoever is in a meeting by a session of an earlier
// process of this node has left.
func NewRegistry(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Registry{
		cfg: cfg, began: cfg.Now(), changed: make(chan struct{}, 1), busy: make(chan struct{}, 1),
		rooms: map[string]*room{}, sessions: map[string]Membership{},
	}
	seats, err := cfg.Store.Seats(ctx, nil, r.began)
	for _, seat := range seats {
		if err == nil && seat.Participant.LeftAt == nil {
			err = cfg.Store.Leave(ctx, seat.Meeting, seat.Participant.ID, seat.Session, r.began)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find live meetings: %w", err)
	}
	return r, nil
}

// enter waits for its turn with the store; exit ends that.
func (r *Registry) enter(ctx context.Context) error {
	select {
	case r.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Registry) exit() { <-r.busy }

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
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return Membership{}, fmt.Errorf("join room %s: %w", roomName, err)
	}
	defer r.exit()
	now, session := r.cfg.Now(), newSessionID()
	newID := ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String()
	m, created, err := r.cfg.Store.Join(ctx, roomName, p, SessionKey(session), newID, now)
	if err != nil {
		r.Wake() // it may be stored nevertheless
		return Membership{}, fmt.Errorf("join room %s: %w", roomName, err)
	}
	joined := m.Participants[0]
	s := Membership{
		Session: session, Room: roomName, Meeting: m.ID, StartedAt: m.StartedAt, Participant: p, JoinedAt: joined.JoinedAt,
	}
	old := r.add(s, m)
	if created {
		r.cfg.Logger.Info("meeting started", "room", roomName, "meeting", m.ID)
		r.publish(roomName, m.ID, EventState, nil)
	}
	if old != "" {
		r.cfg.CloseSession(old, audio.ReasonReplaced)
	} else {
		r.publish(roomName, m.ID, EventJoined, Presence{Meeting: m.ID, Participant: joined})
	}
	return s, nil
}

// add notes a session and returns the one that it replaces, "" if there is none.
func (r *Registry) add(s Membership, m Meeting) (old string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rm := r.rooms[s.Room]
	if rm == nil || rm.meeting.ID != m.ID {
		rm = &room{meeting: m, sessions: map[string]string{}}
		r.rooms[s.Room] = rm
	}
	old = rm.sessions[s.Participant.ID]
	rm.sessions[s.Participant.ID] = s.Session
	r.sessions[s.Session] = s
	return old
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

// Members are the participants' newest sessions, in meetings that are live.
func (r *Registry) Members() (all []Membership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rm := range r.rooms {
		for _, session := range rm.sessions {
			all = append(all, r.sessions[session])
		}
	}
	return all
}

// SessionClosed says that a session is over. Its participant has left, unless
// they have a newer one.
func (r *Registry) SessionClosed(ctx context.Context, id string) error {
	// Whatever the store says: a session that is over keeps no meeting alive.
	s, current, newest := r.remove(id)
	if !newest {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := r.enter(ctx)
	if err == nil {
		defer r.exit()
		err = r.left(ctx, Seat{
			Room: s.Room, Meeting: s.Meeting, Session: SessionKey(id),
			Participant: Participant{ID: s.Participant.ID, Name: s.Participant.Name, JoinedAt: s.JoinedAt},
		}, current)
	}
	if !current && errors.Is(err, ErrNotFound) {
		return nil // the meeting was erased
	}
	if err != nil {
		return fmt.Errorf("leave room %s: %w", s.Room, err) // check tries again
	}
	return nil
}

// remove forgets a session. current says that its meeting goes on as far as this node
// knows, newest that its participant has no newer session here.
func (r *Registry) remove(id string) (s Membership, current, newest bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[id]
	if !ok {
		return s, false, false
	}
	delete(r.sessions, id)
	rm := r.rooms[s.Room]
	if rm == nil || rm.meeting.ID != s.Meeting {
		return s, false, true
	}
	if rm.sessions[s.Participant.ID] != id {
		return s, true, false
	}
	delete(rm.sessions, s.Participant.ID)
	if len(rm.sessions) == 0 {
		delete(r.rooms, s.Room)
	}
	return s, true, true
}

// left stores that a participant has left, and tells of it if their meeting goes on.
func (r *Registry) left(ctx context.Context, seat Seat, tell bool) error {
	now := r.cfg.Now()
	err := r.cfg.Store.Leave(ctx, seat.Meeting, seat.Participant.ID, seat.Session, now)
	if errors.Is(err, ErrMoved) {
		return nil // they are in by another node
	}
	if err != nil || !tell {
		return err // or the meeting has ended, and that was told
	}
	seat.Participant.LeftAt = &now
	r.publish(seat.Room, seat.Meeting, EventLeft, Presence{Meeting: seat.Meeting, Participant: seat.Participant})
	return nil
}

// End ends a meeting and closes its sessions; other nodes close theirs when they hear
// of it. Ending one that is not live changes nothing; the state is that after the call.
func (r *Registry) End(ctx context.Context, id string) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return "", fmt.Errorf("end a meeting: %w", err)
	}
	defer r.exit()
	m, err := r.cfg.Store.Meeting(ctx, id)
	if err != nil {
		return "", fmt.Errorf("end a meeting: %w", err)
	}
	st, err := r.cfg.Store.EndMeeting(ctx, id, r.cfg.Now())
	if err != nil {
		return "", fmt.Errorf("end a meeting: %w", err)
	}
	if m.State == StateLive {
		r.ended(Ended{Meeting: id, Room: m.Room, State: st})
	}
	return st, nil
}

// ended says that a meeting was ended by this node.
func (r *Registry) ended(e Ended) {
	r.over(e.Room, e.Meeting)
	r.cfg.Logger.Info("meeting ended", "room", e.Room, "meeting", e.Meeting, "state", e.State)
	r.publish(e.Room, e.Meeting, EventEnded, e)
}

// over forgets a meeting and closes its sessions.
func (r *Registry) over(roomName, id string) {
	r.mu.Lock()
	var sessions []string
	if rm := r.rooms[roomName]; rm != nil && rm.meeting.ID == id {
		delete(r.rooms, roomName)
		sessions = slices.Collect(maps.Values(rm.sessions))
	}
	r.mu.Unlock()
	for _, s := range sessions {
		r.cfg.CloseSession(s, audio.ReasonServer)
	}
}

// Wake says that another node may have changed something that this one has sessions
// in: ended a meeting, let one of its participants in. It does not block.
func (r *Registry) Wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Run ends meetings whose room stayed empty for the time to linger, and keeps this
// node and the store of one mind, until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(max(min(r.cfg.Linger/4, time.Second), 10*time.Millisecond))
	defer tick.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err = r.expire(ctx)
		case <-beat.C:
			err = r.check(ctx)
		case <-r.changed:
			err = r.check(ctx)
		}
		if err != nil && !r.failing && ctx.Err() == nil {
			r.cfg.Logger.Error("meetings cannot be looked after; trying again", "err", err)
		}
		r.failing = err != nil
	}
}

// expire ends the meetings of empty rooms. After a start those who were cut off have
// the time to come back, too.
func (r *Registry) expire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := r.cfg.Now()
	if now.Sub(r.began) < r.cfg.Linger {
		return nil
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.exit()
	ended, err := r.cfg.Store.EndEmpty(ctx, now.Add(-r.cfg.Linger), now)
	for _, e := range ended {
		r.ended(e)
	}
	return err
}

// check says that this node is alive, and makes good what it and the store do not
// agree about: an event that was lost, a leaving that was not stored, a node that was
// taken for dead.
func (r *Registry) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.exit()
	b, err := r.cfg.Store.Beat(ctx, r.cfg.Now())
	if b.Dead {
		r.cfg.Logger.Warn("this node was taken for dead by others; its participants are back")
	}
	for _, node := range b.Nodes {
		r.cfg.Logger.Warn("a node is taken for dead; its tracks are pending until it comes back", "node", node)
	}
	for _, e := range b.Ended {
		r.cfg.Logger.Info("a meeting is complete, as a node was given up", "room", e.Room, "meeting", e.Meeting, "state", e.State)
		r.publish(e.Room, e.Meeting, EventEnded, e)
	}
	for _, seat := range b.Left {
		r.publish(seat.Room, seat.Meeting, EventLeft, Presence{Meeting: seat.Meeting, Participant: seat.Participant})
	}
	if err != nil {
		return err
	}
	open, keys := r.open()
	seats, err := r.cfg.Store.Seats(ctx, keys, r.cfg.Now())
	if err != nil {
		return err
	}
	for _, seat := range seats {
		_, ours := open[seat.Session]
		switch {
		case seat.Back:
			r.publish(seat.Room, seat.Meeting, EventJoined, Presence{Meeting: seat.Meeting, Participant: seat.Participant})
		case !ours && seat.Participant.LeftAt == nil:
			err = errors.Join(err, r.left(ctx, seat, true))
		}
		delete(open, seat.Session)
	}
	for _, s := range open {
		err = errors.Join(err, r.stale(ctx, s))
	}
	return err
}

// open are the newest sessions of participants here, by their keys.
func (r *Registry) open() (open map[string]Membership, keys map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open, keys = map[string]Membership{}, map[string]bool{}
	for _, rm := range r.rooms {
		for _, id := range rm.sessions {
			key := SessionKey(id)
			open[key], keys[key] = r.sessions[id], true
		}
	}
	return open, keys
}

// stale closes a session that the store knows no more as its participant's: they are
// in by another node, or the meeting is over.
func (r *Registry) stale(ctx context.Context, s Membership) error {
	m, err := r.cfg.Store.Meeting(ctx, s.Meeting)
	gone := errors.Is(err, ErrNotFound)
	if err != nil && !gone {
		return err
	}
	if gone || m.State != StateLive {
		r.over(s.Room, s.Meeting)
		return nil
	}
	r.mu.Lock()
	if rm := r.rooms[s.Room]; rm != nil && rm.sessions[s.Participant.ID] == s.Session {
		delete(rm.sessions, s.Participant.ID) // so that its closing is no leaving
		if len(rm.sessions) == 0 {
			delete(r.rooms, s.Room)
		}
	}
	r.mu.Unlock()
	r.cfg.CloseSession(s.Session, audio.ReasonReplaced)
	return nil
}

func (r *Registry) publish(roomName, meetingID, kind string, data any) {
	r.cfg.Publish(Event{Room: roomName, Meeting: meetingID, Type: kind, Data: data})
}
