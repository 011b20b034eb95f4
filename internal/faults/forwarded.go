//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"verbatim/pipeline/meeting"
)

// forwarded is what is at the broker of all tracks, in messages (docs/FORWARD.md).
type forwarded struct {
	Messages   int `json:"messages"`
	Lost       int `json:"lost"`
	Doubled    int `json:"doubled"` // or out of order
	Unfinished int `json:"unfinished"`
	Length     int `json:"length"` // tracks that are not as long as in the transcript
}

// line is a track at the broker.
type line struct {
	next    int   // the number of the message that is due
	samples int64 // so far
	ended   bool
}

// forwarded reads what services of other people get, until every track has ended,
// for half a minute at most. What was in the memory of a node that died, edge at
// most, may be there and not in the track.
func (c *cluster) forwarded(ctx context.Context, docs [][]document, edge time.Duration) (f forwarded, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the broker has not all"))
	defer cancel()
	conn, err := nats.Connect(c.natsURLs())
	if err != nil {
		return f, fmt.Errorf("connect to NATS: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return f, err
	}
	for _, room := range docs {
		for _, d := range room {
			if err := f.meeting(ctx, js, d.Meeting, edge); err != nil {
				return f, fmt.Errorf("forwarded audio of %s: %w", d.Meeting.ID, err)
			}
		}
	}
	return f, nil
}

// meeting reads the stream of one.
func (f *forwarded) meeting(ctx context.Context, js jetstream.JetStream, m meeting.Meeting, edge time.Duration) error {
	consumer, err := js.OrderedConsumer(ctx, "VERBATIM_"+m.ID, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	lines := map[string]*line{}
	for _, t := range m.Tracks {
		lines[t.ID] = &line{}
	}
	for left := len(lines); left > 0; {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err != nil {
			f.Unfinished += left
			break
		}
		l := lines[msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]]
		if l == nil {
			return fmt.Errorf("%s is of no track", msg.Subject())
		}
		ended, err := f.add(l, msg.Headers())
		if err != nil {
			return fmt.Errorf("%s: %w", msg.Subject(), err)
		}
		if ended {
			left--
		}
	}
	for _, t := range m.Tracks {
		more := lines[t.ID].samples/16 - t.Coverage.DurationMS
		if lines[t.ID].ended && (more < 0 || more > edge.Milliseconds()) {
			f.Length++
		}
	}
	return nil
}

// add takes a track's next message; ended is its last one.
func (f *forwarded) add(l *line, h nats.Header) (ended bool, err error) {
	seq, err1 := strconv.Atoi(h.Get("Verbatim-Seq"))
	start, err2 := strconv.ParseInt(h.Get("Verbatim-Start"), 10, 64)
	n, err3 := strconv.ParseInt(h.Get("Verbatim-Samples"), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, err
	}
	f.Messages++
	switch {
	case seq < l.next || start < l.samples:
		f.Doubled++
		return false, nil
	case seq > l.next || start > l.samples:
		f.Lost += max(1, seq-l.next)
	}
	l.next, l.samples = seq+1, start+n
	l.ended = h.Get("Verbatim-End") != ""
	return l.ended, nil
}
