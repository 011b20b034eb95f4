package whipclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tmaxmax/go-sse"
)

// maxEvent bounds one event of the stream.
const maxEvent = 1 << 20

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
		err := c.stream(ctx, room, &lastID, each)
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

func (c *Client) stream(ctx context.Context, room string, lastID *string, each func(Event)) error {
	h := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {*lastID}}
	resp, err := c.open(ctx, http.MethodGet, c.URL+"/v1/rooms/"+url.PathEscape(room)+"/events", h, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for e, err := range sse.Read(resp.Body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			return err
		}
		*lastID = e.LastEventID
		each(Event{Type: e.Type, Data: []byte(e.Data)})
	}
	return io.ErrUnexpectedEOF
}
