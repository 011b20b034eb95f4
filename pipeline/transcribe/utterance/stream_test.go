package utterance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// hear is an engine that reads the tone code.
func hear(u Utterance) (r transcribe.Result) {
	var reader tonecode.Reader
	for _, h := range append(reader.Write(u.PCM), reader.Finish()...) {
		w := tonecode.Word(h.Index)
		r.Text += " " + w
		r.Words = append(r.Words, transcribe.Word{Text: w, Start: h.Start, End: h.Start + tonecode.Symbol})
	}
	return r
}

// listener collects the results of a stream.
type listener struct {
	t       *testing.T
	stream  transcribe.Stream
	results []transcribe.Result
	closed  chan struct{}
}

func open(t *testing.T, r *Recognizer, o transcribe.Options) *listener {
	t.Helper()
	s, err := r.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, stream: s, closed: make(chan struct{})}
	go func() {
		defer close(l.closed)
		for r := range s.Results() {
			l.results = append(l.results, r)
		}
	}()
	t.Cleanup(func() { _ = s.Close() })
	return l
}

// write hands over pcm in frames of 20 ms, in no time.
func (l *listener) write(pcm []int16) error {
	for frame := range slices.Chunk(pcm, rate/50) {
		if err := l.stream.Write(l.t.Context(), audio.Frame{PCM: frame}); err != nil {
			return err
		}
	}
	return nil
}

func (l *listener) finals() (finals []transcribe.Result) {
	for _, r := range l.results {
		if r.Final {
			finals = append(finals, r)
		}
	}
	return finals
}

// check checks that every number from `from` to `to` was recognized once, in order
// and in place, and that all of the samples are spoken for.
func (l *listener) check(from, to int, skipped int64) {
	l.t.Helper()
	var want, got []string
	for i := from; i < to; i++ {
		if tonecode.Spoken(i) {
			want = append(want, tonecode.Word(i))
		}
	}
	at := skipped
	for _, f := range l.finals() {
		if f.Start < at || f.End < f.Start {
			l.t.Errorf("a final from %d to %d after %d", f.Start, f.End, at)
		}
		cut := f.Start == at // there was no silence in between
		at = f.End
		var words []string
		for _, w := range f.Words {
			i, _ := tonecode.Index(w.Text)
			if off := w.Start - int64(i)*tonecode.Symbol; off < -800 || off > 800 {
				l.t.Errorf("%s is %d ms off", w.Text, off/16)
			}
			if w.Start < f.Start || w.End > f.End {
				l.t.Errorf("%s from %d to %d in a final from %d to %d", w.Text, w.Start, w.End, f.Start, f.End)
			}
			words = append(words, w.Text)
		}
		if f.Text != strings.Join(words, " ") {
			l.t.Errorf("text %q of words %q", f.Text, words)
		}
		if n := len(got); cut && n > 0 && len(words) > 0 && words[0] == got[n-1] {
			words = words[1:] // a cut in its middle leaves two halves that can both be read
		}
		got = append(got, words...)
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("words %q, want %q", got, want)
	}
	if at != int64(to)*tonecode.Symbol {
		l.t.Errorf("%d of %d samples are spoken for", at, int64(to)*tonecode.Symbol)
	}
	announced := false
	for _, r := range l.results {
		if announced = !r.Final; announced && (r.Text != underWay || r.Words != nil) {
			l.t.Errorf("interim %q", r.Text)
		}
	}
	if announced {
		l.t.Error("nothing came of the last interim")
	}
}

func TestEveryWordOnceInOrder(t *testing.T) {
	for _, c := range []struct {
		name    string
		longest time.Duration
		spoken  int // numbers that are spoken for
	}{
		{"utterances", Longest, 0},
		{"cut", 1300 * time.Millisecond, 0},
		{"behind what was spoken for", Longest, 42},
		{"within an utterance", Longest, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var previous []string
				r := New(func(_ context.Context, u Utterance, before string) (transcribe.Result, error) {
					previous = append(previous, before)
					time.Sleep(time.Second)
					return hear(u), nil
				}, c.longest)
				skipped := int64(c.spoken) * tonecode.Symbol
				l := open(t, r, transcribe.Options{Spoken: skipped})
				if err := errors.Join(l.write(tonecode.Signal(0, 215)), l.stream.Finish(t.Context())); err != nil {
					t.Fatal(err)
				}
				<-l.closed
				l.check(c.spoken, 215, skipped)
				said := ""
				for i, f := range slices.DeleteFunc(l.finals(), func(r transcribe.Result) bool { return r.Text == "" }) {
					if previous[i] != said {
						t.Errorf("before utterance %d: %q, want %q", i, previous[i], said)
					}
					said = Tail(strings.TrimSpace(said+" "+f.Text), maxPrevious)
				}
			})
		})
	}
}

// A silence is spoken for while it lasts, and what began and was nothing is
// taken back.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, New(func(context.Context, Utterance, string) (transcribe.Result, error) {
			return transcribe.Result{Text: " \n"}, nil // it heard nothing
		}, Longest), transcribe.Options{})
		pcm := slices.Concat(room(12*rate), tonecode.Signal(0, 20), room(3*rate))
		if err := l.write(pcm); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(l.results); n != 4 || !l.results[0].Final || l.results[1].Final || l.results[2].Final || !l.results[3].Final || l.results[3].End < 14*rate {
			t.Errorf("results %+v", l.results)
		}
		if err := l.stream.(transcribe.Flusher).Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if f := l.finals(); f[len(f)-1].End < int64(len(pcm))-keep-hop {
			t.Errorf("finals %+v of %d samples", f, len(pcm))
		}
	})
}

// A slow engine makes Write block, and is not taken for a dead one.
func TestSlowEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := 0, make(chan struct{})
		l := open(t, New(func(_ context.Context, u Utterance, _ string) (transcribe.Result, error) {
			asked++
			<-answer
			return hear(u), nil
		}, Longest), transcribe.Options{})
		var written error
		done := make(chan struct{})
		go func() {
			defer close(done)
			written = errors.Join(l.write(tonecode.Signal(0, 400)), l.stream.Finish(t.Context()))
		}()
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if asked != 1 || len(l.results) != 5 { // begun, and four times in 35 s
			t.Errorf("%d requests, results %+v", asked, l.results)
		}
		if n := len(l.stream.(*Stream).slots); n != inHand {
			t.Errorf("%d utterances in hand", n)
		}
		close(answer)
		<-done
		<-l.closed
		if written != nil {
			t.Fatal(written)
		}
		l.check(0, 400, 0)
	})
}

var errAway = errors.New("the engine is away")

// Whatever is wrong, everybody who asks is told.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := New(func(_ context.Context, u Utterance, _ string) (transcribe.Result, error) {
			if n++; n > 1 && n < 4 {
				return transcribe.Result{}, errAway
			}
			return hear(u), nil
		}, Longest)
		l := open(t, r, transcribe.Options{})
		err := l.write(tonecode.Signal(0, 400))
		<-l.closed
		for _, err := range []error{
			err, l.write(make([]int16, 10)), l.stream.Finish(t.Context()), l.stream.Close(),
			l.stream.(transcribe.Flusher).Flush(t.Context()),
		} {
			if !errors.Is(err, errAway) {
				t.Errorf("error %v", err)
			}
		}
		if f := l.finals(); len(f) != 1 || f[0].End > 4*rate {
			t.Errorf("finals %+v", f)
		}
		// It is asked whether it is back before a stream begins.
		if _, err := r.Open(t.Context(), transcribe.Options{}); !errors.Is(err, errAway) {
			t.Errorf("open: %v", err)
		}
		if open(t, r, transcribe.Options{}); n != 4 {
			t.Errorf("opened after %d requests", n)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses func(u Utterance, previous string, asked int) bool
		skipped string // of the second utterance
		fails   bool
		asked   int
	}{
		{"once", func(_ Utterance, _ string, asked int) bool { return asked == 2 }, "", false, 4},
		{"because of what was said", func(_ Utterance, p string, _ int) bool { return p != "" }, "", false, 5},
		{"an utterance", func(u Utterance, _ string, _ int) bool { return u.Start > 2*rate && u.Start < 6*rate }, "too loud", false, 6},
		{"everything", func(_ Utterance, _ string, asked int) bool { return asked > 1 }, "", true, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				l := open(t, New(func(_ context.Context, u Utterance, previous string) (transcribe.Result, error) {
					if asked++; c.refuses(u, previous, asked) {
						return transcribe.Result{}, &RefusedError{Reason: "too loud"}
					}
					return hear(u), nil
				}, Longest), transcribe.Options{})
				err := errors.Join(l.write(tonecode.Signal(0, 120)), l.stream.Finish(t.Context()))
				<-l.closed
				if asked != c.asked {
					t.Errorf("asked %d times, want %d", asked, c.asked)
				}
				var retry *transcribe.RetryError
				if c.fails {
					if !errors.As(err, &retry) || retry.After != refusesAll || !strings.Contains(err.Error(), "too loud") {
						t.Errorf("error %v", err)
					}
					return
				}
				f := l.finals()
				if err != nil || len(f) < 3 {
					t.Fatalf("%v, finals %+v", err, f)
				}
				if f[1].Skipped != c.skipped || (f[1].Text == "") != (c.skipped != "") || f[1].End < 7*rate || f[2].Text == "" {
					t.Errorf("finals %+v", f)
				}
			})
		})
	}
}

// stuck is a stream whose engine does not answer, with one utterance under way,
// one waiting and one too many.
func stuck(t *testing.T) (l *listener, write chan error) {
	l = open(t, New(func(ctx context.Context, _ Utterance, _ string) (transcribe.Result, error) {
		<-ctx.Done()
		return transcribe.Result{}, ctx.Err()
	}, Longest), transcribe.Options{})
	write = make(chan error, 1)
	go func() { write <- l.write(tonecode.Signal(0, 400)) }()
	synctest.Wait()
	return l, write
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, write := stuck(t)
		for range 2 {
			if err := l.stream.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		for _, err := range []error{<-write, l.stream.Finish(t.Context()), l.write(room(10))} {
			if !errors.Is(err, errClosed) {
				t.Errorf("error %v, want that it is closed", err)
			}
		}
		<-l.closed
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, New(func(ctx context.Context, _ Utterance, _ string) (transcribe.Result, error) {
			<-ctx.Done()
			return transcribe.Result{}, ctx.Err()
		}, Longest), transcribe.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.stream.Write(ctx, audio.Frame{PCM: tonecode.Signal(0, 400)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		<-l.closed

		l = open(t, l.stream.(*Stream).r, transcribe.Options{})
		if err := l.write(tonecode.Signal(0, 20)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.stream.Finish(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("finish: %v", err)
		}
		<-l.closed
		if err := l.write(room(10)); err == nil {
			t.Error("audio follows the end")
		}
	})
}

func TestPlace(t *testing.T) {
	p := Piece{Start: 1000, End: 3000, Voice: 1200}
	r := place(transcribe.Result{Text: " a\nb  c ", Words: []transcribe.Word{
		{Text: " a", Start: -50, End: 500}, {Text: " "}, {Text: "b", Start: 400, End: 100}, {Text: "c", Start: 300, End: 9000},
	}}, p)
	want := []transcribe.Word{{Text: "a", Start: 1000, End: 1500}, {Text: "b", Start: 1400, End: 1400}, {Text: "c", Start: 1400, End: 3000}}
	if !r.Final || r.Start != 1000 || r.End != 3000 || r.Text != "a b c" || !slices.Equal(r.Words, want) {
		t.Errorf("%+v", r)
	}
	if r := place(transcribe.Result{Words: want}, p); r.Words != nil || r.Start != 1200 {
		t.Errorf("words without text: %+v", r)
	}
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"one two three", 20, "one two three"},
		{"one two three", 9, "three"},
		{"one two three", 3, "ree"},
		{"漢字漢字", 7, "漢字"},
		{"", 0, ""},
	} {
		if got := Tail(c.text, c.n); got != c.want {
			t.Errorf("Tail(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}
