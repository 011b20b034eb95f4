package transcribe

import (
	"context"
	"testing"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// noStream takes everything and says nothing.
type noStream struct{}

func (noStream) Write(context.Context, audio.Frame) error { return nil }
func (noStream) Finish(context.Context) error             { return nil }
func (noStream) Results() <-chan Result                   { return nil }
func (noStream) Close() error                             { return nil }

// newBusyFeed is a feed with an open stream, and the packets of a sentence.
func newBusyFeed(tb testing.TB) (f *feed, packets []audio.Packet) {
	tb.Helper()
	s := New(Config{Engines: []Engine{{Name: "none"}}})
	r := &run{s: s, log: newToneLog(0), sink: &testSink{}}
	f = newFeed(r)
	f.s = &session{stream: noStream{}}
	for _, p := range speech.Packets("sas-0880") {
		packets = append(packets, audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: p})
	}
	return f, packets
}

// BenchmarkFeed is what a packet of 20 ms costs from the log to the stream, the
// decoder included.
func BenchmarkFeed(b *testing.B) {
	f, packets := newBusyFeed(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := packets[i%len(packets)]
		p.Seq, p.Start = uint64(i), int64(i)*960
		if err := f.packet(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFeedAllocatesNothing(t *testing.T) {
	f, packets := newBusyFeed(t)
	i := 0
	feed := func() {
		p := packets[i%len(packets)]
		p.Seq, p.Start = uint64(i), int64(i)*960
		if err := f.packet(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		i++
	}
	for range 500 { // buffers grow
		feed()
	}
	if n := testing.AllocsPerRun(300, feed); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
