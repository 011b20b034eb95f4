package relay

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pion/stun/v4"

	"verbatim/internal/netlimit"
)

// packetConn is a UDP socket. Its reader is told of no error but its end, and hears
// of strangers only as much as they may say.
type packetConn struct {
	net.PacketConn
	s    *Server
	once sync.Once
}

// ReadFrom implements net.PacketConn.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			p.once.Do(p.s.wg.Done)
			return 0, nil, err
		case err == nil && p.s.hears(from):
			return n, from, nil
		case err == nil:
			continue
		}
		time.Sleep(time.Millisecond) // of one datagram, on some systems; it may also stay
	}
}

// listener makes connections that pion's server reads messages from.
type listener struct {
	net.Listener
	s   *Server
	tls *tls.Config // nil: TCP alone
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if err != nil {
			l.s.wg.Done()
			return nil, err
		}
		limited, ok := socket.(*netlimit.Conn)
		if !ok {
			continue // never
		}
		c := &conn{Conn: socket, socket: socket, limited: limited, s: l.s}
		if l.tls != nil {
			c.Conn = tls.Server(socket, l.tls)
		}
		if l.s.add(c) {
			return c, nil
		}
		_ = socket.Close() // as all the others
	}
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c.way()] = c
	s.wg.Add(1)
	return true
}

// conn is a connection over TCP or TLS. Each Read gives a whole message: what
// pion's server makes of parts, it keeps on the stack.
type conn struct {
	net.Conn // TLS, or the socket

	socket  net.Conn
	limited *netlimit.Conn
	s       *Server
	once    sync.Once
}

func (c *conn) way() way {
	return way{c.socket.RemoteAddr().String(), c.socket.LocalAddr().String()}
}

const (
	stunHeader    = 20
	channelHeader = 4
)

var (
	errNoMessage = errors.New("this is no message of TURN")
	errTooLong   = errors.New("a message is too long")
)

// Read implements net.Conn; b has room for the longest message.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) < maxMessage {
		return 0, io.ErrShortBuffer
	}
	if _, err := io.ReadFull(c.Conn, b[:channelHeader]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch b[0] >> 6 {
	case 0: // STUN (RFC 8489, 5)
		n += stunHeader
	case 1: // ChannelData (RFC 8656, 12.5), which is padded over TCP
		n = channelHeader + (n+3)&^3
	default:
		return 0, errNoMessage
	}
	if n >= maxMessage {
		return 0, errTooLong
	}
	if _, err := io.ReadFull(c.Conn, b[channelHeader:n]); err != nil {
		return 0, err
	}
	if b[0]>>6 == 0 && !stun.IsMessage(b[:n]) {
		return 0, errNoMessage
	}
	return n, nil
}

// Write implements net.Conn. Who takes nothing for long is cut off.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.socket.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.socket.Close() // the reader's goroutine then ends, and closes it
	}
	return n, err
}

// Close implements net.Conn. It is the last that pion's goroutine does.
func (c *conn) Close() error {
	err := c.socket.Close()
	c.once.Do(func() {
		c.s.mu.Lock()
		delete(c.s.conns, c.way())
		c.s.mu.Unlock()
		c.s.wg.Done()
	})
	return err
}
