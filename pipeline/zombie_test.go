package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

// spell is an engine that reads the words of tonecode. A sentence ends with the
// pause behind it. gate is asked before each final, if there is one.
type spell struct {
	gate func(ctx context.Context) error
}

func (e spell) Open(context.Context, transcribe.Options) (transcribe.Stream, error) {
	return &spelling{spell: e, results: make(chan transcribe.Result, 100)}, nil
}

type spelling struct {
	spell
	reader  tonecode.Reader
	at      int64
	words   []transcribe.Word
	results chan transcribe.Result
	once    sync.Once
}

func (s *spelling) Write(ctx context.Context, f audio.Frame) error {
	s.hear(s.reader.Write(f.PCM))
	s.at += int64(len(f.PCM))
	if n := len(s.words); n > 0 && s.at-s.words[n-1].End > 3*tonecode.Symbol {
		return s.final(ctx)
	}
	return nil
}

func (s *spelling) hear(heard []tonecode.Heard) {
	for _, h := range heard {
		s.words = append(s.words, transcribe.Word{Text: tonecode.Word(h.Index), Start: h.Start, End: h.Start + tonecode.Symbol})
	}
}

func (s *spelling) final(ctx context.Context) error {
	if s.gate != nil {
		if err := s.gate(ctx); err != nil {
			return err
		}
	}
	var texts []string
	for _, w := range s.words {
		texts = append(texts, w.Text)
	}
	s.results <- transcribe.Result{
		Final: true, Start: s.words[0].Start, End: s.words[len(s.words)-1].End,
		Text: strings.Join(texts, " "), Words: s.words,
	}
	s.words = nil
	return nil
}

func (s *spelling) Results() <-chan transcribe.Result { return s.results }

func (s *spelling) Finish(ctx context.Context) (err error) {
	if s.hear(s.reader.Finish()); len(s.words) > 0 {
		err = s.final(ctx)
	}
	s.once.Do(func() { close(s.results) })
	return err
}

func (s *spelling) Close() error {
	s.once.Do(func() { close(s.results) })
	return nil
}

func supervisor(e spell) *transcribe.Supervisor {
	return transcribe.New(transcribe.Config{
		Engines: []transcribe.Engine{{Recognizer: e, Name: "spell"}}, Logger: slog.New(slog.DiscardHandler),
		MinBackoff: time.Millisecond, MaxBackoff: time.Second,
	})
}

// toneCode is the numbers up to n in packets of 20 ms.
func toneCode(n int) (packets []audio.Packet) {
	const samples = 20 * audio.FrameRate / 1000
	for pcm := range slices.Chunk(tonecode.Signal(0, n), samples) {
		b := make([]byte, 0, 2*samples)
		for _, v := range pcm {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		packets = append(packets, audio.Packet{
			Samples: int64(len(pcm)) * audio.TicksPerSample, Kind: audio.Coded, Format: audio.FormatPCM, Payload: b,
		})
	}
	return packets
}

// gate holds up an engine before its final of that number, counted from 0.
type gate struct {
	before  int
	reached chan struct{} // closed when the engine is there
	open    chan struct{}
}

func newGate(before int) *gate {
	return &gate{before, make(chan struct{}), make(chan struct{})}
}

func (g *gate) engine() spell {
	n := 0
	return spell{func(ctx context.Context) error {
		if n++; n-1 != g.before {
			return nil
		}
		close(g.reached)
		select {
		case <-g.open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// events collects what a server tells.
type events struct {
	mu     sync.Mutex
	finals []int64 // the numbers of final captions
}

func (e *events) publish(ev meeting.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Type == meeting.EventCaption && ev.Number > 0 {
		e.finals = append(e.finals, ev.Number)
	}
}

// TestZombie: a server takes over a track that another one, which everybody
// thought was dead, is in the middle of. Whoever of the two goes on first, the
// first one stops, and each word is there once.
func TestZombie(t *testing.T) {
	for _, zombieFirst := range []bool{true, false} {
		name := map[bool]string{true: "the zombie wakes before the other is done", false: "the zombie wakes when all is done"}[zombieFirst]
		t.Run(name, func(t *testing.T) {
			const numbers = 150 // 15 s, four sentences
			w := newWorld(t)
			var log bytes.Buffer
			var told events
			zombieAt, otherAt := newGate(2), newGate(1)
			zombie := w.server(supervisor(zombieAt.engine()), told.publish, slog.New(slog.NewTextHandler(&log, nil)))
			meetingID, _ := zombie.speak(t, toneCode(numbers))
			zombie.flush(t)
			<-zombieAt.reached

			other := w.server(supervisor(otherAt.engine()), func(meeting.Event) {}, slog.New(slog.DiscardHandler))
			check(t, other.Recover(t.Context()))
			<-otherAt.reached // it is in the middle, too
			before := must[meeting.Meeting](t)(w.db.Meeting(t.Context(), meetingID)).Tracks[0]
			if zombieFirst {
				close(zombieAt.open)
				zombie.finish(t)
				after := must[meeting.Meeting](t)(w.db.Meeting(t.Context(), meetingID)).Tracks[0]
				if after != before {
					t.Errorf("the zombie changed the track: %+v, was %+v", after, before)
				}
			}
			close(otherAt.open)
			other.finish(t)
			if !zombieFirst {
				close(zombieAt.open)
				zombie.finish(t)
			}

			doc := must[transcript.Document](t)(other.Transcript(t.Context(), meetingID))
			var got, want []string
			for _, s := range doc.Segments {
				if s.Engine != "spell" {
					t.Errorf("segment %s is of engine %q", s.ID, s.Engine)
				}
				for _, word := range s.Words {
					got = append(got, word.Text)
				}
			}
			for i := range numbers {
				if tonecode.Spoken(i) {
					want = append(want, tonecode.Word(i))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			m := must[meeting.Meeting](t)(w.db.Meeting(t.Context(), meetingID))
			track := m.Tracks[0]
			if track.State != meeting.TrackComplete || track.Through != track.Account.Total() || len(doc.Missing) > 0 {
				t.Errorf("the track is %s, through %d of %d; %d parts are missing", track.State, track.Through, track.Account.Total(), len(doc.Missing))
			}
			if !slices.Equal(told.finals, []int64{1, 2}) {
				t.Errorf("the zombie told of finals %v", told.finals)
			}
			if strings.Contains(log.String(), "level=ERROR") || strings.Count(log.String(), "level=WARN") != 1 {
				t.Errorf("the zombie logged: %s", &log)
			}
		})
	}
}
