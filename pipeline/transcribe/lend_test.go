package transcribe

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// silentPackets (20 ms each) are what browsers still send before they stop.
const silentPackets = 10

// dtxLog is a sentence in real time, then nothing for some time, and at last
// what the rest of the test adds.
type dtxLog struct {
	packets []audio.Packet
	pause   time.Duration // before the packets after the sentence
	spoken  int
}

func newDTXLog(pause time.Duration, rest ...audio.Packet) *dtxLog {
	l := &dtxLog{pause: pause}
	add := func(p audio.Packet) {
		if n := len(l.packets); n > 0 {
			p.Seq, p.Start = uint64(n), l.packets[n-1].Next()
		}
		l.packets = append(l.packets, p)
	}
	for _, p := range speech.Packets("sas-0880") {
		add(audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: p})
	}
	for range silentPackets {
		add(audio.Packet{Samples: 960, Kind: audio.Silence})
	}
	l.spoken = len(l.packets)
	for _, p := range rest {
		add(p)
	}
	add(audio.Packet{Kind: audio.End})
	return l
}

func (l *dtxLog) SeqAt(int64) uint64 { return 0 }

func (l *dtxLog) Tail() (tick int64) {
	for _, p := range l.packets {
		if !l.due(p).After(time.Now()) {
			tick = p.Next()
		}
	}
	return tick
}

func (l *dtxLog) due(p audio.Packet) time.Time {
	due := epoch.Add(time.Duration(p.Start) * time.Second / audio.TickRate)
	if int(p.Seq) >= l.spoken {
		due = due.Add(l.pause)
	}
	return due
}

func (l *dtxLog) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for _, p := range l.packets[from:] {
			select {
			case <-time.After(time.Until(l.due(p))):
			case <-ctx.Done():
				yield(audio.Packet{}, ctx.Err())
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// epoch is when every synctest bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// pauseEngine shows an interim at once and says its final after 600 ms of zeros;
// at the end a second one for what came after.
type pauseEngine struct {
	results chan Result
	heard   int64
	zeros   int64
	finalAt time.Duration
	end     int64
	closed  bool
}

func (e *pauseEngine) Open(context.Context, Options) (Stream, error) { return e, nil }

func (e *pauseEngine) Write(_ context.Context, f audio.Frame) error {
	if e.heard == 0 {
		e.results <- Result{Text: "he", End: 1}
	}
	e.heard += int64(len(f.PCM))
	e.zeros += int64(len(f.PCM))
	for _, v := range f.PCM {
		if v != 0 {
			e.zeros = 0
		}
	}
	if e.end == 0 && e.zeros >= 600*audio.FrameRate/1000 {
		e.finalAt, e.end = time.Since(epoch), e.heard
		e.results <- Result{Final: true, Text: "he was", End: e.heard}
	}
	return nil
}

func (e *pauseEngine) Results() <-chan Result { return e.results }

func (e *pauseEngine) Finish(context.Context) error {
	e.results <- Result{Final: true, Text: "last", Start: e.heard - 160, End: e.heard}
	return e.Close()
}

func (e *pauseEngine) Close() error {
	if !e.closed {
		e.closed = true
		close(e.results)
	}
	return nil
}

// placeSink keeps the utterances.
type placeSink struct {
	finals  []Utterance
	through []int64
}

func (s *placeSink) Interim(Utterance) {}

func (s *placeSink) State(Status) {}

func (s *placeSink) Commit(_ context.Context, through int64, finals []Utterance) error {
	s.finals = append(s.finals, finals...)
	s.through = append(s.through, through)
	return nil
}

func TestSilenceIsLentWhileASenderIsQuiet(t *testing.T) {
	for _, c := range []struct {
		name string
		rest audio.Packet
		lent bool // the stream keeps more than the track has
	}{
		{"it was silence", audio.Packet{Samples: 2 * audio.TickRate, Kind: audio.Silence}, false},
		{"it was a stall", audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: []byte{9 << 3, 0}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newDTXLog(2*time.Second, c.rest)
				e := &pauseEngine{results: make(chan Result, 10)}
				sink := &placeSink{}
				s := supervisorOf(e)
				if err := s.Run(t.Context(), "track", l, 0, sink); err != nil {
					t.Fatal(err)
				}
				spoken := time.Duration(l.packets[l.spoken].Start) * time.Second / audio.TickRate
				if late := e.finalAt - spoken; late > 800*time.Millisecond {
					t.Errorf("the final came %v after the last packet", late)
				}
				total := l.packets[len(l.packets)-1].Start / audio.TicksPerSample
				if (e.heard > total) != c.lent || e.heard < total {
					t.Errorf("the stream got %d samples, the track has %d", e.heard, total)
				}
				if last := sink.finals[len(sink.finals)-1]; last.End != total {
					t.Errorf("the last utterance ends at %d, the track at %d", last.End, total)
				}
				// Nobody speaks for what was only lent.
				if end := l.packets[l.spoken].Start / audio.TicksPerSample; sink.through[0] > end {
					t.Errorf("through %d at the first final, only %d had come", sink.through[0], end)
				}
			})
		})
	}
}

// stuckEngine's first stream answers to all that it takes, and takes only the
// silence that came.
type stuckEngine struct {
	streams []*pauseEngine
}

func (e *stuckEngine) Open(context.Context, Options) (Stream, error) {
	s := &pauseEngine{results: make(chan Result, 10)}
	if e.streams = append(e.streams, s); len(e.streams) == 1 {
		return &stuckStream{pauseEngine: s}, nil
	}
	return s, nil
}

type stuckStream struct {
	*pauseEngine
	silence int
}

func (s *stuckStream) Write(ctx context.Context, f audio.Frame) error {
	if f.Kind == audio.Silence {
		if s.silence += len(f.PCM); s.silence > silentPackets*audio.FrameRate/50 {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	err := s.pauseEngine.Write(ctx, f)
	s.results <- Result{Text: "he", End: s.heard}
	return err
}

func TestEngineThatHangsOnLentSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDTXLog(10 * time.Minute)
		e, sink := &stuckEngine{}, &placeSink{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := supervisorOf(e).Run(ctx, "track", l, 0, sink); err != nil {
			t.Fatal(err)
		}
		if n := len(e.streams); n < 2 {
			t.Fatalf("%d stream, and nobody noticed that it was stuck", n)
		}
		if at := e.streams[1].finalAt; at == 0 || at > 2*time.Minute {
			t.Errorf("the final came after %v", at)
		}
	})
}
