package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"verbatim/pipeline/store"
	"verbatim/signaling"
)

// healthFlags say when a server takes no new sessions.
type healthFlags struct {
	MinFree size `help:"Space that must be free where --data is, or /readyz answers 503: audio is kept on that disk." default:"500MB" placeholder:"SIZE" group:"Operations"`
}

// size is a number of bytes, as in 500MB.
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *size) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(1)
	for unit, f := range map[string]int64{"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if rest, ok := strings.CutSuffix(strings.ToUpper(number), unit); ok {
			number, factor = rest, f
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is no size such as 500MB or 2GB", text)
	}
	*b = size(n * factor)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b size) MarshalText() ([]byte, error) { //nolint:unparam // it is an interface's
	if b%1e6 == 0 {
		return fmt.Appendf(nil, "%dMB", b/1e6), nil
	}
	return fmt.Appendf(nil, "%d", b), nil
}

// ready are the checks of /readyz.
func (s *server) ready(c *serveCmd, db *store.Store) []signaling.Check {
	return []signaling.Check{
		{
			Name: "database", Hint: "it takes no writes: look at the disk of --data, or at the database server", Run: db.Writable,
		},
		{
			Name: "disk", Hint: "less than --min-free is left where --data is: make room, or have audio kept for less long (--keep-audio)",
			Run: func(context.Context) error {
				free, err := freeSpace(c.Data)
				if err == nil && free < int64(c.Health.MinFree) {
					err = fmt.Errorf("%d bytes are free, and %d have to be", free, int64(c.Health.MinFree))
				}
				return err
			},
		},
		{
			Name: "media", Hint: "its UDP port cannot be read: restart the server", Run: func(context.Context) error { return s.media.Alive() },
		},
	}
}

// alive are the checks of /healthz: locks that are never held for long, whatever the
// disk, the database and recognizers do. What waits for those is not dead.
func (s *server) alive() []signaling.Check {
	return []signaling.Check{
		{Name: "media", Hint: "the server is stuck: restart it", Run: func(context.Context) error { s.media.Sessions(); return nil }},
		{Name: "ingest", Hint: "the server is stuck: restart it", Run: func(context.Context) error { s.ingest.Stats(); return nil }},
		{Name: "events", Hint: "the server is stuck: restart it", Run: func(context.Context) error { s.hub.Stats(); return nil }},
		{Name: "pipeline", Hint: "the server is stuck: restart it", Run: func(context.Context) error { s.pipeline.Stats(); return nil }},
	}
}
