package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"verbatim/pipeline/forward"
)

// forwardFlags say whether the audio of tracks is handed to other services.
type forwardFlags struct {
	Forward  string        `help:"Hand every track's PCM to services of your own: jetstream publishes it to NATS JetStream at --nats (docs/FORWARD.md)." enum:"none,jetstream" default:"none" placeholder:"none|jetstream"`
	MaxAge   time.Duration `name:"forward-max-age" help:"How long the broker keeps what was forwarded; 0: until the meeting is erased." default:"24h"`
	Replicas int           `name:"forward-replicas" help:"How many NATS servers keep each stream: 1, 3 or 5." default:"1"`
}

// check says what is wrong with the flags.
func (f *forwardFlags) check(n *natsFlags) error {
	switch {
	case f.Forward == "none":
		return nil
	case n.URL == "":
		return errors.New("--forward jetstream needs --nats")
	case f.Replicas != 1 && f.Replicas != 3 && f.Replicas != 5:
		return fmt.Errorf("--forward-replicas %d: it is 1, 3 or 5", f.Replicas)
	case f.MaxAge < 0 || f.MaxAge > 0 && f.MaxAge < time.Minute:
		return fmt.Errorf("--forward-max-age %v: it is a minute or more, or 0", f.MaxAge)
	}
	return nil
}

// open makes the forwarder, nil without --forward.
func (f *forwardFlags) open(n *natsFlags, log *slog.Logger) (fw *forward.Forwarder, closeConn func(), err error) {
	closeConn = func() {}
	if err := f.check(n); err != nil || f.Forward == "none" {
		return nil, closeConn, err
	}
	conn, err := n.connect("forward", log)
	if err != nil {
		return nil, closeConn, err
	}
	fw, err = forward.New(forward.Config{Conn: conn, Prefix: n.Prefix, MaxAge: f.MaxAge, Replicas: f.Replicas, Logger: log})
	if err != nil {
		conn.Close()
	}
	return fw, conn.Close, err
}
