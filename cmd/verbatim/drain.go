package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"verbatim/pipeline/meeting"
)

// drainFlags say how a shutdown goes, besides --drain.
type drainFlags struct {
	DrainDelay time.Duration `help:"How long a shutdown, after /readyz has begun to answer 503, waits before it asks participants to go elsewhere: what a load balancer needs to notice." default:"0s" group:"Shutting down"`
	DrainMove  time.Duration `help:"How long a shutdown then waits for participants to go to another server. Those who find none are not waited for." default:"5s" group:"Shutting down"`
}

// Check implements checker.
func (d *drainFlags) Check(context.Context) error {
	if d.DrainDelay < 0 || d.DrainMove < 0 {
		return fmt.Errorf("--drain-delay, --drain-move: durations from 0")
	}
	return nil
}

// triesElsewhere is how often somebody who was asked to move comes back here until
// it is taken for the only server that there is.
const triesElsewhere = 3

// moveAway asks those who have a WebRTC session here to open one elsewhere, and
// waits until nobody is left who may, or the time is over. Nobody can ask those
// who do not watch their room's events.
func (s *server) moveAway(ctx context.Context, within time.Duration) {
	if within <= 0 {
		return
	}
	rooms := map[string]meeting.Moving{}
	var asked []meeting.Membership
	for _, m := range s.registry.Members() {
		if s.media.Has(m.Session) && s.bus.Watched(m.Room) {
			asked = append(asked, m)
			e := rooms[m.Room]
			e.WithinMS = within.Milliseconds()
			e.Participants = append(e.Participants, m.Participant.ID)
			rooms[m.Room] = e
		}
	}
	s.moving.Store(true)
	for room, e := range rooms {
		slices.Sort(e.Participants)
		s.bus.Publish(meeting.Event{Room: room, Type: meeting.EventMoving, Data: e})
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(asked, s.moves) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// moves reports whether somebody who was asked is still here and may find another
// server.
func (s *server) moves(m meeting.Membership) bool {
	return s.media.Has(m.Session) && s.bus.Watched(m.Room) && s.http.TurnedAway(m.Room, m.Participant.ID) < triesElsewhere
}
