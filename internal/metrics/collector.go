package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"verbatim/media/audio"
	"verbatim/media/relay"
	"verbatim/pipeline"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/webhook"
)

// What is told. Names follow prometheus.io/docs/practices/naming.
var (
	tracks = desc("tracks", "Tracks that are taken in or transcribed, by the state of their transcription (none: there is no recognizer, or it has not begun).", "state")

	arrived = desc("audio_seconds_total", "Audio of all tracks, by how it arrived. What was shed was received or recovered before and counts there, too.", "kind")
	made    = desc("transcript_seconds_total", "Audio that transcripts speak for, or that was given up (skipped).", "outcome")
	pending = desc("transcript_pending_seconds", "Audio of running tracks that is still to be transcribed.")

	segments = desc("segments_total", "Segments that were stored, by the recognizer.", "engine")
	commit   = desc("commit_seconds", "How long the database took to store segments and move a transcript on.")
	delay    = desc("segment_delay_seconds", "How long after the end of what was said its segment was stored.")

	recorded       = desc("recorded_meetings_total", "Meetings whose recordings were made.")
	recordFailures = desc("recording_failures_total", "Attempts to record a meeting that failed; they are made again.")

	streams = desc("recognizer_streams", "Streams that are open at a recognizer.", "engine")
	waiting = desc("recognizer_waiting_tracks", "Tracks that wait for a free stream of a recognizer.", "engine")
	opened  = desc("recognizer_streams_opened_total", "Streams that a recognizer opened.", "engine")
	failed  = desc("recognizer_failures_total", "Streams of a recognizer that could not be opened or ended before their time.", "engine")
	finals  = desc("recognizer_finals_total", "Final results of a recognizer.", "engine")
	circuit = desc("recognizer_circuit_open", "1 while a recognizer is taken to be away and only tried now and then, else 0.", "engine")

	logs        = desc("tracklog_open_logs", "Track logs that are open.")
	memory      = desc("tracklog_memory_bytes", "Memory that holds audio of track logs.")
	memoryLimit = desc("tracklog_memory_limit_bytes", "Memory above which audio that cannot be written is shed.")
	shed        = desc("tracklog_shed_seconds_total", "Audio that was given up because it could not be written and memory was full.")
	logFailures = desc("tracklog_failures_total", "Attempts to write or sync a track log that failed.", "operation")

	sessions = desc("sessions", "Sessions that there are.", "via")
	begun    = desc("sessions_started_total", "Sessions that began.", "via")
	refused  = desc("sessions_refused_total", "Clients that were refused because there were too many sessions.", "via")
	limited  = desc("limit_refusals_total", "Requests and connections that were refused because a client had taken what one may take, or all had, by the limit: sessions in a room, of an address, of a token; streams, downloads, rate; HTTP connections.", "limit")
	used     = desc("limit_used", "What is taken of limits that are in all: HTTP connections, streams (event streams and WebSockets), downloads.", "limit")
	conns    = desc("ingest_connections", "WebSockets over which audio may come.")
	dropped  = desc("media_dropped_datagrams_total", "Datagrams that came faster than their sessions took them.")

	tcpConns   = desc("media_tcp_connections", "TCP connections over which media may come.")
	tcpBegun   = desc("media_tcp_connections_total", "TCP connections that were for a session.")
	tcpRefused = desc("media_tcp_connections_refused_total", "TCP connections for media that were closed at once, because there were too many.")

	turnAllocations = desc("turn_allocations", "Allocations of the TURN server that there are.")
	turnConns       = desc("turn_connections", "TCP and TLS connections of the TURN server.")
	turnBegun       = desc("turn_allocations_total", "Allocations of the TURN server that began.")
	turnRefused     = desc("turn_refused_total", "Allocations and connections that the TURN server refused because there were too many.")
	turnDenied      = desc("turn_denied_total", "Requests and packets to the TURN server for other addresses than the media port's.")
	turnUnheard     = desc("turn_unheard_packets_total", "Packets over UDP that the TURN server dropped because those without an allocation had sent too many.")
	turnThrottled   = desc("turn_throttled_packets_total", "Packets that the TURN server dropped because an allocation had relayed too much.")
	turnBytes       = desc("turn_relayed_bytes_total", "What the TURN server relayed from clients (up) and to them (down).", "direction")

	hooks       = desc("webhook_events_total", "Events for webhooks that were delivered, attempts that failed, events that were given up.", "outcome")
	hooksToSend = desc("webhook_pending_events", "Events that wait for a webhook.")

	watchers = desc("event_streams", "Event streams (SSE) that are open.")
	cutOff   = desc("event_streams_cut_off_total", "Event streams that were ended because the client was too slow.")
)

var (
	build    = desc("build_info", "Always 1; the labels say what runs.", "version", "go")
	draining = desc("draining", "1 while the server shuts down and takes no new sessions, else 0.")
)

// With --nats and --forward only.
var (
	linkUp       = desc("nats_connected", "1 while there is a connection to NATS for events, else 0.")
	linkPeers    = desc("nats_peers", "Other servers that are heard over NATS.")
	linkMessages = desc("nats_messages_total", "Messages of event streams between servers: sent, received, unsent (NATS was away), dropped (came too fast), ignored (unknown version or type), refused (not readable).", "outcome")
	linkLooks    = desc("nats_store_looks_total", "How often the database was asked for what is new in a room, because events may have been missed.")

	forwarding     = desc("forward_tracks", "Tracks that are being forwarded.")
	forwarded      = desc("forward_seconds_total", "Audio that the broker has acknowledged.")
	forwardBehind  = desc("forward_behind_seconds", "Audio of tracks that are being forwarded that the broker has still to get.")
	forwardSent    = desc("forward_messages_total", "Messages with audio that the broker has acknowledged.")
	forwardRetries = desc("forward_retries_total", "Attempts to forward that failed or were not acknowledged; they are made again.")
)

var all []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("verbatim_"+name, help, labels, nil)
	all = append(all, d)
	return d
}

// states are listed so that each is there before a track has been in it.
var states = []transcribe.State{
	transcribe.StateWaiting, transcribe.StateOpening, transcribe.StateLive, transcribe.StateCatchingUp, transcribe.StateIdle,
	transcribe.StateRetrying, transcribe.StateCircuitOpen, transcribe.StateFallback, transcribe.StateFinishing,
}

// collector implements prometheus.Collector.
type collector struct{ s Sources }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	out := sink{ch}
	out.pipeline(c.s.Pipeline())
	if c.s.Engines != nil {
		for _, e := range c.s.Engines() {
			out.engine(e)
		}
	}
	c.collectWebhooks(out)
	c.collectLink(out)
	c.collectLogs(out)
	c.collectSessions(out)
	if c.s.Relay != nil {
		out.relay(c.s.Relay())
	}
	out.gauge(build, 1, c.s.Version, runtime.Version())
	down := 0.0
	if c.s.Draining() {
		down = 1
	}
	out.gauge(draining, down)
}

func (c collector) collectWebhooks(out sink) {
	var sum webhook.Stats
	for _, stats := range c.s.Webhooks {
		s := stats()
		sum.Delivered += s.Delivered
		sum.Failed += s.Failed
		sum.GivenUp += s.GivenUp
		sum.Pending += s.Pending
	}
	out.counter(hooks, float64(sum.Delivered), "delivered")
	out.counter(hooks, float64(sum.Failed), "failed")
	out.counter(hooks, float64(sum.GivenUp), "given_up")
	out.gauge(hooksToSend, float64(sum.Pending))
}

func (c collector) collectLink(out sink) {
	if c.s.Link != nil {
		s := c.s.Link()
		up := 0.0
		if s.Connected {
			up = 1
		}
		out.gauge(linkUp, up)
		out.gauge(linkPeers, float64(s.Peers))
		out.counter(linkMessages, float64(s.Sent), "sent")
		out.counter(linkMessages, float64(s.Received), "received")
		out.counter(linkMessages, float64(s.Unsent), "unsent")
		out.counter(linkMessages, float64(s.Dropped), "dropped")
		out.counter(linkMessages, float64(s.Ignored), "ignored")
		out.counter(linkMessages, float64(s.Refused), "refused")
		out.counter(linkLooks, float64(s.Looks))
	}
	if c.s.Forward != nil {
		s := c.s.Forward()
		out.gauge(forwarding, float64(s.Tracks))
		out.counter(forwarded, float64(s.Forwarded)/audio.FrameRate)
		out.gauge(forwardBehind, float64(s.Behind)/audio.FrameRate)
		out.counter(forwardSent, float64(s.Messages))
		out.counter(forwardRetries, float64(s.Retries))
	}
}

// sink is where the numbers go.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s sink) histogram(d *prometheus.Desc, h pipeline.Histogram) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, b := range h.Bounds {
		buckets[b] = h.Counts[i]
	}
	s.ch <- prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets)
}

func seconds(ticks int64) float64 { return float64(ticks) / audio.TickRate }

func (s sink) pipeline(p pipeline.Stats) {
	for _, st := range states {
		s.gauge(tracks, float64(p.Tracks[string(st)]), string(st))
	}
	s.gauge(tracks, float64(p.Tracks[""]), "none")

	a := p.Ticks.Arrived
	s.counter(arrived, seconds(a.Received), "received")
	s.counter(arrived, seconds(a.Recovered), "recovered")
	s.counter(arrived, seconds(a.Concealed), "concealed")
	s.counter(arrived, seconds(a.Silence), "silence")
	s.counter(arrived, seconds(a.Discontinuity), "discontinuity")
	s.counter(arrived, seconds(a.Shed), "shed")
	s.counter(made, seconds(p.Ticks.Transcribed), "transcribed")
	s.counter(made, seconds(p.Ticks.Skipped), "skipped")
	s.gauge(pending, seconds(p.Pending))

	for engine, n := range p.Segments {
		s.counter(segments, float64(n), engine)
	}
	s.histogram(commit, p.Commit)
	s.histogram(delay, p.Delay)
	s.counter(recorded, float64(p.Recorded))
	s.counter(recordFailures, float64(p.RecordFailures))
}

func (s sink) engine(e transcribe.EngineStats) {
	s.gauge(streams, float64(e.Streams), e.Name)
	s.gauge(waiting, float64(e.Waiting), e.Name)
	s.counter(opened, float64(e.Opened), e.Name)
	s.counter(failed, float64(e.Failed), e.Name)
	s.counter(finals, float64(e.Finals), e.Name)
	open := 0.0
	if e.CircuitOpen {
		open = 1
	}
	s.gauge(circuit, open, e.Name)
}

func (c collector) collectLogs(s sink) {
	l := c.s.Logs()
	s.gauge(logs, float64(l.Logs))
	s.gauge(memory, float64(l.MemoryBytes))
	s.gauge(memoryLimit, float64(l.MemoryLimit))
	s.counter(shed, seconds(l.Shed))
	s.counter(logFailures, float64(l.WriteFailures), "write")
	s.counter(logFailures, float64(l.SyncFailures), "sync")
}

func (s sink) relay(r relay.Stats) {
	s.gauge(turnAllocations, float64(r.Allocations))
	s.gauge(turnConns, float64(r.Connections))
	s.counter(turnBegun, float64(r.Begun))
	s.counter(turnRefused, float64(r.Refused))
	s.counter(turnDenied, float64(r.Denied))
	s.counter(turnThrottled, float64(r.Throttled))
	s.counter(turnUnheard, float64(r.Unheard))
	s.counter(turnBytes, float64(r.Up), "up")
	s.counter(turnBytes, float64(r.Down), "down")
}

func (c collector) collectSessions(s sink) {
	m, i := c.s.Media(), c.s.Ingest()
	s.gauge(sessions, float64(m.Sessions), "whip")
	s.gauge(sessions, float64(i.Sessions), "ingest")
	s.counter(begun, float64(m.Begun), "whip")
	s.counter(begun, float64(i.Begun), "ingest")
	s.counter(refused, float64(m.Refused), "whip")
	s.counter(refused, float64(i.Refused), "ingest")
	for limit, n := range c.s.Limited() {
		s.counter(limited, float64(n), limit)
	}
	for limit, n := range c.s.Used() {
		s.gauge(used, float64(n), limit)
	}
	s.gauge(conns, float64(i.Connections))
	s.counter(dropped, float64(m.Dropped))
	s.gauge(tcpConns, float64(m.TCPConnections))
	s.counter(tcpBegun, float64(m.TCPBegun))
	s.counter(tcpRefused, float64(m.TCPRefused))

	e := c.s.Events()
	s.gauge(watchers, float64(e.Subscribers))
	s.counter(cutOff, float64(e.CutOff))
}
