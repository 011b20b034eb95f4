package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

const (
	maxMoves      = 10              // of one publisher
	lookFor       = 2 * time.Minute // another server, or the same one when it is back
	lookEvery     = time.Second
	arriveTimeout = 3 * time.Second
)

// packets are those of all files.
func (p *publisher) packets(yield func(whipclient.Packet, error) bool) {
	for _, name := range p.cmd.Files {
		f, err := os.Open(name)
		if err != nil {
			yield(whipclient.Packet{}, err)
			return
		}
		for packet, err := range whipclient.ReadOgg(f) {
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			if !yield(packet, err) {
				_ = f.Close() // it was read
				return
			}
		}
		_ = f.Close() // it was read
	}
}

// rest are the packets that were not sent yet, until the server asks to go elsewhere.
func (p *publisher) rest(yield func(whipclient.Packet, error) bool) {
	for {
		select {
		case <-p.asked:
			p.moving = true
			return
		default:
		}
		if !p.unsent {
			var ok bool
			if p.packet, p.broken, ok = p.next(); !ok {
				return
			}
		}
		if p.unsent = !yield(p.packet, p.broken); p.unsent {
			return
		}
	}
}

// join is tried again for a while if the publisher had joined before.
func (p *publisher) join(ctx context.Context) (*whipclient.Session, error) {
	for until := time.Now().Add(lookFor); ; {
		s, err := p.client.Join(ctx, p.cmd.Room, p.id, p.name, whipclient.Options{Via: p.cmd.via()})
		refused := new(whipclient.Error)
		if err == nil || !p.joined || errors.As(err, &refused) && refused.Status/100 == 4 && refused.Status != http.StatusTooManyRequests {
			return s, err
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("there is no server to go on at after %v: %w", lookFor, err)
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// goesOn says whether what is left is to be said in another session, after one that has
// ended with that error: when the server has asked for it, or is away, and not when
// somebody has ended or erased the meeting or taken the participant's place.
func (p *publisher) goesOn(ctx context.Context, id string, err error) bool {
	if p.moving {
		return true
	}
	if !errors.Is(err, whipclient.ErrLost) {
		return false
	}
	var m meeting.Meeting
	if err := p.client.Get(ctx, "/v1/meetings/"+id, &m); err != nil {
		answer := new(whipclient.Error)
		return ctx.Err() == nil && (!errors.As(err, &answer) || answer.Status != http.StatusNotFound)
	}
	t, _ := p.tracks(m)
	return m.State == meeting.StateLive && t.EndedBy != "replaced"
}

// tracks are the publisher's in a meeting, as one, and how many there are.
func (p *publisher) tracks(m meeting.Meeting) (all meeting.Track, n int) {
	for _, t := range m.Tracks {
		if t.Participant != p.id {
			continue
		}
		if n++; n == 1 {
			all = t
			continue
		}
		c := &all.Coverage
		c.ReceivedMS += t.Coverage.ReceivedMS
		c.RecoveredMS += t.Coverage.RecoveredMS
		c.ConcealedMS += t.Coverage.ConcealedMS
		c.SkippedMS += t.Coverage.SkippedMS
		if all.State == meeting.TrackComplete || t.State != meeting.TrackComplete && t.State != meeting.TrackIncomplete {
			all.State, all.Transcription = t.State, t.Transcription // one that is not finished counts most
		}
		all.EndedBy = t.EndedBy
	}
	return all, n
}
