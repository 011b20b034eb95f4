package events

import (
	"testing"

	"verbatim/pipeline/meeting"
)

func TestOnlyTheRoomHears(t *testing.T) {
	var h Hub
	a, stopA := h.Subscribe("a")
	b, stopB := h.Subscribe("b")
	defer stopB()
	h.Publish(meeting.Event{Room: "a", Number: 1})
	h.Publish(meeting.Event{Room: "a", Number: 2})
	for want := range int64(2) {
		if e := <-a; e.Number != want+1 {
			t.Errorf("event %d, want %d", e.Number, want+1)
		}
	}
	if len(b) != 0 {
		t.Error("another room heard it")
	}
	if !h.Watched("a") || h.Watched("c") {
		t.Error("a is watched, and c is not")
	}
	stopA()
	if h.Watched("a") {
		t.Error("nobody watches a any more")
	}
	stopA() // twice is once
	if _, ok := <-a; ok {
		t.Error("not closed by cancel")
	}
	h.Publish(meeting.Event{Room: "a"})
}

func TestSlowSubscribersAreCutOff(t *testing.T) {
	var h Hub
	slow, _ := h.Subscribe("r")
	for range backlog + 1 {
		h.Publish(meeting.Event{Room: "r"})
	}
	n := 0
	for range slow {
		n++
	}
	if n != backlog {
		t.Errorf("%d events before the cut, want %d", n, backlog)
	}
	if len(h.rooms) != 0 {
		t.Error("the room is still remembered")
	}
}

func TestClose(t *testing.T) {
	var h Hub
	c, stop := h.Subscribe("r")
	h.Close()
	if _, ok := <-c; ok {
		t.Error("not closed")
	}
	stop()
	if c, _ := h.Subscribe("r"); c != nil {
		if _, ok := <-c; ok {
			t.Error("a subscription after Close is open")
		}
	}
}
