package main

import "verbatim/signaling"

// limitFlags bound what clients may take.
type limitFlags struct {
	MaxSessions                    int `help:"WebRTC sessions at the same time." default:"5000" group:"Limits"`
	MaxSessionsPerRoom             int `help:"Sessions in one room (negative: no limit, as with all below)." default:"250" group:"Limits"`
	MaxSessionsPerAddress          int `help:"Sessions from one address (of IPv6: one /64)." default:"100" group:"Limits"`
	MaxSessionsPerToken            int `help:"Sessions of one token's participant, in all rooms." default:"20" group:"Limits"`
	MaxJoinsPerSecond              int `help:"Sessions that are begun in a second." default:"200" group:"Limits"`
	MaxJoinsPerAddressPerMinute    int `help:"Sessions that one address begins in a minute." default:"120" group:"Limits"`
	MaxRequestsPerAddressPerMinute int `help:"Requests of one address in a minute." default:"3000" group:"Limits"`
	MaxStreams                     int `help:"Event streams and WebSockets at the same time." default:"10000" group:"Limits"`
	MaxStreamsPerAddress           int `help:"Event streams and WebSockets of one address." default:"500" group:"Limits"`
}

func (l *limitFlags) limits() signaling.Limits {
	return signaling.Limits{
		SessionsPerRoom: l.MaxSessionsPerRoom, SessionsPerAddress: l.MaxSessionsPerAddress, SessionsPerToken: l.MaxSessionsPerToken,
		JoinsPerSecond: l.MaxJoinsPerSecond, JoinsPerAddressPerMinute: l.MaxJoinsPerAddressPerMinute,
		RequestsPerAddressPerMinute: l.MaxRequestsPerAddressPerMinute,
		Streams:                     l.MaxStreams, StreamsPerAddress: l.MaxStreamsPerAddress,
	}
}
