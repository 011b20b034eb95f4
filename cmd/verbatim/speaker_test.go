package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"verbatim/internal/speech"
	"verbatim/media"
	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/whipclient"
)

// speaker is a participant of the house. Its clock runs at its own pace, and
// every packet is sent when its time has come by that clock.
type speaker struct {
	h    *house
	name string // as a participant
	does string // in the test's messages
	ppm  int64  // of its clock, above 0: fast
	line *line

	conn    sender
	session string
	begun   time.Time // of the clock
	ticks   int64     // that it has counted since

	tracks []expected // one per session
	sounds []time.Time
}

// sender is a whipclient.Conn or a peer.
type sender interface {
	Send(payload []byte, ticks int64) error
	Close() error
}

// expected is what has to come of a track.
type expected struct {
	received, silence int64
	// breaks is how much wall clock time has to stand where the timeline broke,
	// and how often it did.
	breaks, broken int64
	endedBy        audio.Reason
}

const (
	ms     = audio.TickRate / 1000
	second = audio.TickRate
	minute = 60 * second
)

// Packets. Most are of 60 ms that say so in their first byte and hold nothing
// that decodes: decoding two hours of each participant would take a minute.
var (
	hollow = []byte{11<<3 | 3, 0x41}         // 60 ms, its padding is missing
	short  = []byte{9 << 3, 0}               // 20 ms, as browsers send in silence
	sound  = speech.Packets("sas-0870")[30:] // 20 ms each, loud from the first on
)

// dtx is from packet to packet in silence, as browsers do.
const dtx = 400 * ms

func (h *house) speaker(i int, does string, ppm int64) *speaker {
	l := &line{Net: h.network(fmt.Sprintf("10.0.1.%d", i+1)), r: rand.New(rand.NewPCG(uint64(i), 1))}
	return &speaker{h: h, name: fmt.Sprintf("p%d", i), does: does, ppm: ppm, line: l}
}

// join begins a session, or another one, and its clock anew.
func (s *speaker) join(seq uint16, timestamp uint32) {
	c, err := whipclient.Connect(s.h.t.Context(), whipclient.Options{Net: s.line, Sequence: seq, Timestamp: timestamp}, s.exchange)
	s.joined(c, err)
}

// joinAsPeer is join with a client that can do more.
func (s *speaker) joinAsPeer() *peer {
	p, err := connectPeer(s.h.t.Context(), s.line, s.exchange)
	s.joined(p, err)
	return p
}

func (s *speaker) joined(c sender, err error) {
	if err != nil {
		panic(fmt.Sprintf("%s: %v", s.name, err)) // in a goroutine that is not the test's
	}
	s.conn, s.begun, s.ticks = c, time.Now(), 0
	s.tracks = append(s.tracks, expected{endedBy: audio.ReasonLeft})
}

// exchange does what POST …/whip does.
func (s *speaker) exchange(ctx context.Context, text string) (string, error) {
	o, err := media.ParseOffer(text)
	if err != nil {
		return "", err
	}
	a, err := s.h.media.Accept(ctx, o, func() (string, error) {
		m, err := s.h.registry.Join(ctx, "room", transcript.Participant{ID: s.name, Name: s.name})
		s.session = m.Session
		return m.Session, err
	})
	return a.SDP, err
}

func (s *speaker) track() *expected { return &s.tracks[len(s.tracks)-1] }

// wait sleeps until the speaker's clock has come to where its packets are.
func (s *speaker) wait() {
	at := time.Duration(s.ticks) * time.Second / audio.TickRate
	time.Sleep(time.Until(s.begun.Add(at - at/1e6*time.Duration(s.ppm))))
}

// send sends one packet in its time; the next comes step ticks later. What lies
// between, if it is longer, is silence.
func (s *speaker) send(payload []byte, lasts, step int64) {
	s.wait()
	s.stamp(payload, lasts, step, step)
}

// stamp is send at once, with another step of the timestamp than of time.
func (s *speaker) stamp(payload []byte, lasts, step, timestamp int64) {
	if err := s.conn.Send(payload, timestamp); err != nil {
		s.h.t.Errorf("%s: %v", s.name, err)
	}
	s.ticks += step
	s.track().received += lasts
}

// talk is speech without a break.
func (s *speaker) talk(ticks int64) {
	for ; ticks > 0; ticks -= 60 * ms {
		s.send(hollow, 60*ms, 60*ms)
	}
}

// mute is silence that is sent.
func (s *speaker) mute(ticks int64) {
	for ; ticks > 0; ticks -= 20 * ms {
		s.send(short, 20*ms, 20*ms)
	}
}

// pause sends nothing; the timestamps tell of it.
func (s *speaker) pause(ticks int64) {
	s.send(hollow, 60*ms, 60*ms+ticks)
	s.track().silence += ticks
}

// breaks says that the next packet does not continue the timeline: what the
// wall clock says has passed stands there, ticks and the silence before it.
func (s *speaker) breaks(ticks int64) {
	s.track().breaks += ticks
	s.track().broken++
}

// hush is silence with DTX.
func (s *speaker) hush(ticks int64) {
	for ; ticks > 0; ticks -= dtx {
		s.send(short, 20*ms, dtx)
		s.track().silence += dtx - 20*ms
	}
}

// sound is what the ear hears: 400 ms.
func (s *speaker) sound() {
	s.wait()
	s.sounds = append(s.sounds, time.Now())
	for _, p := range sound[:19] {
		s.send(p, 20*ms, 20*ms)
	}
	s.send(short, 20*ms, 20*ms) // in which the decoder's filters ring
	s.send(short, 20*ms, 20*ms)
}

// leave ends the session as DELETE does.
func (s *speaker) leave() {
	s.wait()
	s.h.media.CloseSession(s.session, audio.ReasonLeft)
	time.Sleep(time.Second)
	s.hangUp(s.conn)
}

func (s *speaker) hangUp(c sender) {
	if err := c.Close(); err != nil {
		s.h.t.Errorf("%s: %v", s.name, err)
	}
}
