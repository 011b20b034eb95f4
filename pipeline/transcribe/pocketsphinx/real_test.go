//go:build pocketsphinx

package pocketsphinx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"verbatim/internal/speech"
	"verbatim/internal/wer"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const rate = audio.FrameRate

// built is the helper, built by TestMain.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pocketsphinx")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, helper)
	build := exec.Command("go", "build", "-tags", "pocketsphinx", "-o", built, "verbatim/cmd/"+helper)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

// open begins a stream with the helper that was built.
func open(t *testing.T) transcribe.Stream {
	t.Helper()
	e, err := engine(t, "helper="+built)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Open(t.Context(), transcribe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// write hands over pcm in frames of 20 ms.
func write(ctx context.Context, s transcribe.Stream, pcm []int16) error {
	for frame := range slices.Chunk(pcm, rate/50) {
		if err := s.Write(ctx, audio.Frame{PCM: frame}); err != nil {
			return err
		}
	}
	return nil
}

// recognize returns all finals of pcm, after it has checked that they are in
// order and in place.
func recognize(t *testing.T, pcm []int16) []transcribe.Result {
	t.Helper()
	s := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fed := make(chan error, 1)
	go func() { fed <- errors.Join(write(ctx, s, pcm), s.Finish(ctx)) }()
	var finals []transcribe.Result
	for r := range s.Results() {
		if r.Final {
			finals = append(finals, r)
		}
	}
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	var at, word int64
	for _, f := range finals {
		if f.Start < at || f.End < f.Start || f.End > int64(len(pcm)) {
			t.Errorf("final %d to %d after %d, in %d samples", f.Start, f.End, at, len(pcm))
		}
		at = f.End
		if len(f.Words) != len(strings.Fields(f.Text)) {
			t.Errorf("%d words for %q", len(f.Words), f.Text)
		}
		for _, w := range f.Words {
			if w.Start < word || w.End <= w.Start || w.End > f.End {
				t.Errorf("word %q from %d to %d after %d in a final up to %d", w.Text, w.Start, w.End, word, f.End)
			}
			word = w.End
			if w.Confidence == nil || *w.Confidence < 0 || *w.Confidence > 1 {
				t.Errorf("word %q has confidence %v", w.Text, w.Confidence)
			}
			if strings.ContainsAny(w.Text, "<>()[]+") {
				t.Errorf("word %q", w.Text)
			}
		}
	}
	if at != int64(len(pcm)) {
		t.Errorf("%d of %d samples are spoken for", at, len(pcm))
	}
	return finals
}

func words(finals []transcribe.Result) []string {
	var all []string
	for _, f := range finals {
		all = append(all, strings.Fields(f.Text)...)
	}
	return all
}

// spoken are the finals that have words.
func spoken(finals []transcribe.Result) []transcribe.Result {
	return slices.DeleteFunc(slices.Clone(finals), func(r transcribe.Result) bool { return r.Text == "" })
}

// quiet is a quiet room.
func quiet(d time.Duration) []int16 {
	pcm := make([]int16, d*rate/time.Second)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range pcm {
		pcm[i] = int16(r.NormFloat64() * 4)
	}
	return pcm
}

// original is what pocketsphinx_continuous hears.
func original(t *testing.T, pcm []int16) []string {
	t.Helper()
	var raw bytes.Buffer
	if err := binary.Write(&raw, binary.LittleEndian, pcm); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "speech.raw")
	if err := os.WriteFile(file, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("pocketsphinx_continuous", "-infile", file, "-logfn", "/dev/null").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func TestAsGoodAsTheOriginal(t *testing.T) {
	for _, name := range speech.Names {
		t.Run(name, func(t *testing.T) {
			pcm, ref := speech.PCM(name), speech.Words(name)
			got := words(recognize(t, pcm))
			ours, theirs := wer.Rate(ref, got), wer.Rate(ref, original(t, pcm))
			t.Logf("%d of %d words wrong (%.0f %%), pocketsphinx_continuous %d: %s",
				ours, len(ref), 100*float64(ours)/float64(len(ref)), theirs, strings.Join(got, " "))
			if ours > theirs+1 {
				t.Errorf("%d words wrong, pocketsphinx_continuous %d", ours, theirs)
			}
		})
	}
}

// A clear voice: flite's rms.
func TestClearVoice(t *testing.T) {
	const text = "the meeting will begin at nine in the morning and we will talk about the budget for the next year " +
		"please send your questions before the end of the week"
	file := filepath.Join(t.TempDir(), "rms.wav")
	if out, err := exec.Command("flite", "-voice", "rms", "-t", text, "-o", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wav, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]int16, (len(wav)-44)/2)
	if err := binary.Read(bytes.NewReader(wav[44:]), binary.LittleEndian, pcm); err != nil {
		t.Fatal(err)
	}
	ref, got := strings.Fields(text), words(recognize(t, pcm))
	wrong := wer.Rate(ref, got)
	t.Logf("%d of %d words wrong: %s", wrong, len(ref), strings.Join(got, " "))
	if wrong > len(ref)/10 {
		t.Errorf("%d of %d words wrong", wrong, len(ref))
	}
}

// Silence before, between and after neither moves the utterances nor makes
// them worse.
func TestPositions(t *testing.T) {
	first, second := speech.PCM("sas-0870"), speech.PCM("sas-0890")
	for _, c := range []struct {
		name    string
		silence func(time.Duration) []int16
	}{
		{"a quiet room", quiet},
		{"digital silence", func(d time.Duration) []int16 { return make([]int16, d*rate/time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			pcm := slices.Concat(c.silence(10*time.Second), first, c.silence(3*time.Second), second, c.silence(2*time.Second))
			got := spoken(recognize(t, pcm))
			if len(got) != 2 {
				t.Fatalf("%d utterances: %+v", len(got), got)
			}
			// As the eye sees them in the waveform: both begin 0.2 s into their file.
			for i, want := range []int64{10*rate + rate/5, 13*rate + int64(len(first)) + rate/5} {
				if off := got[i].Words[0].Start - want; off < -3*rate/10 || off > 3*rate/10 {
					t.Errorf("utterance %d begins %d ms off", i, off*1000/rate)
				}
			}
			for i, name := range []string{"sas-0870", "sas-0890"} {
				ref := speech.Words(name)
				alone := wer.Rate(ref, original(t, speech.PCM(name)))
				if wrong := wer.Rate(ref, strings.Fields(got[i].Text)); wrong > alone+2 {
					t.Errorf("%s: %d words wrong, alone %d: %s", name, wrong, alone, got[i].Text)
				}
			}
		})
	}
}

// Every utterance that is ended could move the times of the next.
func TestPositionsDoNotDrift(t *testing.T) {
	one := slices.Concat(speech.PCM("sas-0880"), quiet(time.Second))
	got := spoken(recognize(t, slices.Repeat(one, 8)))
	if len(got) != 8 {
		t.Fatalf("%d utterances, want 8", len(got))
	}
	for i, r := range got {
		if off := r.Words[0].Start - int64(i*len(one)) - rate/5; off < -rate/5 || off > rate/5 {
			t.Errorf("utterance %d begins %d ms off", i, off*1000/rate)
		}
	}
}

// The audio ends with the last word.
func TestFlush(t *testing.T) {
	got := words(recognize(t, speech.PCM("sas-0880")[:rate*28/10]))
	if len(got) == 0 || got[len(got)-1] != "man" {
		t.Errorf("last word of %q, want man", got)
	}
}

// Interims come while somebody speaks, and the final when he stopped, with less
// than a second of silence and no Finish.
func TestLive(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := func() transcribe.Result {
		select {
		case r, ok := <-s.Results():
			if !ok {
				t.Fatal("no more results", s.Close())
			}
			return r
		case <-ctx.Done():
			t.Fatal("no result")
			return transcribe.Result{}
		}
	}
	pcm := speech.PCM("sas-0880") // up to 2.8 s
	if err := write(ctx, s, pcm[:rate*3/2]); err != nil {
		t.Fatal(err)
	}
	var r transcribe.Result
	for r.End < rate*12/10 { // the words of the first 1.2 s are there after 1.5 s
		if r = next(); r.Final {
			t.Fatalf("final %q", r.Text)
		}
	}
	if !strings.HasPrefix(r.Text, "he was not") {
		t.Errorf("interim %q", r.Text)
	}
	if err := write(ctx, s, slices.Concat(pcm[rate*3/2:rate*28/10], quiet(900*time.Millisecond))); err != nil {
		t.Fatal(err)
	}
	for !r.Final {
		r = next()
	}
	if !strings.HasSuffix(r.Text, "man") {
		t.Errorf("final %q", r.Text)
	}
}

// Who speaks without a pause gets finals all the same, none longer than 30 s.
func TestLongUtterance(t *testing.T) {
	a, b := speech.PCM("sas-0870"), speech.PCM("sas-0890")
	on := slices.Concat(a[rate*15/100:rate*705/100], b[rate/5:rate*505/100])
	finals := recognize(t, slices.Repeat(on, 4))
	for _, f := range finals {
		if f.End-f.Start > 31*rate {
			t.Errorf("final from %d to %d s", f.Start/rate, f.End/rate)
		}
	}
	if len(finals) < 2 {
		t.Errorf("%d finals in %d s", len(finals), 4*len(on)/rate)
	}
}

func TestMissingModel(t *testing.T) {
	for _, flag := range []string{"hmm", "lm", "dict"} {
		_, err := engine(t, "helper="+built+"&"+flag+"=/nowhere")
		wantError(t, err, "/nowhere", "install Debian's pocketsphinx-en-us", "exit status 3")
	}
	_, err := engine(t, "helper="+built+"&lm="+built)
	wantError(t, err, "cannot use the model", "exit status 1")
}

// The stub that is built without the tag tells how to build the real one.
func TestStub(t *testing.T) {
	stub := filepath.Join(t.TempDir(), helper)
	if out, err := exec.Command("go", "build", "-o", stub, "verbatim/cmd/"+helper).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err := engine(t, "helper="+stub)
	wantError(t, err, "go build -tags pocketsphinx", "exit status 3")
}

// Ctrl-C in the server's terminal is not for the helper.
func TestInterruptIsIgnored(t *testing.T) {
	cmd := exec.Command(built)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := binary.Write(in, binary.LittleEndian, make([]int16, 6*rate)); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 512)
	if _, err := out.Read(line); err != nil { // it runs
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
