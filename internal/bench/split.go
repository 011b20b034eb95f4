//go:build linux

package bench

import (
	"strings"

	"github.com/google/pprof/profile"
)

// parts are what CPU time is split into, in the order of a packet's way.
var parts = []string{"network", "crypto", "reorder", "decode", "log", "stages", "signaling", "runtime", "other"}

// owners says whose time it is that a function's code, and what it calls, takes:
// the longest prefix counts. The runtime and the standard library are in it where
// they do one thing only; else it is their caller's time.
var owners = map[string]string{
	"net.(*UDPConn)":                           "network",
	"net.(*conn).Read":                         "network",
	"internal/poll.(*FD).ReadFrom":             "network",
	"internal/poll.(*FD).WriteTo":              "network",
	"internal/poll.(*FD).ReadMsg":              "network",
	"internal/poll.(*FD).RawRead":              "network",
	"golang.org/x/net/":                        "network",
	"github.com/pion/ice/":                     "network",
	"github.com/pion/stun/":                    "network",
	"github.com/pion/transport/":               "network",
	"github.com/pion/webrtc/v4/internal/mux":   "network",
	"github.com/pion/interceptor":              "network",
	"github.com/pion/webrtc/v4.(*TrackRemote)": "network",
	"github.com/pion/webrtc/v4.(*RTPReceiver)": "network",
	"github.com/pion/rtcp":                     "network",
	"verbatim/media.(*mux":                     "network",
	"verbatim/media.(*Session)":                "network",

	"github.com/pion/srtp/": "crypto",

	"verbatim/media.(*track)": "reorder",
	"verbatim/media/reorder":  "reorder",
	"verbatim/media/red":      "reorder",
	"verbatim/media/audio":    "reorder",
	"github.com/pion/rtp":     "reorder",

	"verbatim/pipeline/decode": "decode",
	"verbatim/media/codec":     "decode",
	"github.com/pion/opus":     "decode",
	"gopkg.in/hraban/opus":     "decode",

	"verbatim/pipeline/tracklog": "log",

	"verbatim/pipeline/": "stages",
	"verbatim/pipeline.": "stages",
	"database/sql":       "stages",
	"modernc.org/":       "stages",

	"net/http":                  "signaling",
	"verbatim/signaling":        "signaling",
	"verbatim/media.(*Engine)":  "signaling",
	"github.com/pion/webrtc/v4": "signaling",
	"github.com/pion/sdp/":      "signaling",
	"github.com/pion/dtls/":     "signaling",

	"runtime/pprof": "other",
}

// owner is whose time a function's is, "" where it is its caller's.
func owner(function string) (part string) {
	longest := 0
	for prefix, p := range owners {
		if len(prefix) > longest && strings.HasPrefix(function, prefix) {
			longest, part = len(prefix), p
		}
	}
	return part
}

// split tells which share of a CPU profile's time each part took. A sample
// belongs to the innermost function that has an owner; one that has none is the
// runtime's if nothing but the runtime is in it.
func split(p *profile.Profile) map[string]float64 {
	cpu := len(p.SampleType) - 1 // samples come first, then nanoseconds
	known := map[string]string{}
	times := map[string]int64{}
	var total int64
	for _, s := range p.Sample {
		part := "runtime"
	stack:
		for _, loc := range s.Location {
			for _, line := range loc.Line {
				name := line.Function.Name
				o, ok := known[name]
				if !ok {
					o = owner(name)
					known[name] = o
				}
				if o != "" {
					part = o
					break stack
				}
				if !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "internal/runtime/") {
					part = "other"
				}
			}
		}
		times[part] += s.Value[cpu]
		total += s.Value[cpu]
	}
	shares := map[string]float64{}
	for _, part := range parts {
		if total > 0 {
			shares[part] = float64(times[part]) / float64(total)
		}
	}
	return shares
}
