//go:build !race

// The race detector makes minutes of what takes seconds; the tests of the real
// program are run with it.

package main

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// Those who meet for two hours. Each does one of the things that browsers,
// clocks and networks do to a receiver.
var meetingOfTwoHours = []struct {
	does string
	ppm  int64
	live func(s *speaker)
}{
	// Its sequence numbers wrap twice, its timestamps at the beginning.
	{"speaks without a break, 300 ppm fast", 300, func(s *speaker) {
		s.join(65500, 1<<32-9000)
		for range 120 {
			s.sound()
			s.talk(minute - 400*ms)
		}
		s.leave()
	}},
	// Its timestamps wrap in the middle.
	{"is silent in DTX, 300 ppm slow", -300, func(s *speaker) {
		s.join(7, 1<<32-60*minute)
		for range 120 {
			s.sound()
			s.hush(50 * second)
			s.talk(minute - 400*ms - 50*second)
		}
		s.leave()
	}},
	{"mutes for minutes", 50, func(s *speaker) {
		s.join(1, 1)
		for range 2 {
			s.sound()
			s.talk(minute)
			s.mute(3 * minute)
		}
		s.sound()
		s.leave()
	}},
	{"takes the microphone off the track", -20, func(s *speaker) {
		s.join(1, 1)
		for _, away := range []int64{minute, 10 * minute, minute} {
			s.sound()
			s.talk(minute)
			s.pause(away)
		}
		s.sound()
		s.leave()
	}},
	{"comes back ten times", 100, comesBack},
	{"begins its numbers anew", 10, func(s *speaker) {
		p := s.joinAsPeer()
		for i := range 12 {
			s.sound()
			s.hush(20 * second)
			s.talk(20 * second)
			switch i % 3 {
			case 0: // another SSRC, and all else with it, after a second
				s.ticks += second
				p.next.SSRC, p.next.SequenceNumber, p.next.Timestamp = 1000+uint32(i), uint16(i), 77
				s.breaks(second)
			case 1: // a jump, which the second packet behind it confirms
				p.next.SequenceNumber += 20000
				p.next.Timestamp -= 5 * minute
				s.breaks(0)
				s.send(hollow, 60*ms, 60*ms)
			case 2: // of the sequence numbers alone: a hole in which no time passes
				p.next.SequenceNumber += 200
			}
		}
		s.sound()
		s.leave()
	}},
	{"loses one packet of twenty", 0, func(s *speaker) {
		s.join(1, 1)
		s.talk(10 * second)
		s.line.set(func(l *line) { l.loss = 0.05 })
		for range 10 {
			s.sound()
			s.talk(30 * second)
			s.hush(30 * second)
		}
		s.line.set(func(l *line) { l.loss = 0 }) // of a last packet that is lost nothing tells
		s.sound()
		s.leave()
	}},
	{"has timestamps out of nowhere", 0, func(s *speaker) {
		s.join(1, 1)
		for _, jump := range []int64{30 * minute, -60 * minute, 22 * 60 * minute, -10 * second} {
			s.sound()
			s.talk(30 * second)
			s.wait()
			s.stamp(hollow, 60*ms, 60*ms, 60*ms+jump) // and on from there
			s.breaks(0)
			s.talk(30 * second)
			s.wait()
			s.stamp(hollow, 60*ms, 60*ms, 60*ms-jump) // one packet alone, and back
			s.breaks(0)
			s.wait()
			s.stamp(hollow, 60*ms, 60*ms, 60*ms+jump)
			s.breaks(0)
		}
		s.sound()
		s.leave()
	}},
}

// comesBack leaves by all ways there are.
func comesBack(s *speaker) {
	for i := range 11 {
		s.join(uint16(65530+7*i), uint32(i)<<30)
		s.sound()
		s.talk(30 * second)
		s.hush(minute)
		s.sound()
		old := s.conn
		switch {
		case i == 10 || i%4 == 0:
			s.leave()
		case i%4 == 1: // another tab
			s.track().endedBy = audio.ReasonReplaced
			s.wait()
			time.Sleep(jitter + 2*oneWay)
			s.join(1, 1)
			s.hangUp(old)
			s.talk(5 * second)
			s.leave()
		case i%4 == 2: // the network goes, the page is opened again
			s.track().endedBy = audio.ReasonReplaced
			s.wait()
			time.Sleep(jitter + 2*oneWay)
			s.line.set(func(l *line) { l.cut = true })
			time.Sleep(8 * time.Second)
			s.line.set(func(l *line) { l.cut = false })
			s.join(1, 1)
			s.hangUp(old)
			s.talk(5 * second)
			s.leave()
		case i%4 == 3: // it is away for longer
			s.track().endedBy = audio.ReasonTimeout
			s.wait()
			time.Sleep(jitter + 2*oneWay)
			s.line.set(func(l *line) { l.cut = true })
			time.Sleep(time.Minute)
			s.line.set(func(l *line) { l.cut = false })
			s.hangUp(old)
		}
		time.Sleep(8 * time.Minute)
	}
}

// Two hours in seconds. Every tick of every track is accounted for at every
// moment, every duration is what the sender's own clock says, and what was said
// stands where it was said on the meeting's clock.
func TestTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		began := time.Now()
		var speakers []*speaker
		var wg sync.WaitGroup
		for i, m := range meetingOfTwoHours {
			s := h.speaker(i, m.does, m.ppm)
			speakers = append(speakers, s)
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 1234567 * time.Microsecond)
				m.live(s)
			})
		}
		if n := h.watch(); n < 720 { // to its end, which comes by itself
			t.Errorf("the account was checked %d times in two hours", n)
		}
		wg.Wait()
		if d := time.Since(began); d < 2*time.Hour || d > 2*time.Hour+10*time.Minute {
			t.Errorf("the meeting took %v", d)
		}
		all, _, err := h.pipeline.Meetings(t.Context(), "", 10, "")
		if err != nil || len(all) != 1 || all[0].State != meeting.StateComplete {
			t.Fatalf("meetings %+v (%v), want one that is complete", all, err)
		}
		doc, err := h.pipeline.Transcript(t.Context(), all[0].ID)
		if err != nil || !doc.Complete {
			t.Errorf("the transcript is not complete (%v)", err)
		}
		checkMissing(t, all[0], doc.Missing)
		for _, s := range speakers {
			s.check(t, all[0], doc.Segments)
		}
		h.stop()
	})
}

// watch checks the account every ten seconds as long as there is a meeting in
// the room.
func (h *house) watch() (checked int) {
	for {
		time.Sleep(10 * time.Second)
		m, ok, err := h.pipeline.LiveMeeting(h.t.Context(), "room")
		if err != nil {
			h.t.Error(err)
		}
		if !ok || err != nil {
			return checked
		}
		checkCoverage(h.t, m.Coverage)
		for _, track := range m.Tracks {
			checkCoverage(h.t, track.Coverage)
		}
		checked++
	}
}

// checkMissing: nothing is missing but what the clocks of senders took.
func checkMissing(t *testing.T, m meeting.Meeting, missing []transcript.Missing) {
	var ms int64
	for _, part := range missing {
		if ms += part.MissingMS; part.Kind != transcript.Discontinuity {
			t.Errorf("missing: %+v", part)
		}
	}
	if ms != m.Coverage.DiscontinuityMS {
		t.Errorf("%d ms are missing, the coverage has %d", ms, m.Coverage.DiscontinuityMS)
	}
}

// check compares what came of a speaker with what it did.
func (s *speaker) check(t *testing.T, m meeting.Meeting, segments []transcript.Segment) {
	i := 0
	for _, track := range m.Tracks {
		if track.Participant != s.name {
			continue
		}
		if i == len(s.tracks) {
			t.Fatalf("%s: more than %d tracks", s.does, i)
		}
		want, a := s.tracks[i], track.Account
		i++
		name := fmt.Sprintf("%s, track %d", s.does, i)
		if got := a.Received + a.Recovered; got != want.received || a.Concealed != 0 || a.Shed != 0 {
			t.Errorf("%s: %d ticks were taken in, %d are concealed, %d shed; %d were sent", name, got, a.Concealed, a.Shed, want.received)
		}
		if a.Silence != want.silence {
			t.Errorf("%s: %d ticks of silence, want %d", name, a.Silence, want.silence)
		}
		if off := a.Discontinuity - want.breaks; off < -want.broken*slack || off > want.broken*slack {
			t.Errorf("%s: %d ticks of discontinuity, want %d", name, a.Discontinuity, want.breaks)
		}
		if (a.Recovered > 0) != (s.line.lost > 0) {
			t.Errorf("%s: %d ticks recovered, the network lost %d packets", name, a.Recovered, s.line.lost)
		}
		if track.Through != a.Total() || track.Skipped > 0 || track.State != meeting.TrackComplete {
			t.Errorf("%s is %s, transcribed to %d of %d ticks", name, track.State, track.Through, a.Total())
		}
		if track.EndedBy != want.endedBy.String() {
			t.Errorf("%s was ended by %s, want %v", name, track.EndedBy, want.endedBy)
		}
		checkCoverage(t, track.Coverage)
		s.h.checkLog(t, track)
	}
	if i < len(s.tracks) {
		t.Errorf("%s: %d tracks, want %d", s.does, i, len(s.tracks))
	}
	s.checkSounds(t, m.StartedAt, segments)
}

// slack is what a discontinuity may be off by, in ticks: it is measured by one
// packet's arrival.
const slack = 30 * ms

// checkSounds compares when each sound was made with where it was heard.
func (s *speaker) checkSounds(t *testing.T, began time.Time, segments []transcript.Segment) {
	var heard []transcript.Segment
	for _, g := range segments {
		if g.Participant.ID == s.name {
			heard = append(heard, g)
		}
	}
	if len(heard) != len(s.sounds) {
		t.Errorf("%s: %d sounds were heard of %d", s.does, len(heard), len(s.sounds))
		return
	}
	least, most := time.Hour, -time.Hour
	for i, g := range heard {
		off := time.Duration(g.StartMS)*time.Millisecond - s.sounds[i].Sub(began)
		least, most = min(least, off), max(most, off)
		if n := g.EndMS - g.StartMS; n < 350 || n > 450 {
			t.Errorf("%s: sound %d lasts %d ms, want 400", s.does, i, n)
		}
	}
	t.Logf("%s: %d sounds, heard %v to %v after they were made", s.does, len(heard), least, most)
	if least < 0 || most > 100*time.Millisecond {
		t.Errorf("%s: sounds stand %v to %v from where they were made", s.does, least, most)
	}
}
