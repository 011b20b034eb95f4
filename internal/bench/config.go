// Package bench measures how many participants a server carries. It starts the
// server as a process of its own on CPUs of its own, lets participants join over
// real WebRTC, and has it tell what reached a recognizer, and when
// (pipeline/transcribe/probe); so it knows of every packet how long it took, and
// that its audio is what the same decoder makes of it here.
//
// Run is all there is. A ramp (bench.go) adds participants until packets take too
// long or audio is missing. load.go has the participants, a goroutine each, and
// one that reads what the server tells; expect.go knows what it has to be;
// server.go starts the server and looks at what it uses; split.go tells what its
// CPU time was for; report.go, chart.go show it.
package bench

import (
	"io"
	"time"
)

// Config of a run. What is zero has a default, or is off.
type Config struct {
	// Profile names what is sent: see Profiles. File is an Ogg Opus file to send
	// instead; its packets of one or two bytes are not sent (DTX).
	Profile string
	File    string
	// ServerCPUs and LoadCPUs are lists such as 0,2-3.
	ServerCPUs, LoadCPUs string
	RoomSize             int
	// Start, Step and Max are numbers of participants; 0: the profile's. Streams
	// is a fixed number of them instead; 0: there is none.
	Start, Step, Max, Streams int
	// Joins is how many may join in a second; 0: as fast as the server takes
	// them. JoinParallel is how many do at the same time.
	Joins        float64
	JoinParallel int
	// Settle is how long nothing is measured after the last has joined: at least
	// a second, in which a track's first packets wait.
	Settle, Window time.Duration
	// SLO is what 99 % of the packets must take at most.
	SLO time.Duration
	// ServerFlags are further ones of `verbatim serve`; ServerEnv is KEY=VALUE.
	ServerFlags, ServerEnv []string
	// Peer is a shell command that starts another server, see docs/PERFORMANCE.md.
	Peer      string
	NoProfile bool
	// JSON and SVG are files to write; "": none.
	JSON, SVG string
	// Out gets the tables.
	Out io.Writer
}
