//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

const (
	// A sentence lasts 3 s and its final comes in the pause behind it: so much may
	// be outstanding when nothing is wrong.
	usualMS = 6000
	// patience is how long servers may take to catch up.
	patience = 5 * time.Minute
)

// scene is a fault, and people who talk while it happens: what a row of either
// table has. One goroutine runs it; each participant has its own.
type scene struct {
	res   *result
	quick bool
	rooms []group
	bars  bars
	fault func(ctx context.Context) error // does it, and returns when it is over
	// client is of a server that answers now; deaths are when each server died.
	client  func() *whipclient.Client
	deaths  func() [][]time.Time
	measure func()         // looks at the servers' memory
	say     func(s string) // where it is
	dir     string         // for the transcripts
}

// group is a room, and who talks there.
type group struct {
	room    string
	talkers []talker
}

// run lets everybody talk, does what the row is about, and says what came of it.
// docs are the transcripts of each room.
func (s *scene) run(ctx context.Context) (docs [][]document, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for _, g := range s.rooms {
		s.res.Participants += len(g.talkers)
		for i, t := range g.talkers {
			wg.Go(func() {
				// Not all of them pause at the same time.
				err := harness.Sleep(ctx, time.Duration(i)*700*time.Millisecond)
				if err == nil {
					err = t.talk(ctx, over)
				}
				if err != nil {
					cancel(err)
				}
			})
		}
	}
	if err := s.suffer(ctx); err != nil {
		return nil, err
	}
	s.say("last words")
	close(over)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.say("is transcribed to the end")
	for _, g := range s.rooms {
		d, err := transcripts(ctx, s.client(), g.room, s.dir)
		if err != nil {
			return nil, fmt.Errorf("room %s: %w", g.room, err)
		}
		docs = append(docs, d)
	}
	s.measure()
	deaths := s.deaths()
	for i, g := range s.rooms {
		truths := make([]truth, len(g.talkers))
		for j, t := range g.talkers {
			truths[j] = t.truth(deaths, s.bars.edge)
		}
		s.res.judge(truths, docs[i], s.bars)
	}
	for _, each := range deaths {
		s.res.Deaths += len(each)
	}
	return docs, nil
}

// suffer is from the first word until all is as it was before the fault.
func (s *scene) suffer(ctx context.Context) error {
	calm := 8 * time.Second
	if s.quick {
		calm = 6 * time.Second
	}
	s.say("before the fault")
	if err := harness.Sleep(ctx, calm); err != nil {
		return err
	}
	if err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	s.say("suffers")
	if err := s.fault(ctx); err != nil {
		return fmt.Errorf("the fault: %w", err)
	}
	ended := time.Now()
	s.say("catches up")
	if err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	s.res.CatchUp = time.Since(ended).Seconds()
	s.say("after the fault")
	return harness.Sleep(ctx, calm)
}

// caughtUp waits until every participant's live track is transcribed up to what
// is being said, and all others to their end.
func (s *scene) caughtUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it does not catch up"))
	defer cancel()
	for _, g := range s.rooms {
		for {
			s.measure()
			ms, err := meetings(ctx, s.client(), g.room)
			if err == nil && upToDate(ms, len(g.talkers)) {
				break
			}
			if err := harness.Sleep(ctx, 200*time.Millisecond); err != nil {
				return fmt.Errorf("room %s: %w", g.room, err)
			}
		}
	}
	return nil
}

func upToDate(ms []meeting.Meeting, participants int) bool {
	live := 0
	for _, m := range ms {
		for _, t := range m.Tracks {
			switch t.State {
			case meeting.TrackLive:
				if t.Coverage.PendingMS > usualMS || t.Coverage.DurationMS == 0 {
					return false
				}
				live++
			case meeting.TrackPending:
				return false
			case meeting.TrackComplete, meeting.TrackIncomplete:
			}
		}
	}
	return live == participants
}
