//go:build linux

package bench

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
	"verbatim/pipeline/transcribe/probe"
	"verbatim/signaling/whipclient"
)

// How the files are made is in scripts/bench-speech.sh.
var (
	//go:embed browser.opus
	browserOpus []byte
	//go:embed default.opus
	defaultOpus []byte
	//go:embed meeting.opus
	meetingOpus []byte
)

// material is what participants send, and how many of them there are by default.
type material struct {
	opus             []byte
	start, step, max int
}

var profiles = map[string]material{
	"browser": {browserOpus, 100, 50, 2000},
	"default": {defaultOpus, 50, 25, 1000},
	"meeting": {meetingOpus, 200, 100, 4000},
}

// rotationCount is how many participants send different packets at a time: each
// begins in another place of the file.
const rotationCount = 8

// dtxBytes is the size of packets that say that there is nothing to say. WebRTC
// senders leave them out.
const dtxBytes = 2

// packet is one that is sent. Times are in ticks (48 kHz).
type packet struct {
	payload []byte
	at      int64 // from the first packet of the round
	step    int64 // until the packet that follows
	ticks   int64 // what it lasts
}

// rotation is the file from one place on, without end, and what a recognizer
// has to get of it.
type rotation struct {
	packets []packet // a round
	length  int64    // of it, ticks
	coded   []int64  // samples (16 kHz) of it up to and with each packet, without pauses

	mu       sync.Mutex // guards what follows
	frames   []frame    // of the packets so far
	timeline audio.Timeline
	decoder  *decode.Decoder
}

// frame is what becomes of a packet: where it ends on the track, in samples
// (16 kHz), and the sum that the probe tells of it.
type frame struct {
	end int64
	sum uint32
}

// readFile reads the packets of an Ogg Opus file, those of a pause as well.
func readFile(r io.Reader) (packets []whipclient.Packet, err error) {
	speech := false
	for p, err := range whipclient.ReadOgg(r) {
		if err != nil {
			return nil, err
		}
		if p.Ticks%audio.TicksPerSample != 0 {
			return nil, errors.New("packets that do not last whole samples cannot be followed")
		}
		packets = append(packets, whipclient.Packet{Payload: slices.Clone(p.Payload), Ticks: p.Ticks})
		speech = speech || len(p.Payload) > dtxBytes
	}
	if !speech {
		return nil, errors.New("there is no audio in the Ogg Opus file")
	}
	return packets, nil
}

// rotations makes those of a profile, or of a file.
func rotations(c *Config) (all []*rotation, err error) {
	var in io.Reader = bytes.NewReader(profiles[c.Profile].opus)
	if c.File != "" {
		b, err := os.ReadFile(c.File)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	packets, err := readFile(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	for i := range rotationCount {
		all = append(all, newRotation(packets, i*len(packets)/rotationCount))
	}
	return all, nil
}

func newRotation(packets []whipclient.Packet, first int) *rotation {
	for len(packets[first].Payload) <= dtxBytes {
		first = (first + 1) % len(packets)
	}
	r := &rotation{decoder: decode.New()}
	var coded int64
	for _, p := range slices.Concat(packets[first:], packets[:first]) {
		if len(p.Payload) > dtxBytes {
			coded += p.Ticks / audio.TicksPerSample
			r.packets = append(r.packets, packet{payload: p.Payload, at: r.length, ticks: p.Ticks})
			r.coded = append(r.coded, coded)
		}
		r.length += p.Ticks
		last := &r.packets[len(r.packets)-1]
		last.step = r.length - last.at
	}
	return r
}

// packet is the n-th that is sent; at is from the first on.
func (r *rotation) packet(n int) packet {
	p := r.packets[n%len(r.packets)]
	p.at += int64(n/len(r.packets)) * r.length
	return p
}

// heard is how many samples (16 kHz) there are of the first n packets, without
// the pauses between them.
func (r *rotation) heard(n int) int64 {
	round := len(r.coded)
	sum := int64(n/round) * r.coded[round-1]
	if n %= round; n > 0 {
		sum += r.coded[n-1]
	}
	return sum
}

// frame is the n-th packet's. It takes the server's own way, from the timeline on.
func (r *rotation) frame(n int) frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.frames) <= n {
		i := len(r.frames)
		p := r.packet(i)
		r.timeline.Push(audio.Coding{
			Ext: 1<<16 + int64(i), Timestamp: uint32(p.at), Rate: audio.TickRate, Samples: p.ticks,
			Format: audio.FormatOpus, Arrived: time.Unix(0, 0).Add(audio.Duration(p.at)), Payload: p.payload,
		}, func(p audio.Packet) {
			r.decoder.Packet(p, func(f audio.Frame) bool {
				if f.Kind == audio.Coded {
					r.frames = append(r.frames, frame{end: f.Start + int64(len(f.PCM)), sum: probe.Sum(f.PCM)})
				}
				return true
			})
		})
	}
	return r.frames[n]
}

// firstOf finds the packet of which a new decoder makes a frame with that sum,
// among the first few; -1: none of them.
func (r *rotation) firstOf(sum uint32) int {
	for n := range 50 {
		p := r.packet(n)
		found := false
		decode.New().Packet(audio.Packet{Samples: p.ticks, Kind: audio.Coded, Format: audio.FormatOpus, Payload: p.payload}, func(f audio.Frame) bool {
			found = probe.Sum(f.PCM) == sum
			return true
		})
		if found {
			return n
		}
	}
	return -1
}

// silences are the sums of frames without sound.
var silences = func() map[uint32]bool {
	sums := map[uint32]bool{}
	for n := range 2 * audio.FrameRate / 10 {
		sums[probe.Sum(make([]int16, n+1))] = true
	}
	return sums
}()
