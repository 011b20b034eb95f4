package whipclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tmaxmax/go-sse"
)

const (
	// maxEvent bounds one event of the stream.
	maxEvent = 1 << 20
	// maxSilence is how long a stream may say nothing before it counts as cut: the
	// server sends a comment every 15 s.
	maxSilence = 45 * time.Second
)

// ErrCut is that of a stream that had begun.
var ErrCut = errors.New("the event stream was cut")

// Event is one of the room's event stream; Data is JSON.
type Event struct {
	Type string
	Data []byte
}

// Events follows what happens in a room until ctx ends, and goes on after the
// last final when the stream is cut. The error is that of ctx, or the server's
// refusal.
func (c *Client) Events(ctx context.Context, room string, each func(Event)) error {
	lastID := ""
	for {
		err := c.Stream(ctx, room, &lastID, each)
		refused := new(Error)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if errors.As(err, &refused) && refused.Status/100 == 4 {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stream is one connection of Events. It begins after lastID, which it keeps up
// to date, or with all finals of the live meeting. There is always an error: an
// *Error if the server refuses, ErrCut if it had begun, else why it cannot be
// reached.
func (c *Client) Stream(ctx context.Context, room string, lastID *string, each func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(requestTimeout, cancel)
	defer silent.Stop()
	h := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {*lastID}}
	resp, err := c.open(ctx, http.MethodGet, c.URL+"/v1/rooms/"+url.PathEscape(room)+"/events", h, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	silent.Reset(maxSilence)
	heard := heardReader{resp.Body, func() { silent.Reset(maxSilence) }}
	for e, err := range sse.Read(heard, &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCut, err)
		}
		*lastID = e.LastEventID
		each(Event{Type: e.Type, Data: []byte(e.Data)})
	}
	return ErrCut
}

// heardReader tells whenever something was read.
type heardReader struct {
	io.Reader
	heard func()
}

// Read implements io.Reader.
func (r heardReader) Read(b []byte) (n int, err error) {
	n, err = r.Reader.Read(b)
	r.heard()
	return n, err
}
