package main

import (
	"context"
	"os"
	"time"

	"verbatim/internal/bench"
)

type benchCmd struct {
	Profile      string        `help:"What participants send: browser (60 ms packets, what our answer asks browsers for), default (20 ms, fullband), meeting (as browser, a quarter of the time, DTX in the rest)." enum:"browser,default,meeting" default:"browser"`
	File         string        `help:"Ogg Opus file to send instead." type:"existingfile"`
	ServerCPUs   string        `name:"server-cpus" help:"CPUs for the server, such as 0,2-3." default:"0" placeholder:"LIST"`
	LoadCPUs     string        `name:"load-cpus" help:"CPUs for the participants." default:"1" placeholder:"LIST"`
	RoomSize     int           `help:"Participants in a room." default:"5"`
	Start        int           `help:"Participants of the first step (default: by profile)." placeholder:"N"`
	Step         int           `help:"How many come with each step (default: by profile)." placeholder:"N"`
	Max          int           `help:"Participants of the last step (default: by profile)." placeholder:"N"`
	Streams      int           `help:"This many participants, in one step (0: a ramp of --start, --step and --max)." default:"0" placeholder:"N"`
	Window       time.Duration `help:"How long each step is measured; from two minutes on it is a soak, with a line a minute." default:"10s"`
	Settle       time.Duration `help:"How long nothing is measured after the last has joined." default:"3s"`
	SLO          time.Duration `name:"slo" help:"What 99 % of the packets may take at most, from when they are due to when their audio is at the recognizer." default:"250ms"`
	Joins        float64       `help:"How many participants join in a second; 0: as fast as the server takes them." default:"25"`
	JoinParallel int           `help:"How many participants join at the same time." default:"16"`
	ServerFlag   []string      `help:"Further flag for the server, --server-flag=--fsync=-1s (may be repeated)." sep:"none" placeholder:"FLAG"`
	ServerEnv    []string      `help:"Environment variable of the server, GOGC=200 (may be repeated)." sep:"none" placeholder:"KEY=VALUE"`
	Peer         string        `help:"Measure another server instead, which this command starts (docs/PERFORMANCE.md says what it has to do)." placeholder:"COMMAND"`
	NoProfile    bool          `help:"Take no CPU profile of the server, and give no split."`
	JSON         string        `name:"json" help:"File for the results." type:"path" placeholder:"FILE"`
	SVG          string        `name:"svg" help:"File for a chart of CPU and delay over the number of streams." type:"path" placeholder:"FILE"`
}

// Run measures.
func (c *benchCmd) Run(ctx context.Context) error {
	return bench.Run(ctx, bench.Config{
		Profile: c.Profile, File: c.File, ServerCPUs: c.ServerCPUs, LoadCPUs: c.LoadCPUs, RoomSize: c.RoomSize,
		Start: c.Start, Step: c.Step, Max: c.Max, Streams: c.Streams, Joins: c.Joins, JoinParallel: c.JoinParallel,
		Settle: c.Settle, Window: c.Window, SLO: c.SLO, ServerFlags: c.ServerFlag, ServerEnv: c.ServerEnv,
		Peer: c.Peer, NoProfile: c.NoProfile, JSON: c.JSON, SVG: c.SVG, Out: os.Stdout,
	})
}
