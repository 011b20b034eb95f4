package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNameTaken is returned to a node whose name another process has.
var ErrNameTaken = errors.New("another server that runs has this node's name: stop it, or give this one another --node and a --data of its own")

const (
	nameRetry   = 250 * time.Millisecond // between two looks at whether a name is free by now
	nameTimeout = 3 * time.Second        // of a look at a name that was free

	// lockName takes a node's name: an advisory lock that PostgreSQL holds for the
	// connection, and so for the process, whatever becomes of it.
	lockName = "SELECT pg_try_advisory_lock(hashtextextended('verbatim node ' || CAST($1 AS TEXT), 0))"
	// nameSetup has PostgreSQL find out within 20 s that a machine is gone that has
	// not said so.
	nameSetup = `
		SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '5', false),
			set_config('tcp_keepalives_count', '3', false)`
)

// nodeName is a node's name in PostgreSQL, held by a connection of its own. (With SQLite
// it is the lock of the data folder that keeps a second process away.)
type nodeName struct {
	mu    sync.Mutex // guards what follows; held while the database is asked
	conn  *sql.Conn  // nil: not held
	lost  time.Time  // since when
	taken bool       // by another process, while the database was away
}

// takeName makes the process the only one that acts for the node. One that has died
// without a word, or lets go of the name just now, is waited for; from one that goes on
// saying that it is alive, or holds the name for long, the name is not taken
// (ErrNameTaken).
func (s *Store) takeName(ctx context.Context) error {
	n := &s.self.name
	n.mu.Lock()
	defer n.mu.Unlock()
	began := time.Now()
	var first int64 // when the node was seen, at the first look
	for try := 0; ; try++ {
		conn, err := s.tryName(ctx)
		if conn != nil {
			n.conn = conn
			return nil
		}
		if err != nil && !s.passing(err) {
			return fmt.Errorf("take the name of node %s: %w", s.self.node, err)
		}
		var seen int64
		if err := s.view(ctx, "when a node was seen", func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(seen_at), 0) FROM nodes WHERE id = $1", s.self.node).Scan(&seen)
		}); err != nil {
			return err
		}
		if try == 0 {
			first = seen
		}
		if seen > first || time.Since(began) > s.self.deadAfter {
			return fmt.Errorf("node %s: %w", s.self.node, ErrNameTaken)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(nameRetry):
		}
	}
}

// tryName takes the name if it is free; nil if it is not.
func (s *Store) tryName(ctx context.Context) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var ok bool
	if _, err = conn.ExecContext(ctx, nameSetup); err == nil {
		err = conn.QueryRowContext(ctx, lockName, s.self.node).Scan(&ok)
	}
	if err != nil || !ok {
		discard(conn)
		return nil, err
	}
	return conn, nil
}

// discard ends a connection, instead of giving it back with what it may hold.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // that is what has it closed
	_ = conn.Close()                                           // which it is by now
}

// keepName sees to it that the name is still the process's. It is lost with its
// connection, as when PostgreSQL restarts, and taken again then. PostgreSQL may not
// know yet that the connection was lost; but if the name is not to be had for as long
// as a node may be silent, somebody else has it (ErrNameTaken).
func (s *Store) keepName(ctx context.Context) error {
	if !s.shared || s.self.node == "" || ctx.Err() != nil {
		return nil
	}
	n := &s.self.name
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	if n.conn != nil && n.conn.PingContext(ctx) == nil {
		return nil
	}
	if n.conn != nil {
		discard(n.conn)
		n.conn, n.lost = nil, time.Now()
	}
	conn, err := s.tryName(ctx)
	switch {
	case conn != nil:
		n.conn, n.taken = conn, false
	case err == nil && time.Since(n.lost) > s.self.deadAfter:
		n.taken = true
	}
	return n.check(s.self.node)
}

// nameTaken says whether another process has taken the name.
func (s *Store) nameTaken() error {
	s.self.name.mu.Lock()
	defer s.self.name.mu.Unlock()
	return s.self.name.check(s.self.node)
}

func (n *nodeName) check(node string) error {
	if n.taken {
		return fmt.Errorf("node %s: %w", node, ErrNameTaken)
	}
	return nil
}

// leaveName gives the name free.
func (s *Store) leaveName() {
	s.self.name.mu.Lock()
	defer s.self.name.mu.Unlock()
	if s.self.name.conn != nil {
		discard(s.self.name.conn)
		s.self.name.conn = nil
	}
}
