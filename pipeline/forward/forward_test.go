package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"verbatim/internal/natstest"
	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/pipeline/decode"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcript"
)

const (
	meetingID = "01JABCDEFGHJKMNPQRSTVWXYZ0"
	trackID   = "01JABCDEFGHJKMNPQRSTVWXYZ1"
)

var began = time.Date(2026, 11, 28, 12, 0, 0, 123456000, time.UTC)

func about() Track {
	return Track{
		ID: trackID, Meeting: meetingID, Room: "room", Participant: transcript.Participant{ID: "ada", Name: "Ada Ł \"\r\n😀"},
		MeetingStart: began, Start: began.Add(time.Second),
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tape is the log of a track, and what its PCM has to be.
type tape struct {
	*tracklog.Log
	seq     uint64
	start   int64
	account audio.Account
	packets []audio.Packet
}

func newTape(t testing.TB, dir, track string) *tape {
	t.Helper()
	logs, err := tracklog.New(tracklog.Options{Dir: dir, SyncEvery: -1, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	l, err := logs.Create(meetingID, track)
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	return &tape{Log: l}
}

func (l *tape) add(t interface{ Fatal(...any) }, p audio.Packet) {
	p.Seq, p.Start, p.At = l.seq, l.start, began.Add(audio.Duration(l.start))
	if p.Kind == audio.End {
		p = audio.NewEnd(l.seq, l.start, p.At, audio.EndInfo{Reason: audio.ReasonLeft, Totals: l.account})
	}
	if err := l.Append(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	l.seq, l.start = l.seq+1, p.Next()
	l.account.Add(p)
	l.packets = append(l.packets, p)
}

// meeting is what may come of a track: speech, loss, silence, a pause, what was
// shed, a length that is no whole sample.
func (l *tape) meeting(t interface{ Fatal(...any) }) {
	voice := speech.Packets("sas-0870")
	for i, p := range voice {
		l.add(t, audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: p, Origin: audio.Origin(i % 3)})
		switch {
		case i%17 == 3:
			l.add(t, audio.Packet{Kind: audio.Lost, Samples: 960})
		case i%41 == 7:
			l.add(t, audio.Packet{Kind: audio.Silence, Samples: 19200})
		case i == 50:
			l.add(t, audio.Packet{Kind: audio.Silence, Samples: 25 * 48000})
			l.add(t, audio.Packet{Kind: audio.Discontinuity, Samples: 1000})
			l.add(t, audio.Packet{Kind: audio.Shed, Samples: 2880})
		}
	}
	l.add(t, audio.Packet{Kind: audio.Silence, Samples: 500})
	l.add(t, audio.Packet{Kind: audio.Lost, Samples: 961})
}

// pcm is what the stages get of the track, and whoever asks for its wav.
func (l *tape) pcm() (pcm []int16, sum account) {
	for f := range decode.Frames(func(yield func(audio.Packet, error) bool) {
		for _, p := range l.packets {
			if !yield(p, nil) {
				return
			}
		}
	}) {
		pcm = append(pcm, f.PCM...)
		sum[kindOf(f.Kind)] += int64(len(f.PCM))
	}
	return pcm, sum
}

// heard is what a consumer makes of a track, by docs/FORWARD.md alone.
type heard struct {
	pcm      []int16
	sum      account
	end      string
	messages int
	epochs   []string
	header   nats.Header
}

type fataler interface{ Fatalf(string, ...any) }

// consume reads the track from the broker, and fails if a message is missing,
// doubled or out of order.
func consume(t fataler, js jetstream.JetStream, f *Forwarder, track string) (h heard) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := js.OrderedConsumer(ctx, f.Stream(meetingID), jetstream.OrderedConsumerConfig{FilterSubjects: []string{f.Subject(meetingID, track)}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for left := info.NumPending; left > 0; left-- {
		m, err := c.Next(jetstream.FetchMaxWait(time.Minute))
		if err != nil {
			t.Fatalf("%v", err)
		}
		get := m.Headers().Get
		var n int64
		_, _ = fmt.Sscan(get("Verbatim-Samples"), &n)
		if get("Verbatim-Seq") != fmt.Sprint(h.messages) || get("Verbatim-Start") != fmt.Sprint(len(h.pcm)) || h.end != "" {
			t.Fatalf("message %s at %s, want %d at %d (end: %q)", get("Verbatim-Seq"), get("Verbatim-Start"), h.messages, len(h.pcm), h.end)
		}
		switch len(m.Data()) {
		case 0:
			h.pcm = append(h.pcm, make([]int16, n)...)
		case 2 * int(n):
			for b := m.Data(); len(b) > 0; b = b[2:] {
				h.pcm = append(h.pcm, int16(binary.LittleEndian.Uint16(b)))
			}
		default:
			t.Fatalf("%d bytes for %d samples", len(m.Data()), n)
		}
		if spans := get("Verbatim-Spans"); spans != "" {
			for part := range strings.SplitSeq(spans, ", ") {
				var kind string
				var n int64
				_, _ = fmt.Sscan(part, &kind, &n)
				h.sum[slices.Index(kinds[:], kind)] += n
			}
		}
		if get("Verbatim-Account") != h.sum.String() {
			t.Fatalf("account %s, want %s", get("Verbatim-Account"), h.sum)
		}
		if e := get("Verbatim-Epoch"); len(h.epochs) == 0 || h.epochs[len(h.epochs)-1] != e {
			h.epochs = append(h.epochs, e)
		}
		h.end, h.header = get("Verbatim-End"), m.Headers()
		h.messages++
	}
	return h
}

func (h heard) equals(t fataler, l *tape) {
	pcm, sum := l.pcm()
	if h.end != "left" || !slices.Equal(h.pcm, pcm) || h.sum != sum {
		t.Fatalf("ended %q with %d samples (%s), want left with %d (%s)", h.end, len(h.pcm), h.sum, len(pcm), sum)
	}
}

func newForwarder(t testing.TB, url string) (*Forwarder, jetstream.JetStream) {
	t.Helper()
	conn := natstest.Connect(t, url)
	f, err := New(Config{Conn: conn, Prefix: "verbatim", MaxAge: time.Hour, Replicas: 1, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	js, err := jetstream.New(conn)
	check(t, err)
	return f, js
}

// What the broker has is, sample for sample, what stages get and wav gives; live,
// and of a log that is read later.
func TestSamples(t *testing.T) {
	s := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := newForwarder(t, s.URL)
	for _, c := range []struct {
		name string
		live bool
	}{{"live", true}, {"later", false}} {
		t.Run(c.name, func(t *testing.T) {
			l := newTape(t, t.TempDir(), trackID)
			if !c.live {
				l.meeting(t)
				l.add(t, audio.Packet{Kind: audio.End})
			}
			done := make(chan error, 1)
			go func() { done <- f.Run(t.Context(), about(), l) }()
			if c.live {
				l.meeting(t)
				for end := time.Now().Add(time.Minute); f.Stats().Behind > 1000; time.Sleep(time.Millisecond) { // all but the loss at the end
					if time.Now().After(end) {
						t.Fatalf("%+v", f.Stats())
					}
				}
				l.add(t, audio.Packet{Kind: audio.End})
			}
			check(t, <-done)
			h := consume(t, js, f, trackID)
			h.equals(t, l)
			if name := h.header.Get("Verbatim-Name"); name != `"Ada \u0141 \"\r\n\ud83d\ude00"` {
				t.Errorf("name %s", name)
			}
			for name, want := range map[string]string{
				"Verbatim-Version": "1", "Verbatim-Room": "room", "Verbatim-Meeting": meetingID, "Verbatim-Track": trackID, "Verbatim-Participant": "ada",
				"Verbatim-Meeting-Start": "2026-11-28T12:00:00.123456Z", "Verbatim-Track-Start": "2026-11-28T12:00:01.123456Z",
			} {
				if got := h.header.Get(name); got != want {
					t.Errorf("%s is %s", name, got)
				}
			}
			if st := f.Stats(); st.Retries > 0 || st.Tracks > 0 || st.Messages < uint64(h.messages) || st.Forwarded < int64(len(h.pcm)) {
				t.Errorf("%+v", st)
			}
			// Once more changes nothing.
			check(t, f.Run(t.Context(), about(), l))
			if again := consume(t, js, f, trackID); again.messages != h.messages {
				t.Errorf("%d messages, there were %d", again.messages, h.messages)
			}
			check(t, f.Erase(t.Context(), meetingID))
		})
	}
}

// A broker that goes away for a while costs nothing but delay; one that comes
// back empty gets all again.
func TestBrokerIsAway(t *testing.T) {
	for _, c := range []struct {
		name  string
		empty bool
	}{{"with what it had", false}, {"empty", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := natstest.New(t, natstest.JetStream(dir))
			f, js := newForwarder(t, s.URL)
			l := newTape(t, t.TempDir(), trackID)
			done := make(chan error, 1)
			go func() { done <- f.Run(t.Context(), about(), l) }()
			voice := speech.Packets("sas-0870")
			coded := func(from, to int) {
				for _, p := range voice[from:to] {
					l.add(t, audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: p})
				}
			}
			coded(0, 100)
			until(t, "something is with the broker", func() bool { return f.Stats().Messages > 0 })
			s.Stop()
			coded(100, 200)
			until(t, "it is noticed", func() bool { return f.Stats().Retries > 0 && f.Stats().Behind > 0 })
			if c.empty {
				check(t, os.RemoveAll(filepath.Join(dir, "jetstream")))
			}
			s.Start()
			coded(200, 250)
			l.add(t, audio.Packet{Kind: audio.End})
			check(t, <-done)
			consume(t, js, f, trackID).equals(t, l)
		})
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not come about", what)
		}
	}
}

// Writers that are stopped at any point and started again, some of them while an
// older one goes on, are one to a consumer: each Seq once, in order.
func TestWritersComeAndGo(t *testing.T) {
	s := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := newForwarder(t, s.URL)
	dir := t.TempDir()
	n := 0
	voice := speech.Packets("sas-0870")
	rapid.Check(t, func(rt *rapid.T) {
		n++
		about := about()
		about.ID = fmt.Sprintf("T%d", n)
		l := newTape(t, dir, about.ID)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var results []chan error
		start := func() (stop context.CancelFunc) {
			wctx, stop := context.WithCancel(ctx) // ends with ctx
			done := make(chan error, 1)
			results = append(results, done)
			go func() { done <- f.Run(wctx, about, l) }()
			return stop
		}
		at := 0
		for range rapid.IntRange(1, 5).Draw(rt, "writers") {
			stop := start()
			for range rapid.IntRange(0, 40).Draw(rt, "packets") {
				switch rapid.IntRange(0, 9).Draw(rt, "kind") {
				case 0:
					l.add(rt, audio.Packet{Kind: audio.Lost, Samples: 960})
				case 1:
					l.add(rt, audio.Packet{Kind: audio.Silence, Samples: 9600})
				default:
					l.add(rt, audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: voice[at%len(voice)]})
					at++
				}
			}
			time.Sleep(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "µs")) * time.Microsecond)
			if rapid.Bool().Draw(rt, "it is stopped") {
				stop()
			}
		}
		l.add(rt, audio.Packet{Kind: audio.End})
		start() // one that is stopped by nobody
		finished := 0
		for _, r := range results {
			switch err := <-r; {
			case err == nil:
				finished++
			case !errors.Is(err, ErrTaken) && !errors.Is(err, context.Canceled):
				rt.Fatalf("%v", err)
			}
		}
		if finished == 0 {
			rt.Fatalf("nobody finished")
		}
		consume(rt, js, f, about.ID).equals(rt, l)
	})
}

// The older of two writers stops as soon as it wants to write.
func TestOlderWriterStops(t *testing.T) {
	s := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := newForwarder(t, s.URL)
	l := newTape(t, t.TempDir(), trackID)
	packet := audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: speech.Packets("sas-0870")[0]}
	old := make(chan error, 1)
	go func() { old <- f.Run(t.Context(), about(), l) }()
	l.add(t, packet)
	until(t, "the older one has written", func() bool { return f.Stats().Messages == 1 })

	w := &writer{f: f, t: about(), log: l}
	check(t, w.begin(t.Context()))
	b := pending{}
	b.add(audio.Frame{PCM: make([]int16, 320), Kind: audio.Coded})
	check(t, w.flush(t.Context(), &b))
	l.add(t, packet)
	if err := <-old; !errors.Is(err, ErrTaken) {
		t.Fatal(err)
	}
	l.add(t, audio.Packet{Kind: audio.End})
	check(t, f.Run(t.Context(), about(), l))
	if h := consume(t, js, f, trackID); h.end != "left" || !slices.Equal(h.epochs, []string{"1", "2", "3"}) {
		t.Errorf("ended %q, epochs %v", h.end, h.epochs)
	}
}

// Messages that are too old go; the writer goes on.
func TestMessagesExpire(t *testing.T) {
	s := natstest.New(t, natstest.JetStream(t.TempDir()))
	f, js := newForwarder(t, s.URL)
	l := newTape(t, t.TempDir(), trackID)
	packet := audio.Packet{Kind: audio.Coded, Samples: 960, Format: audio.FormatOpus, Payload: speech.Packets("sas-0870")[0]}
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context(), about(), l) }()
	l.add(t, packet)
	until(t, "one is there", func() bool { return f.Stats().Messages == 1 })
	stream, err := js.Stream(t.Context(), f.Stream(meetingID))
	check(t, err)
	check(t, stream.Purge(t.Context()))
	l.add(t, packet)
	l.add(t, audio.Packet{Kind: audio.End})
	check(t, <-done)
	m, err := stream.GetLastMsgForSubject(t.Context(), f.Subject(meetingID, trackID))
	check(t, err)
	if m.Header.Get("Verbatim-Seq") != "2" || m.Header.Get("Verbatim-Start") != "640" || m.Header.Get("Verbatim-End") != "left" {
		t.Errorf("%v", m.Header)
	}
}

// Of a meeting that is erased no byte is left at the broker.
func TestErase(t *testing.T) {
	dir := t.TempDir()
	s := natstest.New(t, natstest.JetStream(dir))
	f, _ := newForwarder(t, s.URL)
	l := newTape(t, t.TempDir(), trackID)
	l.meeting(t)
	l.add(t, audio.Packet{Kind: audio.End})
	check(t, f.Run(t.Context(), about(), l))
	left := func() (n int) {
		check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.Contains(path, meetingID) && !d.IsDir() {
				n++
			}
			return nil
		}))
		return n
	}
	if left() == 0 {
		t.Fatal("nothing is on the disk")
	}
	check(t, f.Erase(t.Context(), meetingID))
	until(t, "its files are gone", func() bool { return left() == 0 })
	check(t, f.Erase(t.Context(), meetingID)) // there is nothing to do
	s.Stop()
	if err := f.Erase(t.Context(), meetingID); err == nil {
		t.Error("erased although the broker is away")
	}
}

// Whatever stands in the headers of the last message, nothing breaks.
func FuzzParse(f *testing.F) {
	f.Add("1", "2", "0", "5", "received 5, concealed 0, silence 0, discontinuity 0, shed 0")
	f.Fuzz(func(t *testing.T, epoch, seq, start, samples, sum string) {
		p, err := parse(nats.Header{hEpoch: {epoch}, hSeq: {seq}, hStart: {start}, hSamples: {samples}, hAccount: {sum}})
		if err == nil && p.sum.total() != p.next {
			t.Fatalf("%+v", p)
		}
	})
}
