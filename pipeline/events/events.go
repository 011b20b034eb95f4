// Package events carries what happens in meetings to whoever watches: a Hub
// within one process, a Link from hub to hub over NATS. It keeps nothing: what
// must not be missed is read from the store, and an event only tells that there
// is something to read. So a message that NATS loses costs delay and nothing
// else; Link says how much.
package events

import (
	"sync"

	"verbatim/pipeline/meeting"
)

// backlog is how many events a subscriber may lag behind before it is cut off:
// about ten seconds of a lively room.
const backlog = 256

// Hub hands events to subscribers by room. The zero value is ready; it has no
// goroutine.
type Hub struct {
	mu     sync.Mutex // guards all, and that no channel is sent to once closed
	rooms  map[string]map[chan meeting.Event]struct{}
	closed bool
	stats  Stats
	// changed is told, with mu held, that another set of rooms is watched. It must
	// not wait. It is set before the first Subscribe.
	changed func()
}

// Stats are the numbers of a Hub.
type Stats struct {
	Subscribers int    // now
	CutOff      uint64 // because they were too slow, since the start
}

// Stats may be called at any time.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// Publish hands e to all subscribers of its room, in the order of the calls. It
// never waits: a subscriber that has fallen too far behind is cut off, which
// closes its channel; it can subscribe again and read what it missed from the
// store.
func (h *Hub) Publish(e meeting.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.rooms[e.Room] {
		select {
		case c <- e:
		default:
			h.drop(e.Room, c)
			h.stats.CutOff++
		}
	}
}

// Subscribe gives the events of a room from now on, until cancel is called or
// the channel is closed: by Close, or because the subscriber was too slow.
func (h *Hub) Subscribe(room string) (events <-chan meeting.Event, cancel func()) {
	c := make(chan meeting.Event, backlog)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(c)
		return c, func() {}
	}
	if h.rooms == nil {
		h.rooms = map[string]map[chan meeting.Event]struct{}{}
	}
	if h.rooms[room] == nil {
		h.rooms[room] = map[chan meeting.Event]struct{}{}
		h.tellChanged()
	}
	h.rooms[room][c] = struct{}{}
	h.stats.Subscribers++
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(room, c)
	}
}

// Watched reports whether a room has subscribers.
func (h *Hub) Watched(room string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms[room]) > 0
}

// Close ends all subscriptions, and those to come.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for room, subs := range h.rooms {
		for c := range subs {
			h.drop(room, c)
		}
	}
}

// drop ends one subscription, with h.mu held.
func (h *Hub) drop(room string, c chan meeting.Event) {
	if _, ok := h.rooms[room][c]; !ok {
		return
	}
	delete(h.rooms[room], c)
	close(c)
	h.stats.Subscribers--
	if len(h.rooms[room]) == 0 {
		delete(h.rooms, room)
		h.tellChanged()
	}
}

// tellChanged is called with h.mu held.
func (h *Hub) tellChanged() {
	if h.changed != nil {
		h.changed()
	}
}

// watched are the rooms that have subscribers.
func (h *Hub) watched() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make(map[string]bool, len(h.rooms))
	for room := range h.rooms {
		rooms[room] = true
	}
	return rooms
}
