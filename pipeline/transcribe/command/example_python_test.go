//go:build pocketsphinx

package command

import (
	"errors"
	"testing"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// The example of docs/RECOGNIZER_COMMAND.md, which needs python3: two
// utterances with a second between them, the last one ended by Finish.
func TestExamplePython(t *testing.T) {
	argv, err := Parse(`"../../../examples/recognizer.py"`)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRecognizer(argv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Open(t.Context(), transcribe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var finals []transcribe.Result
	interims := 0
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := range s.Results() {
			if r.Final {
				finals = append(finals, r)
			} else {
				interims++
			}
		}
	}()
	one := speech.PCM("sas-0880")
	pcm := append(append(append([]int16{}, one...), make([]int16, 16000)...), one[:2*16000]...)
	ctx := deadline(t)
	if err := errors.Join(s.Write(ctx, audio.Frame{PCM: pcm}), s.Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	<-read
	if len(finals) != 2 || interims < 20 {
		t.Fatalf("%d interims, finals %+v", interims, finals)
	}
	if got, want := finals[1].Start-finals[0].Start, int64(len(one)+16000); got < want-1600 || got > want+1600 {
		t.Errorf("the second begins %d samples after the first, want %d", got, want)
	}
	if end := int64(len(pcm)); finals[1].End < end-1600 {
		t.Errorf("the last final ends at %d of %d", finals[1].End, end)
	}
}
