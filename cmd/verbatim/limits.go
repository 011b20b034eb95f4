package main

import (
	"cmp"
	"log/slog"
	"net/netip"

	"verbatim/internal/netlimit"
	"verbatim/signaling"
)

// limitFlags bound what clients may take.
type limitFlags struct {
	MaxSessions                    int `help:"WebRTC sessions at the same time." default:"5000" group:"Limits"`
	MaxSessionsPerRoom             int `help:"Sessions in one room (negative: no limit, as with all below)." default:"250" group:"Limits"`
	MaxSessionsPerAddress          int `help:"Sessions from one address (of IPv6: one /64)." default:"100" group:"Limits"`
	MaxSessionsPerToken            int `help:"Sessions of one token's participant, in all rooms." default:"20" group:"Limits"`
	MaxJoinsPerSecond              int `help:"Sessions that are begun in a second." default:"200" group:"Limits"`
	MaxJoinsPerAddressPerMinute    int `help:"Sessions that one address begins in a minute." default:"120" group:"Limits"`
	MaxJoinsPerTokenPerMinute      int `help:"Sessions that one token's participant begins in a minute." default:"60" group:"Limits"`
	MaxRequestsPerAddressPerMinute int `help:"Requests of one address in a minute." default:"3000" group:"Limits"`
	MaxStreams                     int `help:"Event streams and WebSockets at the same time." default:"10000" group:"Limits"`
	MaxStreamsPerAddress           int `help:"Event streams and WebSockets of one address." default:"500" group:"Limits"`
	MaxDownloads                   int `help:"Recordings, audio and transcripts that are sent at the same time." default:"1000" group:"Limits"`
	MaxDownloadsPerAddress         int `help:"Recordings, audio and transcripts that are sent to one address." default:"100" group:"Limits"`
	MaxConnections                 int `help:"HTTP connections at the same time; never more than half of the files that the process may have open (ulimit -n)." default:"20000" group:"Limits"`
	MaxConnectionsPerAddress       int `help:"HTTP connections of one address; at most a quarter of all." default:"1000" group:"Limits"`
}

func (l *limitFlags) limits() signaling.Limits {
	return signaling.Limits{
		SessionsPerRoom: l.MaxSessionsPerRoom, SessionsPerAddress: l.MaxSessionsPerAddress, SessionsPerToken: l.MaxSessionsPerToken,
		JoinsPerSecond: l.MaxJoinsPerSecond, JoinsPerAddressPerMinute: l.MaxJoinsPerAddressPerMinute, JoinsPerTokenPerMinute: l.MaxJoinsPerTokenPerMinute,
		RequestsPerAddressPerMinute: l.MaxRequestsPerAddressPerMinute,
		Streams:                     l.MaxStreams, StreamsPerAddress: l.MaxStreamsPerAddress,
		Downloads: l.MaxDownloads, DownloadsPerAddress: l.MaxDownloadsPerAddress,
	}
}

// connections bounds those to the HTTP ports, of a process that may have so many
// files open: half of them are left to media, tracks and the database. The addresses
// of own are not limited, and a sixteenth of the places is theirs alone: who asks
// /healthz from this machine is let in while others hold all the rest.
func (l *limitFlags) connections(files int, own func(netip.Addr) bool) netlimit.Limits {
	in := max(files/2, 2)
	if n := cmp.Or(l.MaxConnections, 20000); n > 0 {
		in = min(in, n)
	}
	strangers := max(in-(in+15)/16, 1)
	each := strangers
	if n := cmp.Or(l.MaxConnectionsPerAddress, 1000); n > 0 {
		each = min(n, max(strangers/4, 1))
	}
	return netlimit.Limits{Max: in, Strangers: strangers, PerAddress: each, Own: own}
}

// door is the limiter of the HTTP ports. It says if there are too few files for the
// sessions that there may be.
func (c *serveCmd) door(log *slog.Logger) *netlimit.Limiter {
	files := maxFiles()
	limits := c.connections(files, c.TLS.own)
	if limits.Max < min(c.MaxConnections, c.MaxSessions) {
		log.Info("there may be fewer HTTP connections than --max-sessions and --max-connections need, as the process may not have enough files open (ulimit -n)",
			"files", files, "connections", limits.Max)
	}
	return netlimit.New(limits)
}

// refused are requests and connections by the limit that refused them.
func (s *server) refused() map[string]uint64 {
	by := s.http.Stats().Refused
	by["connections"] = s.door.Refused()
	return by
}

// used is what is taken of limits in all.
func (s *server) used() map[string]int {
	of := s.http.Stats().Used
	of["connections"] = s.door.Open()
	return of
}
