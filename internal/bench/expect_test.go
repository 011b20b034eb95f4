//go:build linux

package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/transcribe/probe"
	"verbatim/signaling/whipclient"
)

func rotationsOf(t *testing.T, profile string) []*rotation {
	t.Helper()
	all, err := rotations(&Config{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What is expected is what a decoder makes of the packets, one after the other,
// with nothing for pauses, round after round.
func TestExpectedFrames(t *testing.T) {
	for name := range profiles {
		t.Run(name, func(t *testing.T) {
			for i, r := range rotationsOf(t, name)[3:5] {
				d := codec.NewDecoder()
				var end int64
				for n := range len(r.packets) + 30 {
					p := r.packet(n)
					if gap := p.at/audio.TicksPerSample - end; gap < 0 {
						t.Fatalf("rotation %d: packet %d is at %d, and the one before ends at sample %d", i, n, p.at, end)
					} else if gap > 0 {
						d.Silence()
						end += gap
					}
					pcm := make([]int16, p.ticks/audio.TicksPerSample)
					d.Decode(audio.FormatOpus, p.payload, pcm)
					end += int64(len(pcm))
					if want, got := (frame{end, probe.Sum(pcm)}), r.frame(n); got != want {
						t.Fatalf("rotation %d: frame %d is %+v, want %+v", i, n, got, want)
					}
				}
			}
		})
	}
}

// Profiles are what they are said to be.
func TestProfiles(t *testing.T) {
	for name, c := range map[string]struct {
		config  byte // of the TOC: RFC 6716, table 2
		ticks   int64
		talking float64 // share of the time
	}{
		"browser": {11, 2880, 1}, // SILK, wideband, 60 ms
		"default": {15, 960, 1},  // hybrid, fullband, 20 ms
		"meeting": {11, 2880, 0.27},
	} {
		for _, r := range rotationsOf(t, name) {
			other := 0
			for _, p := range r.packets {
				if p.payload[0]>>3 != c.config || p.payload[0]&4 != 0 || p.ticks != c.ticks {
					other++
				}
				if p.step > 2*time.Second.Nanoseconds()*audio.TickRate/1e9 {
					t.Errorf("%s: nothing is sent for %v", name, audio.Duration(p.step))
				}
			}
			if other > 1 { // the encoder's last may be shorter
				t.Errorf("%s: %d packets are of another kind", name, other)
			}
			share := float64(r.heard(len(r.packets))) * audio.TicksPerSample / float64(r.length)
			if share < c.talking-0.05 || share > c.talking+0.05 {
				t.Errorf("%s: there is sound in %.2f of the time, want %.2f", name, share, c.talking)
			}
		}
	}
}

func TestNoFile(t *testing.T) {
	if _, err := readFile(bytes.NewReader([]byte("RIFF"))); err == nil {
		t.Error("no error for what is no Ogg Opus file")
	}
}

// told is what the server would tell of the frames up to a packet.
func told(r *rotation, packets int) (recs []probe.Record) {
	for n := range packets {
		f := r.frame(n)
		recs = append(recs, probe.Record{End: f.end, Sum: f.sum})
	}
	return recs
}

func TestWhatIsLost(t *testing.T) {
	const sent = 20
	quiet := probe.Sum(make([]int16, 1600))
	for _, c := range []struct {
		name          string
		change        func(all []probe.Record) []probe.Record
		lost, missing int
	}{
		{"all came", func(all []probe.Record) []probe.Record { return all }, 0, 0},
		{"the last are missing", func(all []probe.Record) []probe.Record { return all[:17] }, 0, 3},
		{"one is missing", func(all []probe.Record) []probe.Record { return append(all[:7:7], all[8:]...) }, 1, 0},
		{"the first is missing", func(all []probe.Record) []probe.Record { return all[1:] }, 1, 0},
		{"other samples", func(all []probe.Record) []probe.Record { all[7].Sum++; return all }, 1, 0},
		{"silence instead", func(all []probe.Record) []probe.Record { all[7].Sum = quiet; return all }, 1, 0},
		{"one more sample", func(all []probe.Record) []probe.Record {
			for i := range all[7:] {
				all[7+i].End++
			}
			return all
		}, 13, 13},
		{"a stream opened anew", func(all []probe.Record) []probe.Record {
			again := all[5:10:10]
			again = append(again, probe.Record{End: all[5].End + 320, Sum: 99})
			return append(append(all[:10:10], again...), all[10:]...)
		}, 0, 0},
		{"silence lent ahead", func(all []probe.Record) []probe.Record {
			return append(append(all[:10:10], probe.Record{End: all[9].End + 1600, Sum: quiet}), all[10:]...)
		}, 0, 0},
		{"more than was sent", func(all []probe.Record) []probe.Record {
			return append(all, probe.Record{End: all[sent-1].End + 960, Sum: 1})
		}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &load{cfg: &Config{}}
			p := &publisher{l: l, r: rotationsOf(t, "browser")[0], sent: sent}
			l.joined = append(l.joined, p)
			for _, rec := range c.change(told(p.r, sent)) {
				p.take(rec)
			}
			lost, err := l.lost()
			if lost != c.lost || (err != nil) != (lost > 0) || l.missing() != c.missing {
				t.Errorf("%d lost (%v), %d missing; want %d and %d", lost, err, l.missing(), c.lost, c.missing)
			}
		})
	}
}

// A track that begins too late is told from one with other samples.
func TestBeginningIsMissing(t *testing.T) {
	l := &load{cfg: &Config{}}
	p := &publisher{l: l, r: rotationsOf(t, "browser")[0], sent: 9}
	l.joined = append(l.joined, p)
	late := newRotation(packetsOf(p.r)[3:], 0)
	for _, rec := range told(late, 5) {
		p.take(rec)
	}
	if lost, err := l.lost(); lost != 5 || !strings.Contains(err.Error(), "begins with packet 4") {
		t.Errorf("%d lost: %v", lost, err)
	}
}

func packetsOf(r *rotation) (all []whipclient.Packet) {
	for _, p := range r.packets {
		all = append(all, whipclient.Packet{Payload: p.payload, Ticks: p.ticks})
	}
	return all
}

// In a pause, silence may come in any pieces.
func TestPauses(t *testing.T) {
	l := &load{cfg: &Config{}}
	p := &publisher{l: l, r: rotationsOf(t, "meeting")[0], sent: 400}
	l.joined = append(l.joined, p)
	var end int64
	pauses := 0
	for n, rec := range told(p.r, p.sent) {
		begin := p.r.packet(n).at / audio.TicksPerSample
		for ; end < begin; end += min(1000, begin-end) {
			p.take(probe.Record{End: min(end+1000, begin), Sum: probe.Sum(make([]int16, min(1000, begin-end)))})
			pauses++
		}
		p.take(rec)
		end = rec.End
	}
	if lost, err := l.lost(); lost != 0 || l.missing() != 0 || pauses < 100 {
		t.Errorf("%d lost (%v), %d missing, %d pieces of pauses", lost, err, l.missing(), pauses)
	}
}

// Of a peer only lengths are known; it may hold back a little.
func TestPeer(t *testing.T) {
	l := &load{cfg: &Config{Peer: "x"}, window: &window{from: time.Unix(0, 0), to: time.Unix(100, 0)}}
	p := &publisher{l: l, r: rotationsOf(t, "meeting")[0], sent: 100, start: time.Unix(10, 0)}
	l.joined = append(l.joined, p)
	for end := int64(0); end < p.r.heard(80); end += 320 {
		p.take(probe.Record{End: end + 300, At: p.start})
	}
	if p.next != 80 || l.window.delay.n != 80 {
		t.Errorf("%d packets came, %d delays; want 80", p.next, l.window.delay.n)
	}
	if n := l.missing(); n != 20 {
		t.Errorf("%d are missing, want 20", n)
	}
}
