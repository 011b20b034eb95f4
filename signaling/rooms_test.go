package signaling

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// What comes from other nodes names meetings, and whoever can write to NATS may name
// any: those who watch a room get nothing of another room's meetings for that.
func TestEventsOfAnotherRoomsMeeting(t *testing.T) {
	db, hub, front := newFront(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other := &sitting{t: t, ctx: ctx, db: db, publish: func(meeting.Event) {}, room: "board"}
	secret := other.begin("01BOARD", 1)
	other.say(secret, 3)
	ours := &sitting{t: t, ctx: ctx, db: db, publish: hub.Publish, room: "lobby"}
	live := ours.begin("01LOBBY", 1)

	finals, last := 0, false
	ours.stream(front.URL, "", func(kind string, data []byte) bool {
		switch kind {
		case meeting.EventState:
			go func() {
				ended := meeting.Ended{Meeting: secret.id, State: meeting.StateComplete}
				hub.Publish(meeting.Event{Room: "lobby", Meeting: secret.id, Type: meeting.EventCaption, Number: 1})
				hub.Publish(meeting.Event{Room: "lobby", Meeting: secret.id, Type: meeting.EventCaption, Number: 3})
				hub.Publish(meeting.Event{Room: "lobby", Meeting: secret.id, Type: meeting.EventEnded, Data: ended})
				ours.say(live, 1)
			}()
		case meeting.EventCaption:
			var seg transcript.Segment
			ours.must(json.Unmarshal(data, &seg))
			if seg.Meeting == secret.id {
				t.Errorf("a final of another room's meeting: %s", data)
			}
			if seg.Final {
				finals++
			}
			last = seg.Meeting == live.id && seg.Final
		}
		return !last
	})
	if !last || finals != 1 {
		t.Errorf("%d finals came, want the one of the room's own meeting", finals)
	}
}
