package utterance

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"verbatim/internal/speech"
	"verbatim/internal/tonecode"
	"verbatim/media/audio"
)

const rate = audio.FrameRate

// split cuts pcm in frames of n samples; 0: of any length.
func split(from, longest int64, pcm []int16, n int) (pieces []Piece) {
	s := NewSplitter(from, longest)
	give := func(p Piece) { pieces = append(pieces, p) }
	r := rand.New(rand.NewPCG(uint64(len(pcm)), 1))
	for rest := pcm; len(rest) > 0; {
		k := n
		if n == 0 {
			k = 1 + r.IntN(3000)
		}
		k = min(k, len(rest))
		s.Write(rest[:k], give)
		rest = rest[k:]
	}
	s.Finish(give)
	return pieces
}

// account checks that every sample of pcm from `from` on lies in exactly one
// piece, and returns the utterances.
func account(t rapid.TB, from, longest int64, pcm []int16, pieces []Piece) (spoken []Piece) {
	t.Helper()
	at, begun := from, int64(-1)
	for _, p := range pieces {
		if p.Start != at || p.End < p.Start {
			t.Fatalf("a piece from %d to %d after %d", p.Start, p.End, at)
		}
		at = p.End
		switch p.Kind {
		case Begun:
			if p.End != p.Start || begun >= 0 {
				t.Fatalf("begun at %d to %d, after one at %d", p.Start, p.End, begun)
			}
			begun = p.Start
			continue
		case Speech:
			if p.Start != begun {
				t.Fatalf("an utterance at %d, begun at %d", p.Start, begun)
			}
			if p.End-p.Start > longest {
				t.Fatalf("an utterance of %d samples", p.End-p.Start)
			}
			if !slices.Equal(p.PCM, pcm[p.Start:p.End]) {
				t.Fatalf("the utterance at %d is not what was written", p.Start)
			}
			spoken = append(spoken, p)
		case Silence:
			if p.PCM != nil || p.End == p.Start {
				t.Fatalf("silence from %d to %d, with %d samples", p.Start, p.End, len(p.PCM))
			}
		}
		begun = -1
	}
	if at != max(from, int64(len(pcm))) || begun >= 0 {
		t.Fatalf("%d of %d samples are accounted for, begun at %d", at, len(pcm), begun)
	}
	return spoken
}

// room is the noise of a quiet room.
func room(samples int) []int16 {
	pcm := make([]int16, samples)
	r := rand.New(rand.NewPCG(uint64(samples), 2))
	for i := range pcm {
		pcm[i] = int16(r.NormFloat64() * 10)
	}
	return pcm
}

// Speech of the recorded sentences, as the eye sees it in the waveform, and
// words of the tone code.
func TestUtterancesOf(t *testing.T) {
	one, two := speech.PCM("sas-0880"), speech.PCM("sas-0890")
	click := room(3 * rate)
	for i := range 60 {
		click[rate+i] = int16(20000 - 40000*(i%2))
	}
	type span struct{ start, end int64 } // of the speech, in ms
	for _, c := range []struct {
		name string
		pcm  []int16
		want []span
	}{
		{"nothing", nil, nil},
		{"a moment", room(100), nil},
		{"a quiet room", room(45 * rate), nil},
		{"digital silence", make([]int16, 45*rate), nil},
		{"a click", click, nil},
		{"two sentences and nothing else", slices.Concat(one, make([]int16, rate), two, make([]int16, rate)), []span{{200, 2750}, {4150, 9000}}},
		{"a sentence", one, []span{{200, 2750}}},
		{
			"two sentences", slices.Concat(room(2*rate), one, room(rate), two, make([]int16, 30*rate)),
			[]span{{2200, 4750}, {6150, 11000}},
		},
		{"speech to the end", one[:2*rate], []span{{200, 2000}}},
		{"numbers", tonecode.Signal(0, 120), []span{{0, 3000}, {4000, 7000}, {8000, 11000}}},
		{"numbers to the end", tonecode.Signal(30, 65), []span{{1000, 3500}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := account(t, 0, 28*rate, c.pcm, split(0, 28*rate, c.pcm, 320))
			if len(got) != len(c.want) {
				for _, p := range got {
					t.Logf("%d to %d ms", p.Start/16, p.End/16)
				}
				t.Fatalf("%d utterances, want %d", len(got), len(c.want))
			}
			for i, w := range c.want {
				p := got[i]
				// All of the speech, and no more around it than is asked for.
				if before := w.start - p.Start/16; before < 0 || before > 450 {
					t.Errorf("utterance %d begins at %d ms, its speech at %d", i, p.Start/16, w.start)
				}
				if after := p.End/16 - w.end; after < 0 || after > 400 {
					t.Errorf("utterance %d ends at %d ms, its speech at %d", i, p.End/16, w.end)
				}
			}
		})
	}
}

// Who does not pause is cut where he pauses most.
func TestLongSpeechIsCutBetweenWords(t *testing.T) {
	const word, gap = rate / 2, rate / 8 // of speech, of hardly any
	var pcm []int16
	for i := range 40 {
		pcm = append(pcm, tonecode.Signal(40*i, 40*i+5)...)
		pcm = append(pcm, room(gap)...)
	}
	spoken := account(t, 0, 6*rate, pcm, split(0, 6*rate, pcm, 320))
	if len(spoken) < 5 {
		t.Fatalf("%d utterances of %d s", len(spoken), len(pcm)/rate)
	}
	for _, p := range spoken[:len(spoken)-1] {
		if in := p.End % (word + gap); in < word-160 {
			t.Errorf("cut %d ms into a word", in/16)
		}
	}
}

// A long silence is spoken for while it lasts, but not where speech may begin.
func TestSilenceIsSpokenFor(t *testing.T) {
	s := NewSplitter(0, 28*rate)
	var at int64
	for i, pcm := range [][]int16{room(60 * rate), tonecode.Signal(0, 5)} {
		for frame := range slices.Chunk(pcm, 320) {
			s.Write(frame, func(p Piece) {
				if i == 0 && p.Kind != Silence {
					t.Fatalf("speech at %d", p.Start)
				}
				at = p.End
			})
			if now := s.detector.Position(); i == 0 && (now-at > report+keep+hop || at > 0 && now-at < keep) {
				t.Fatalf("at %d, silence is spoken for up to %d", now, at)
			}
		}
	}
	if at > 60*rate-preroll/2 {
		t.Errorf("the utterance begins at %d", at)
	}
}

// What is spoken is handed out, and not the beginning of a word alone.
func TestFlush(t *testing.T) {
	pcm := slices.Concat(room(2*rate), speech.PCM("sas-0880"), room(2*rate))
	onset, begun := 0, false
	for s := NewSplitter(0, 28*rate); !begun; onset += hop {
		s.Write(pcm[onset:onset+hop], func(p Piece) { begun = p.Kind == Begun })
	}
	for _, c := range []struct {
		name  string
		after int // samples
		want  []Kind
	}{
		{"in silence", rate, []Kind{Silence}},
		{"when speech just begins", onset, []Kind{Silence, Begun}},
		{"in a word", 3 * rate, []Kind{Silence, Begun, Speech}},
		{"in the pause behind a sentence", 2*rate + 2900*rate/1000, []Kind{Silence, Begun, Speech}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewSplitter(0, 28*rate)
			var pieces []Piece
			var kinds []Kind
			give := func(p Piece) {
				pieces = append(pieces, p)
				kinds = append(kinds, p.Kind)
			}
			s.Write(pcm[:c.after], give)
			s.Flush(give)
			if !slices.Equal(kinds, c.want) {
				t.Errorf("pieces %v, want %v", kinds, c.want)
			}
			s.Flush(give) // nothing more
			s.Write(pcm[c.after:], give)
			s.Finish(give)
			account(t, 0, 28*rate, pcm, pieces)
		})
	}
}

// What another stream spoke for is not handed out again.
func TestContextIsNotHandedOut(t *testing.T) {
	pcm := slices.Concat(tonecode.Signal(0, 60), room(rate))
	for _, c := range []struct {
		name  string
		from  int64
		first int64 // where the first utterance begins
		count int
	}{
		{"in a word", 1500*16 + 7, 1500*16 + 7, 2},
		{"behind a sentence", 3000*16 + 3, 3700 * 16, 1},
		{"in the pause", 3500 * 16, 3700 * 16, 1},
		{"in the pre-roll", 3900 * 16, 3900 * 16, 1},
		{"behind everything", 20 * rate, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoken := account(t, c.from, 28*rate, pcm, split(c.from, 28*rate, pcm, 320))
			if len(spoken) != c.count {
				t.Fatalf("%d utterances, want %d", len(spoken), c.count)
			}
			if c.count > 0 && (spoken[0].Start < c.from || spoken[0].Start-c.first > 160 || c.first-spoken[0].Start > 1600) {
				t.Errorf("the first begins at %d, want %d", spoken[0].Start, c.first)
			}
		})
	}
}

// anyPCM is some speech, noise, silence and numbers, cut anywhere.
func anyPCM(t *rapid.T) (pcm []int16) {
	for range rapid.IntRange(0, 6).Draw(t, "parts") {
		n := rapid.IntRange(0, 4*rate).Draw(t, "samples")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			pcm = append(pcm, make([]int16, 3*n)...)
		case 1:
			pcm = append(pcm, room(3*n)...)
		case 2:
			pcm = append(pcm, speech.PCM(speech.Names[n%3])[:min(n, 40000)]...)
		case 3:
			pcm = append(pcm, tonecode.Signal(n%100, n%100+n/1000)...)
		case 4:
			loud := room(n)
			for i := range loud {
				loud[i] *= 100
			}
			pcm = append(pcm, loud...)
		}
	}
	return pcm
}

func TestEverySampleOnceHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pcm := anyPCM(t)
		from := rapid.Int64Range(0, rate).Draw(t, "from")
		longest := rapid.Int64Range(rate, 28*rate).Draw(t, "longest")
		pieces := split(from, longest, pcm, 0)
		account(t, from, longest, pcm, pieces)
		n := rapid.IntRange(1, 20000).Draw(t, "frame")
		again := split(from, longest, pcm, n)
		if !slices.EqualFunc(pieces, again, func(a, b Piece) bool {
			return a.Kind == b.Kind && a.Start == b.Start && a.End == b.End
		}) {
			t.Fatalf("frames of %d make other pieces", n)
		}
	})
}

func TestEverySampleOnceHoweverItIsFlushed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pcm := anyPCM(t)
		from := rapid.Int64Range(0, rate).Draw(t, "from")
		s := NewSplitter(from, 3*rate)
		var pieces []Piece
		give := func(p Piece) { pieces = append(pieces, p) }
		for rest := pcm; len(rest) > 0; {
			n := min(rapid.IntRange(1, 2*rate).Draw(t, "samples"), len(rest))
			s.Write(rest[:n], give)
			rest = rest[n:]
			if rapid.Bool().Draw(t, "flush") {
				s.Flush(give)
			}
		}
		s.Finish(give)
		account(t, from, 3*rate, pcm, pieces)
	})
}
