package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// conn is one client's connection. Engine.Serve makes it and runs its three
// goroutines: read, write and keepAlive.
type conn struct {
	ws   *websocket.Conn
	bufs [2]bytes.Buffer // of messages: one is read while the other is taken in

	out     chan any      // messages to write, JSON
	unread  chan struct{} // closed when nothing is read any more
	over    chan struct{} // closed when nothing is written any more
	stopped chan struct{} // closed by the first call of stop

	once   sync.Once // of stop, which sets what follows
	last   *ack
	code   websocket.StatusCode
	reason string

	heard atomic.Int64 // when the peer showed itself, by the clock of born
	held  atomic.Bool  // a message waits for its session
	born  time.Time
}

func newConn(ws *websocket.Conn) *conn {
	ws.SetReadLimit(maxMessage)
	return &conn{
		ws: ws, born: time.Now(), out: make(chan any, 4),
		unread: make(chan struct{}), over: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// stop makes the connection end: last is sent if there is one, then the close
// frame. The first call counts.
func (c *conn) stop(code websocket.StatusCode, reason string, last *ack) {
	c.once.Do(func() {
		c.code, c.reason, c.last = code, reason, last
		close(c.stopped)
	})
}

func (c *conn) ending() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// send queues a message. A peer that does not read gets no more of them, and is
// cut off by the write that is stuck.
func (c *conn) send(m any) {
	select {
	case c.out <- m:
	default:
	}
}

// read hands messages to the session until the connection ends.
func (c *conn) read(ctx context.Context, s *session) {
	defer func() {
		select {
		case s.detach <- c:
		case <-s.over:
		}
	}()
	for i := 1; ; i = 1 - i {
		binary, b, err := c.next(ctx, i)
		if err != nil {
			return
		}
		c.held.Store(true)
		select {
		case s.in <- message{conn: c, binary: binary, data: b}:
		case <-c.stopped:
			return
		case <-s.over:
			return
		}
		c.hear() // before it is not held any more
		c.held.Store(false)
	}
}

// next reads a message into one of the two buffers.
func (c *conn) next(ctx context.Context, buf int) (binary bool, b []byte, err error) {
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return false, nil, err
	}
	c.bufs[buf].Reset()
	_, err = c.bufs[buf].ReadFrom(r)
	return kind == websocket.MessageBinary, c.bufs[buf].Bytes(), err
}

// write sends what is queued, and closes the connection in the end.
func (c *conn) write() {
	defer close(c.over)
	for {
		select {
		case m := <-c.out:
			if c.put(m) != nil {
				_ = c.ws.CloseNow()
				return
			}
			continue
		case <-c.stopped:
		case <-c.unread:
		}
		break
	}
	select {
	case <-c.stopped:
	default:
		_ = c.ws.CloseNow() // the peer is gone
		return
	}
	for len(c.out) > 0 {
		_ = c.put(<-c.out) // if it fails, so does Close
	}
	if c.last != nil {
		_ = c.put(c.last)
	}
	_ = c.ws.Close(c.code, c.reason)
}

func (c *conn) put(m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, b)
}

// keepAlive cuts off a peer that shows no sign of life, which any message is.
// Only one that is silent is pinged: where audio waits to be read a pong would
// wait behind it, and client libraries close a connection when their pong cannot
// be written within seconds (ours does after 5).
func (c *conn) keepAlive() {
	tick := time.NewTicker(pongWithin)
	defer tick.Stop()
	for {
		select {
		case <-c.over:
			return
		case <-tick.C:
		}
		if !c.silent(pingAfter) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), pongWithin)
		if c.ws.Ping(ctx) == nil {
			c.hear()
		}
		cancel()
		if c.silent(pingAfter + pongWithin) {
			_ = c.ws.CloseNow()
			return
		}
	}
}

func (c *conn) hear() { c.heard.Store(int64(time.Since(c.born))) }

// silent reports whether nothing came for d though it would have been read.
func (c *conn) silent(d time.Duration) bool {
	return !c.held.Load() && time.Since(c.born)-time.Duration(c.heard.Load()) >= d
}
