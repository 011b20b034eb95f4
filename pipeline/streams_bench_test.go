package pipeline

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/opus/pkg/oggreader"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/probe"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcript"
)

// How many tracks BenchmarkStreams runs, and how many of them make a meeting.
var streams = flag.Int("streams", 400, "tracks of BenchmarkStreams")

const benchRoom = 8

// BenchmarkStreams is what is behind the media engine, as serve wires it and in
// real time: the logs and what writes them, the decoder, the detector, the
// supervisor with the probe, the database. It reports the CPU of all of it, and
// what a track takes of the heap and of stacks. An iteration is a second, so
// -benchtime=10s with -cpu 1 is a good choice.
func BenchmarkStreams(b *testing.B) {
	for _, profile := range []string{"browser", "meeting", "default"} {
		b.Run(profile, func(b *testing.B) { benchStreams(b, said(b, "../internal/bench/"+profile+".opus")) })
	}
	b.Run("pause", func(b *testing.B) { benchStreams(b, pauses(said(b, "../internal/bench/meeting.opus"))) })
}

// pauses are what is sent while nobody speaks: silence, and after each of it the
// packet by which the encoder tells of the room.
func pauses(packets []audio.Packet) (quiet []audio.Packet) {
	for i, p := range packets[1:] {
		if p.Kind == audio.Silence && packets[i].Kind == audio.Coded {
			quiet = append(quiet, packets[i], p)
		}
	}
	return quiet
}

// said is what a sender sends of a file: nothing for the frames that its encoder
// left out (DTX).
func said(b *testing.B, file string) (packets []audio.Packet) {
	b.Helper()
	ogg, _, err := oggreader.NewWith(bytes.NewReader(must[[]byte](b)(os.ReadFile(file))))
	for err == nil {
		var payload []byte
		if payload, _, err = ogg.ParseNextPacket(); err != nil || bytes.HasPrefix(payload, []byte("OpusTags")) {
			continue
		}
		ticks := must[int64](b)(codec.Duration(audio.FormatOpus, payload))
		switch n := len(packets); {
		case len(payload) > 2:
			packets = append(packets, audio.Packet{Samples: ticks, Kind: audio.Coded, Format: audio.FormatOpus, Payload: bytes.Clone(payload)})
		case packets[n-1].Kind == audio.Silence:
			packets[n-1].Samples += ticks
		default:
			packets = append(packets, audio.Packet{Samples: ticks, Kind: audio.Silence})
		}
	}
	if !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	return packets
}

func benchStreams(b *testing.B, packets []audio.Packet) {
	s, stop := newBenchServer(b)
	defer stop()
	before := memory()
	lines := make([]benchLine, *streams)
	for i := range lines {
		m := must[meeting.Membership](b)(s.registry.Join(b.Context(), fmt.Sprintf("room-%d", i/benchRoom), transcript.Participant{ID: fmt.Sprint(i)}))
		w := must[*Writer](b)(s.OpenTrack(b.Context(), m.Session, m.StartedAt))
		lines[i] = benchLine{Writer: w, packets: packets}
	}
	began := time.Now()
	var whole time.Duration
	for _, p := range packets {
		whole += audio.Duration(p.Samples)
	}
	for i := range lines { // each is somewhere else
		lines[i].begin(began, whole*time.Duration(i)/time.Duration(len(lines)))
	}
	play := func(until time.Time) (n int) {
		for now := began; now.Before(until); time.Sleep(2 * time.Millisecond) {
			now = time.Now()
			for i := range lines {
				n += lines[i].play(b, now.Sub(began))
			}
		}
		return n
	}
	until := began.Add(3 * time.Second) // buffers grow
	play(until)
	n, seconds, used, gc := 0, 0, cpu(), gcCPU()
	for b.Loop() {
		until = until.Add(time.Second)
		n += play(until)
		seconds++
	}
	used, gc = cpu()-used, gcCPU()-gc
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(used.Microseconds())/float64(n), "us/packet")
	b.ReportMetric(float64(used.Microseconds())/float64(seconds**streams), "us/stream-s")
	b.ReportMetric(100*gc/used.Seconds(), "%gc")
	b.ReportMetric(float64(runtime.NumGoroutine()-before.goroutines)/float64(*streams), "goroutines/stream")
	after := memory()
	b.ReportMetric(float64(after.heap-before.heap)/1e3/float64(*streams), "heap-KB/stream")
	b.ReportMetric(float64(after.stack-before.stack)/1e3/float64(*streams), "stack-KB/stream")
	for i := range lines {
		check(b, lines[i].Append(b.Context(), lines[i].end()))
	}
	s.finish(b)
}

// benchLine sends packets over and over again.
type benchLine struct {
	*Writer
	sender
	packets []audio.Packet
	next    int
	due     time.Duration // when the next packet was spoken
}

// begin makes the line one that is at that place of its packets.
func (l *benchLine) begin(now time.Time, at time.Duration) {
	l.at = now
	for ; at > l.due; l.next++ {
		l.due += audio.Duration(l.packets[l.next].Samples)
	}
	l.next %= len(l.packets)
	l.due -= at
}

func (l *benchLine) play(b *testing.B, now time.Duration) (n int) {
	for ; l.due <= now; n++ {
		p := l.packets[l.next]
		l.next = (l.next + 1) % len(l.packets)
		l.due += audio.Duration(p.Samples)
		check(b, l.Append(b.Context(), l.sender.next(p)))
	}
	return n
}

// newBenchServer is one as serve makes it.
func newBenchServer(b *testing.B) (*server, func()) {
	b.Helper()
	w := newWorld(b)
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(w.dir, "probe.sock")
	l := must[net.Listener](b)(new(net.ListenConfig).Listen(b.Context(), "unix", path))
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err == nil {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			_, _ = io.Copy(io.Discard, c) // until it is closed
		}
	})
	engine := must[transcribe.Engine](b)(probe.New(must[*spec.Spec](b)(spec.Parse("probe:"+path)), transcribe.Host{Dial: new(net.Dialer).DialContext}))
	s := w.server(transcribe.New(transcribe.Config{Engines: []transcribe.Engine{engine}, Logger: log}), func(meeting.Event) {}, log)
	s.logs = must[*tracklog.Store](b)(tracklog.New(tracklog.Options{Dir: filepath.Join(w.dir, "synced"), Logger: log}))
	s.cfg.Logs = s.logs
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() { s.registry.Run(ctx) })
	wg.Go(func() {
		if err := s.logs.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	return s, func() {
		cancel()
		check(b, l.Close())
		wg.Wait()
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it knows this constant
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// gcCPU is what garbage collection has used, in seconds.
func gcCPU() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64() - s[1].Value.Float64()
}

type usage struct{ heap, stack, goroutines int }

// memory is what lives. A collection makes stacks smaller, so those come first.
func memory() usage {
	n := runtime.NumGoroutine()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	stack := int(m.StackInuse)
	runtime.GC()
	runtime.GC() // what pools had, and what had a finalizer
	runtime.ReadMemStats(&m)
	return usage{int(m.HeapAlloc), stack, n}
}
