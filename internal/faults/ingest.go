//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"verbatim/internal/harness"
	"verbatim/internal/tonecode"
)

// What a client has to do something about (docs/INGEST.md).
const (
	codeNoStream = 4404
	codeReplaced = 4409
)

// ingest is a talker that keeps what the server has not acknowledged and sends
// it again (docs/INGEST.md): nothing of it may be lost. One goroutine sends,
// another reads what the server says.
type ingest struct {
	base   string // the server's URL
	room   string
	id     string
	signal *signal

	begun  time.Time
	until  int64 // where to end, in samples of the signal; 0: not known yet
	token  string
	origin int64        // sample of the signal that is number 0 of the stream
	next   int64        // sample of the signal that is sent next
	acked  atomic.Int64 // sample of the signal before which all is on the server's disk
	again  [][2]int64   // samples that were sent in two streams
	late   map[int]bool // numbers that were
}

// reply is any message of the server's.
type reply struct {
	Type, Resume  string
	Next, Durable int64
}

func (c *ingest) talk(ctx context.Context, over <-chan struct{}) error {
	c.begun, c.late = time.Now(), map[int]bool{}
	for {
		err := c.connection(ctx, over)
		switch code := websocket.CloseStatus(err); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case code == websocket.StatusNormalClosure:
			return nil
		case code == websocket.StatusGoingAway, code == websocket.StatusInternalError, code == codeNoStream:
			c.renew()
		case code >= 4000, errors.Is(err, errShort):
			return fmt.Errorf("%s: %w", c.id, err)
		}
		if err := harness.Sleep(ctx, retryEvery); err != nil {
			return err
		}
	}
}

// renew makes the next connection begin a new stream, with what was not
// acknowledged. It begins with a whole number: half of one in each of two
// tracks can be read in neither.
func (c *ingest) renew() {
	from := c.acked.Load() / tonecode.Symbol * tonecode.Symbol
	c.again = append(c.again, [2]int64{from, c.next})
	c.token, c.origin = "", from
}

// connection is one of them, from hello to its end, which is its error.
func (c *ingest) connection(ctx context.Context, over <-chan struct{}) error {
	dctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q := url.Values{"participant": {c.id}, "name": {c.id}}
	to := "ws" + strings.TrimPrefix(c.base, "http") + "/v1/rooms/" + c.room + "/ingest?" + q.Encode()
	ws, _, err := websocket.Dial(dctx, to, &websocket.DialOptions{Subprotocols: []string{"verbatim.pcm.v1"}}) //nolint:bodyclose // Dial does
	if err != nil {
		return err
	}
	defer ws.CloseNow() //nolint:errcheck // it is closed already, or of no use
	// When it was said, what is sent first.
	said := c.begun.Add(time.Duration(c.origin) * time.Second / tonecode.Rate)
	hello := fmt.Appendf(nil, `{"type":"hello","rate":%d,"resume":%q,"late_ms":%d}`, tonecode.Rate, c.token, max(0, time.Since(said).Milliseconds()))
	if err := ws.Write(dctx, websocket.MessageText, hello); err != nil {
		return err
	}
	r, err := read(dctx, ws)
	for err == nil && r.Type == "ack" { // the last one of a stream that is over
		c.acked.Store(c.origin + r.Durable)
		r, err = read(dctx, ws)
	}
	if err != nil {
		return err
	}
	c.token, c.next = r.Resume, c.origin+r.Next
	sctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		stop(c.listen(ctx, ws))
	}()
	if err := c.send(sctx, ws, over); err != nil && sctx.Err() == nil {
		stop(err)
		_ = ws.CloseNow() // and so the reader ends
	}
	<-heard // until the server closes the connection
	return context.Cause(sctx)
}

func read(ctx context.Context, ws *websocket.Conn) (r reply, err error) {
	_, b, err := ws.Read(ctx)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// listen takes acknowledgements until the connection ends.
func (c *ingest) listen(ctx context.Context, ws *websocket.Conn) error {
	for {
		r, err := read(ctx, ws)
		if err != nil {
			return err
		}
		if r.Type == "ack" {
			c.acked.Store(c.origin + r.Durable)
		}
	}
}

var errShort = errors.New("the signal is too short")

// send sends 100 ms whenever they have been spoken, and the end.
func (c *ingest) send(ctx context.Context, ws *websocket.Conn, over <-chan struct{}) error {
	for c.until == 0 || c.next < c.until {
		to := c.next + tonecode.Symbol
		if 2*to > int64(len(c.signal.pcm)) {
			return errShort
		}
		due := c.begun.Add(time.Duration(to) * time.Second / tonecode.Rate)
		if err := harness.Sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		b := binary.BigEndian.AppendUint64(nil, uint64(c.next-c.origin))
		if err := ws.Write(ctx, websocket.MessageBinary, append(b, c.signal.pcm[2*c.next:2*to]...)); err != nil {
			return err
		}
		if time.Since(due) > 50*time.Millisecond {
			c.late[int(c.next/tonecode.Symbol)] = true
		}
		c.next = to
		select {
		case <-over:
			if c.until == 0 { // a sentence that is due by now is said to its end
				c.until = int64(endOf(int(time.Since(c.begun)/perNumber))) * tonecode.Symbol
			}
		default:
		}
	}
	return ws.Write(ctx, websocket.MessageText, []byte(`{"type":"end"}`))
}

func (c *ingest) truth([][]time.Time, time.Duration) truth {
	t := newTruth(c.id, int(c.next/tonecode.Symbol))
	for i := range c.late {
		t.late[i] = true
	}
	for _, span := range c.again {
		for i := span[0] / tonecode.Symbol; i*tonecode.Symbol < span[1]; i++ {
			t.again[i]++
		}
	}
	return t
}
