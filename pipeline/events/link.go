package events

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"verbatim/pipeline/meeting"
)

const (
	queued        = 4096 // messages that wait to be sent, and that wait to be taken
	queuedControl = 1024
	maxPeers      = 256
	maxCounted    = 4096 // rooms whose messages are counted

	announceEvery = 2 * time.Second
	// A node that has not been heard for that long is silent: it may publish what
	// does not get here. One that is silent for forgetAfter is taken to be gone.
	silentAfter = 3 * announceEvery
	forgetAfter = time.Hour
	// lookEvery is how often the store is looked at for each watched room while
	// NATS, or a node, is away.
	lookEvery   = 2 * time.Second
	lookTimeout = 5 * time.Second
	// settle is how long after its subscription a room is looked at once more: the
	// other servers of a cluster learn of it a little later than ours.
	settle    = time.Second
	tickEvery = 500 * time.Millisecond
	byeWait   = time.Second
)

// LinkConfig is what a Link needs; it owns nothing of it but Conn.
type LinkConfig struct {
	Hub  *Hub
	Conn *nats.Conn // made with NoEcho; Run closes it
	Node string     // this node's name, at most 128 bytes
	// Prefix is the first word of all subjects.
	Prefix string
	// Mark changes whenever there is something new to read of a room. It is asked
	// for watched rooms only, and not while everything is well.
	Mark func(ctx context.Context, room string) (string, error)
	// OnRemote is told, one event after the other, of all rooms' EventJoined,
	// EventState, EventEnded and EventErased of other nodes. Each comes at most
	// once, those of one node in their order. While it works the next ones wait; if
	// too many do, OnMissed is called. Nil: nobody.
	OnRemote func(e meeting.Event, node string)
	// OnMissed is told that events for OnRemote may have been missed: what there is
	// to know is in the store. While NATS is away that is every 2 s. It must not
	// wait, and may be called while OnRemote works. Nil: nobody.
	OnMissed func()
	Logger   *slog.Logger
}

// Link joins a Hub to those of other nodes over NATS. NewLink makes it, Run runs
// it; all other methods may be called at any time.
//
// # What is promised
//
// Events of one node come in their order, at most once, and its own never come
// back to it. NATS may lose some (a server dies, a buffer is full). Then those
// who watch are told to look into the store (meeting.EventMissed):
//
//   - within a second when our own connection was lost and is back, or the NATS
//     client dropped something;
//   - with the next message of that node to the room, or its next announcement
//     (every 2 s) when that node's connection was lost, or a message on the way;
//   - every 2 s while NATS is away, or while a node that was there is silent.
//
// # Subjects
//
//   - <prefix>.events.<room>: all events of a room. A node subscribes to the rooms
//     that are watched at it.
//   - <prefix>.control: what registries have to know, of all rooms.
//   - <prefix>.watch: which rooms a node watches, every 2 s and on change. Captions
//     that are not final and accounts are sent only if another node watches.
//
// # Goroutines
//
// Run has four: one sends, one takes events and announcements, one takes control
// messages, and one keeps subscriptions and peers and looks into the store.
type Link struct {
	cfg  LinkConfig
	self sender

	out     chan outgoing
	in      chan *nats.Msg // of rooms
	watch   chan *nats.Msg
	control chan *nats.Msg

	wake   chan struct{} // of tend; capacity 1
	looked atomic.Bool   // false: everything has to be looked at
	missed atomic.Uint64 // how often something could not be sent

	mu    sync.Mutex       // guards what follows
	peers map[string]*peer // by node and run
	stats LinkStats

	// rooms are the ones that tend has subscribed to; heard counts what was taken
	// of them. Both are its own but for heard, which belongs to receive.
	rooms map[string]*subscription
	heard *lru.Cache[string, uint64]
}

type outgoing struct {
	subject string
	room    string // in the message, of control
	e       meeting.Event
}

// subscription is one that is made, of a room.
type subscription struct {
	sub     *nats.Subscription
	lookAt  time.Time // zero: it was looked at since
	mark    string
	marked  bool
	dropped int
}

// LinkStats are the numbers of a Link, since the start where nothing else is said.
type LinkStats struct {
	Connected bool   // now
	Peers     int    // that are heard now
	Rooms     int    // that are subscribed to now
	Sent      uint64 // messages
	Received  uint64
	Unsent    uint64 // that could not be sent
	Dropped   uint64 // by the client, because they came faster than they were taken
	Ignored   uint64 // of an unknown version or type
	Refused   uint64 // that could not be read
	Looks     uint64 // at the store for one room, because events may have been missed
}

// NewLink makes a link; it starts nothing but hears which rooms of the hub are
// watched from now on, so it comes before the hub's first subscriber.
func NewLink(cfg LinkConfig) *Link {
	l := &Link{
		cfg: cfg, self: sender{Version: version, Node: cfg.Node, Run: ulid.Make().String()},
		out: make(chan outgoing, queued), in: make(chan *nats.Msg, queued),
		watch: make(chan *nats.Msg, queuedControl), control: make(chan *nats.Msg, queuedControl),
		wake: make(chan struct{}, 1), peers: map[string]*peer{}, rooms: map[string]*subscription{},
	}
	l.looked.Store(true)
	l.heard, _ = lru.New[string, uint64](maxCounted) // fails only for a size that is none
	cfg.Hub.changed = l.stir
	cfg.Conn.SetReconnectHandler(func(*nats.Conn) { l.lost() })
	return l
}

// stir makes tend look around; it does not wait.
func (l *Link) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// look makes tend look into the store for every watched room.
func (l *Link) look() {
	l.looked.Store(false)
	l.stir()
}

// lost says that the connection was: nothing may have come, or gone out.
func (l *Link) lost() {
	l.missed.Add(1)
	l.look()
}

// Publish hands e to the hub's subscribers and to other nodes. It never waits:
// what cannot be sent is noticed by the others, and found in the store.
func (l *Link) Publish(e meeting.Event) {
	l.cfg.Hub.Publish(e)
	if !meeting.ValidRoom(e.Room) {
		return
	}
	switch e.Type {
	case meeting.EventMissed:
		return
	case meeting.EventCaption, meeting.EventCoverage:
		if e.Number == 0 && !l.watchedElsewhere(e.Room) {
			return
		}
	case meeting.EventState, meeting.EventJoined, meeting.EventEnded, meeting.EventErased:
		l.queue(outgoing{subject: l.subject("control"), room: e.Room, e: e})
	}
	l.queue(outgoing{subject: l.subject("events", e.Room), e: e})
}

func (l *Link) queue(o outgoing) {
	select {
	case l.out <- o:
	default:
		l.unsent()
	}
}

func (l *Link) unsent() {
	l.missed.Add(1)
	l.count(func(s *LinkStats) { s.Unsent++ })
}

func (l *Link) subject(words ...string) string {
	return l.cfg.Prefix + "." + strings.Join(words, ".")
}

// Watched reports whether a room has subscribers, at this node or another.
func (l *Link) Watched(room string) bool {
	return l.cfg.Hub.Watched(room) || l.watchedElsewhere(room)
}

func (l *Link) watchedElsewhere(room string) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.peers {
		if (p.all || p.rooms[room]) && now.Sub(p.seen) < silentAfter {
			return true
		}
	}
	return false
}

// Stats may be called at any time.
func (l *Link) Stats() LinkStats {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Connected = l.cfg.Conn.IsConnected()
	for _, p := range l.peers {
		if now.Sub(p.seen) < silentAfter {
			s.Peers++
		}
	}
	return s
}

func (l *Link) count(f func(*LinkStats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.stats)
}

// Run works until ctx ends; then it says good-bye and closes the connection. Only
// one can run.
func (l *Link) Run(ctx context.Context) error {
	closed := make(chan struct{})
	l.cfg.Conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	defer func() {
		l.cfg.Conn.Close()
		<-closed
	}()
	for subject, c := range map[string]chan *nats.Msg{"control": l.control, "watch": l.watch} {
		if _, err := l.cfg.Conn.ChanSubscribe(l.subject(subject), c); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.send(ctx) })
	wg.Go(func() { l.receive(ctx) })
	wg.Go(func() { l.obey(ctx) })
	l.tend(ctx)
	wg.Wait()
	return ctx.Err()
}

// send sends what is queued; when ctx ends, what is left of it.
func (l *Link) send(ctx context.Context) {
	seqs, _ := lru.New[string, uint64](maxCounted) // of the last message, by subject
	for {
		select {
		case o := <-l.out:
			l.transmit(seqs, o)
		case <-ctx.Done():
			for {
				select {
				case o := <-l.out:
					l.transmit(seqs, o)
					continue
				default:
				}
				l.bye()
				return
			}
		}
	}
}

func (l *Link) transmit(seqs *lru.Cache[string, uint64], o outgoing) {
	seq, _ := seqs.Get(o.subject)
	seq++
	b, err := encode(l.self, seq, o.room, o.e)
	if err != nil {
		l.cfg.Logger.Error("an event cannot be written", "type", o.e.Type, "err", err)
		return
	}
	seqs.Add(o.subject, seq) // also if it cannot be sent: the hole tells
	if err := l.cfg.Conn.Publish(o.subject, b); err != nil {
		l.unsent()
		return
	}
	l.count(func(s *LinkStats) { s.Sent++ })
}

func (l *Link) bye() {
	if l.cfg.Conn.IsConnected() {
		l.announce(announcement{sender: l.self, Bye: true})
		_ = l.cfg.Conn.FlushTimeout(byeWait) // others notice our silence else
	}
}

func (l *Link) announce(a announcement) {
	b, err := json.Marshal(a)
	if err == nil {
		err = l.cfg.Conn.Publish(l.subject("watch"), b)
	}
	if err != nil {
		l.missed.Add(1)
	}
}

// receive takes what comes of the rooms that are watched, and the announcements.
func (l *Link) receive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-l.in:
			l.take(msg)
		case msg := <-l.watch:
			l.hear(msg.Data, time.Now())
		}
	}
}

// take hands one message to the hub.
func (l *Link) take(msg *nats.Msg) {
	m, e, ok := l.read(msg)
	if !ok {
		return
	}
	e.Room = strings.TrimPrefix(msg.Subject, l.subject("events", ""))
	if !meeting.ValidRoom(e.Room) {
		l.count(func(s *LinkStats) { s.Refused++ })
		return
	}
	if l.hole(msg.Subject, m) {
		l.cfg.Hub.Publish(meeting.Event{Room: e.Room, Type: meeting.EventMissed})
	}
	l.cfg.Hub.Publish(e)
}

// hole reports whether messages of a node are missing before m.
func (l *Link) hole(subject string, m message) bool {
	key := subject + " " + m.Node + " " + m.Run
	last, known := l.heard.Get(key)
	l.heard.Add(key, m.Seq)
	return known && m.Seq != last+1
}

// read decodes and counts a message.
func (l *Link) read(msg *nats.Msg) (m message, e meeting.Event, ok bool) {
	m, e, err := decode(msg.Data)
	if err == nil && m.Run == l.self.Run {
		return m, e, false // our own, over a connection that echoes
	}
	l.count(func(s *LinkStats) {
		switch {
		case err == nil:
			s.Received++
		case errors.Is(err, errUnknown):
			s.Ignored++
		default:
			s.Refused++
		}
	})
	return m, e, err == nil
}

// hear takes an announcement.
func (l *Link) hear(b []byte, now time.Time) {
	var a announcement
	err := errors.New("an announcement that is too long")
	if len(b) <= maxMessage {
		err = json.Unmarshal(b, &a)
	}
	if err == nil {
		err = a.check()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := a.Node + " " + a.Run
	p := l.peers[key]
	switch {
	case errors.Is(err, errUnknown):
		l.stats.Ignored++
		return
	case err != nil, p == nil && len(l.peers) >= maxPeers:
		l.stats.Refused++
		return
	case a.Run == l.self.Run:
		return
	case a.Bye:
		delete(l.peers, key)
		return
	}
	l.stats.Received++
	if p == nil {
		p = &peer{node: a.Node, seq: a.Seq - 1, missed: a.Missed}
		l.peers[key] = p
		l.cfg.Logger.Info("another node is there", "node", a.Node)
		l.look() // what it published before it knew of us; and it is told of us at once
	}
	if p.missed != a.Missed || a.Seq != p.seq+1 {
		l.look()
	}
	p.seen, p.seq, p.missed, p.all = now, a.Seq, a.Missed, a.All
	p.rooms = make(map[string]bool, len(a.Rooms))
	for _, room := range a.Rooms {
		p.rooms[room] = true
	}
}

// obey takes what registries have to know.
func (l *Link) obey(ctx context.Context) {
	seqs, _ := lru.New[string, uint64](maxPeers)
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-l.control:
			m, e, ok := l.read(msg)
			if !ok {
				continue
			}
			if !meeting.ValidRoom(e.Room) {
				l.count(func(s *LinkStats) { s.Refused++ })
				continue
			}
			last, known := seqs.Get(m.Run)
			seqs.Add(m.Run, m.Seq)
			if known && m.Seq != last+1 && l.cfg.OnMissed != nil {
				l.cfg.OnMissed()
			}
			if l.cfg.OnRemote != nil && e.Type != meeting.EventMissed {
				l.cfg.OnRemote(e, m.Node)
			}
		}
	}
}

// tend keeps the subscriptions as the hub's rooms are, announces them, and looks
// into the store when events may have been missed.
func (l *Link) tend(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var seq uint64
	var announced, lookedAt time.Time
	var was bool // connected
	for {
		now := time.Now()
		changed := l.subscribe(now)
		l.watchForDrops()
		is := l.cfg.Conn.IsConnected()
		if is && !was {
			l.lost()
		}
		was = is
		away := !is || l.silence(now)
		all := !l.looked.Swap(true)
		if changed || all || now.Sub(announced) >= announceEvery {
			seq++
			announced = now
			l.announce(l.rollCall(seq))
		}
		for _, s := range l.rooms {
			if all { // and again when the servers know our subscriptions
				s.lookAt = now.Add(settle)
			}
		}
		if all = all || away && now.Sub(lookedAt) >= lookEvery; all {
			lookedAt = now
			if l.cfg.OnMissed != nil {
				l.cfg.OnMissed()
			}
		}
		l.lookAt(ctx, now, all)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wake:
		}
	}
}

// subscribe makes the subscriptions as the hub's rooms are.
func (l *Link) subscribe(now time.Time) (changed bool) {
	want := l.cfg.Hub.watched()
	for room := range want {
		if l.rooms[room] != nil {
			continue
		}
		sub, err := l.cfg.Conn.ChanSubscribe(l.subject("events", room), l.in)
		if err != nil {
			continue // it is tried again with the next tick
		}
		l.rooms[room] = &subscription{sub: sub, lookAt: now.Add(settle)}
		changed = true
	}
	for room, s := range l.rooms {
		if want[room] {
			continue
		}
		l.drops(s)              // nobody can ask later
		_ = s.sub.Unsubscribe() // fails only if the connection is closed
		delete(l.rooms, room)
		changed = true
	}
	if changed {
		l.count(func(s *LinkStats) { s.Rooms = len(l.rooms) })
	}
	return changed
}

func (l *Link) rollCall(seq uint64) announcement {
	a := announcement{sender: l.self, Seq: seq, Missed: l.missed.Load(), Rooms: slices.Collect(maps.Keys(l.rooms))}
	if len(a.Rooms) > maxRooms {
		a.Rooms, a.All = nil, true
	}
	return a
}

// watchForDrops looks whether the client had to drop messages.
func (l *Link) watchForDrops() {
	for _, s := range l.rooms {
		if l.drops(s) {
			s.lookAt = time.Now()
		}
	}
}

// drops counts what the client has dropped of a room since the last call, and reports
// whether it did.
func (l *Link) drops(s *subscription) bool {
	n, err := s.sub.Dropped()
	if err != nil || n == s.dropped {
		return false
	}
	more := uint64(n - s.dropped)
	l.count(func(s *LinkStats) { s.Dropped += more })
	s.dropped = n
	return true
}

// silence reports whether a node that was there is not heard, and forgets those
// that have not been for long.
func (l *Link) silence(now time.Time) (some bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, p := range l.peers {
		silent := now.Sub(p.seen)
		if silent >= forgetAfter {
			delete(l.peers, key)
			continue
		}
		some = some || silent >= silentAfter
	}
	return some
}

// lookAt tells those who watch a room to read what is new of it, if anything is:
// of all rooms, or of those that are due.
func (l *Link) lookAt(ctx context.Context, now time.Time, all bool) {
	for room, s := range l.rooms {
		due := !s.lookAt.IsZero() && !now.Before(s.lookAt)
		if !due && !all {
			continue
		}
		mctx, cancel := context.WithTimeout(ctx, lookTimeout)
		mark, err := l.cfg.Mark(mctx, room)
		cancel()
		if err != nil { // the store is away, too
			s.lookAt = now.Add(lookEvery)
			continue
		}
		if due {
			s.lookAt = time.Time{}
		}
		l.count(func(s *LinkStats) { s.Looks++ })
		if s.marked && s.mark == mark {
			continue
		}
		s.mark, s.marked = mark, true
		l.cfg.Hub.Publish(meeting.Event{Room: room, Type: meeting.EventMissed})
	}
}
