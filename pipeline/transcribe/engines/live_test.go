//go:build live

package engines

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"verbatim/internal/speech"
	"verbatim/internal/wer"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// pause is what lies between the sentences and behind the last.
const pause = 2 * audio.TickRate

// TestLive speaks the recorded sentences, in real time, to the recognizer that
// the environment variable RECOGNIZER names: make test-live RECOGNIZER=….
func TestLive(t *testing.T) {
	t.Chdir("../../..") // files are named as seen from the top
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	e, err := New(os.Getenv("RECOGNIZER"), transcribe.Host{Logger: log, Dial: new(net.Dialer).DialContext, Getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		t.Fatal("say which recognizer: make test-live RECOGNIZER=…")
	}
	spoken := &sentences{began: time.Now()}
	var ref []string
	for _, name := range speech.Names {
		for _, p := range speech.Packets(name) {
			spoken.add(audio.Packet{Samples: 960, Kind: audio.Coded, Format: audio.FormatOpus, Payload: p})
		}
		for range pause / 960 {
			spoken.add(audio.Packet{Samples: 960, Kind: audio.Silence})
		}
		ref = append(ref, speech.Words(name)...)
	}
	spoken.add(audio.Packet{Kind: audio.End})
	total := spoken.end() / audio.TicksPerSample

	heard := &listener{began: spoken.began}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s := transcribe.New(transcribe.Config{Engines: []transcribe.Engine{*e}, Logger: log})
	if err := s.Run(ctx, "live", spoken, 0, heard); err != nil {
		t.Fatal(err)
	}

	said := fields(heard.text())
	wrong := wer.Rate(ref, said)
	fmt.Printf("\n%s: %d of %d words wrong (word error rate %.0f %%), %v after the audio's end; with times of words: %v\n\n",
		e.Name, wrong, len(ref), 100*float64(wrong)/float64(len(ref)),
		(time.Since(spoken.began) - ticks(spoken.end())).Round(10*time.Millisecond), heard.words > 0)
	if len(said) == 0 {
		t.Error("nothing was recognized")
	}
	if heard.through != total {
		t.Errorf("%d of %d samples are spoken for", heard.through, total)
	}
	heard.check(t, total)
}

// fields are the words of a text, lower case and without punctuation.
func fields(text string) []string {
	text = strings.ReplaceAll(strings.ToLower(text), "mr.", "mister")
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '\'' })
}

func ticks(n int64) time.Duration { return time.Duration(n) * time.Second / audio.TickRate }

// sentences is the log of a track in memory, whose packets come in real time.
type sentences struct {
	packets []audio.Packet
	began   time.Time
}

func (l *sentences) add(p audio.Packet) {
	p.Seq, p.Start = uint64(len(l.packets)), l.end()
	l.packets = append(l.packets, p)
}

// end is the tick behind the last packet.
func (l *sentences) end() int64 {
	if len(l.packets) == 0 {
		return 0
	}
	return l.packets[len(l.packets)-1].Next()
}

func (l *sentences) SeqAt(tick int64) uint64 { return min(uint64(tick/960), uint64(len(l.packets)-1)) }

func (l *sentences) Tail() int64 {
	return min(l.end(), int64(time.Since(l.began)*audio.TickRate/time.Second)/960*960)
}

func (l *sentences) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for _, p := range l.packets[from:] {
			select {
			case <-time.After(time.Until(l.began.Add(ticks(p.Next())))):
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

// listener prints what it hears, and keeps it.
type listener struct {
	began   time.Time
	finals  []transcribe.Utterance
	through int64
	words   int
}

func (l *listener) Interim(u transcribe.Utterance) { l.print("…", u) }

func (l *listener) State(s transcribe.Status) {
	fmt.Printf("%6.2f s  = %s\n", time.Since(l.began).Seconds(), s.State)
}

func (l *listener) Commit(_ context.Context, through int64, finals []transcribe.Utterance) error {
	for _, u := range finals {
		l.print("■", u)
		l.words += len(u.Words)
	}
	l.through = through
	l.finals = append(l.finals, finals...)
	return nil
}

func (l *listener) print(mark string, u transcribe.Utterance) {
	second := func(sample int64) float64 { return float64(sample) / audio.FrameRate }
	fmt.Printf("%6.2f s  %s [%.2f to %.2f s] %s\n", time.Since(l.began).Seconds(), mark, second(u.Start), second(u.End), u.Text)
}

func (l *listener) text() string {
	texts := make([]string, len(l.finals))
	for i, u := range l.finals {
		texts[i] = u.Text
	}
	return strings.Join(texts, " ")
}

// check checks that every time lies in the track.
func (l *listener) check(t *testing.T, total int64) {
	in := func(what string, start, end int64) {
		if start < 0 || end < start || end > total {
			t.Errorf("%s lies from %d to %d in %d samples", what, start, end, total)
		}
	}
	for _, u := range l.finals {
		if u.Skipped != "" {
			t.Errorf("given up from %d to %d: %s", u.Start, u.End, u.Skipped)
		}
		in("an utterance", u.Start, u.End)
		for _, w := range u.Words {
			in(w.Text, w.Start, w.End)
		}
	}
}
