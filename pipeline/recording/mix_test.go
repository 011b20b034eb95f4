package recording

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mewkiz/flac"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

func opens(packets iter.Seq2[audio.Packet, error], done func()) func(context.Context) (iter.Seq2[audio.Packet, error], func(), error) {
	return func(context.Context) (iter.Seq2[audio.Packet, error], func(), error) { return packets, done, nil }
}

func mixed(t testing.TB, tracks ...Track) (pcm []int16) {
	t.Helper()
	for b, err := range Mix(t.Context(), began, tracks) {
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != block {
			t.Fatalf("a block of %d", len(b))
		}
		pcm = append(pcm, b...)
	}
	return pcm
}

// near says that got is want from the sample at on, and silent before and after.
func near(t *testing.T, got, want []int16, at int) {
	t.Helper()
	full := make([]int16, len(got))
	if at+len(want) > len(got) {
		t.Fatalf("%d samples, want %d", len(got), at+len(want))
	}
	copy(full[at:], want)
	for i := range got {
		if got[i] != full[i] {
			t.Fatalf("sample %d is %d, want %d", i, got[i], full[i])
		}
	}
}

// One voice that is not too loud passes bit by bit, at its place.
func TestMixOfOne(t *testing.T) {
	pcm := speech.PCM("sas-0880")
	got := mixed(t, opened(packetsOf(1500*time.Millisecond, 0, plain(pcm)...)))
	near(t, got, pcm, 24000)
	if len(got)-24000-len(pcm) > block {
		t.Errorf("%d samples too many", len(got)-24000-len(pcm))
	}
}

// Voices add up. What was not received is silence of its length.
func TestMixAddsUp(t *testing.T) {
	low := func(name string) []int16 {
		pcm := speech.PCM(name)
		for i := range pcm {
			pcm[i] /= 4
		}
		return pcm
	}
	a, b := low("sas-0880"), low("sas-0890")
	ps := append(plain(a[:16000]), gapOf(audio.Silence, 48000), gapOf(audio.Shed, 24000))
	ps = append(ps, plain(a[16000:])...)
	got := mixed(t, opened(packetsOf(700*time.Millisecond, 0, plain(b)...)), opened(packetsOf(300*time.Millisecond, 0, ps...)))
	want := make([]int16, 200_000)
	copy(want[4800:], a[:16000])
	copy(want[4800+16000+24000:], a[16000:])
	for i, v := range b {
		want[11200+i] += v
	}
	near(t, got, want[:max(4800+24000+len(a), 11200+len(b))], 0)
}

// No sum of voices clips, and what one of them says is not cut off: where the
// limiter works, it turns down by what is needed and no faster than in 5 ms.
func TestMixDoesNotClip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 3 * audio.FrameRate
	sum := make([]float64, n)
	var tracks []Track
	for v := range 5 {
		pcm := make([]int16, n)
		for i := range pcm {
			s := 9000 * math.Sin(float64(i)*float64(100+37*v)*2*math.Pi/audio.FrameRate)
			if i > n/2 && i < n/2+3000 {
				s *= 3.5
			}
			if i%4001 == 0 {
				s = float64(r.IntN(2)*65535 - 32768)
			}
			pcm[i] = int16(max(-32768, min(32767, s)))
			sum[i] += float64(pcm[i])
		}
		tracks = append(tracks, opened(packetsOf(0, 0, plain(pcm)...)))
	}
	got, last, turned := mixed(t, tracks...), 1.0, 0
	for i, v := range got[:n] {
		if v > ceiling || v < -ceiling {
			t.Fatalf("sample %d is %d", i, v)
		}
		if math.Abs(sum[i]) < 3000 {
			continue // too few digits to tell the volume
		}
		gain := float64(v) / sum[i]
		if gain > 1.001 || gain < ceiling/(5*32768.)-0.001 {
			t.Fatalf("sample %d: %d of %.0f", i, v, sum[i])
		}
		if gain < 0.99 {
			turned++
		}
		last = gain
	}
	if turned == 0 || last < 0 {
		t.Error("the limiter had nothing to do")
	}
}

// A peak is turned down gently: the volume moves by no more than one part in
// ahead from one sample to the next.
func TestLimiterIsSmooth(t *testing.T) {
	l := newLimiter()
	const level = 20000
	var out []int16
	for i := range audio.FrameRate {
		v := int32(level)
		if i == 2000 {
			v = 4 * ceiling
		}
		out = append(out, l.next(v))
	}
	out = out[ahead:]
	if peak := slices.Max(out); peak > ceiling || out[2000] < ceiling-2 {
		t.Errorf("the peak is %d, the highest %d", out[2000], peak)
	}
	for i := 1; i < len(out); i++ {
		if step := math.Abs(float64(out[i]) - float64(out[i-1])); i != 2000 && i != 2001 && step > level/ahead+1 {
			t.Errorf("at %d the volume jumps by %.0f of %d", i, step, level)
		}
	}
	if out[2000-2*ahead] != level || out[len(out)-1] != level {
		t.Errorf("the volume is not back: %d, %d", out[2000-2*ahead], out[len(out)-1])
	}
}

// A sender's clock that is off does not move voices apart: after ten minutes at
// 300 ppm, 180 ms would be missing.
func TestMixFollowsTheClock(t *testing.T) {
	for _, ppm := range []int64{300, -300} {
		// A click every 10 s of the sender's, in a tone.
		n := 600 * audio.FrameRate
		pcm := make([]int16, n)
		for i := range pcm {
			pcm[i] = int16(1000 * math.Sin(float64(i)*440*2*math.Pi/audio.FrameRate))
			if i%(10*audio.FrameRate) < 4 {
				pcm[i] = 20000
			}
		}
		var clicks []int
		at := 0
		for b, err := range Mix(t.Context(), began, []Track{opened(packetsOf(0, ppm, plain(pcm)...))}) {
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range b {
				if v > 10000 && (len(clicks) == 0 || at+i-clicks[len(clicks)-1] > 100) {
					clicks = append(clicks, at+i)
				}
			}
			at += len(b)
		}
		if len(clicks) != 60 {
			t.Fatalf("%d clicks", len(clicks))
		}
		for i, c := range clicks {
			said := int64(i) * 10 * audio.FrameRate
			if late := int64(c) - (said - said*ppm/1e6); late < -100 || late > 100 { // 6 ms
				t.Errorf("%d ppm: click %d is %d samples late", ppm, i, late)
			}
		}
	}
}

// A sender that is ahead of time is heard as it spoke, and in its place again
// after a silence.
func TestMixOfOneAheadOfTime(t *testing.T) {
	pcm := speech.PCM("sas-0880")
	n := len(pcm) / 320 * 320
	ps := append(plain(pcm[:n]), gapOf(audio.Silence, 48000*10))
	ps = append(ps, plain(pcm[:n])...)
	early := func(yield func(audio.Packet, error) bool) {
		for p, err := range packetsOf(0, 0, ps...) {
			if p.Start < int64(3*n) { // all came at once
				p.At = began
			}
			if !yield(p, err) {
				return
			}
		}
	}
	got := mixed(t, opened(early))
	near(t, got[n+1000:], pcm[:n], 160_000-1000)
	// It was taken for drift as long as it could be one.
	for off := range 2 * bendPart / 10 {
		if slices.Equal(got[16000-off:32000-off], pcm[16000:32000]) {
			return
		}
	}
	t.Error("it is not heard as it was spoken")
}

// Logs are open only while they are heard, and all are closed in the end, however
// that comes.
func TestMixOpensWhatItHears(t *testing.T) {
	var open, most, closed int
	track := func(i int, fail error) Track {
		tr := opened(packetsOf(time.Duration(i)*time.Second, 0, plain(make([]int16, 16000))...))
		inner := tr.Open
		tr.Open = func(ctx context.Context) (iter.Seq2[audio.Packet, error], func(), error) {
			if fail != nil {
				return nil, nil, fail
			}
			open++
			most = max(most, open)
			packets, _, _ := inner(ctx)
			return packets, func() { open--; closed++ }, nil
		}
		return tr
	}
	var tracks []Track
	for i := range 10 {
		tracks = append(tracks, track(9-i, nil))
	}
	mixed(t, tracks...)
	if open != 0 || closed != 10 || most > 2 {
		t.Errorf("%d are open, %d were closed, %d at a time", open, closed, most)
	}
	for range Mix(t.Context(), began, tracks) {
		break
	}
	if open != 0 {
		t.Errorf("%d are open after a break", open)
	}
	gone := errors.New("gone")
	var got error
	for _, err := range Mix(t.Context(), began, append(tracks, track(5, gone))) {
		got = err
	}
	if open != 0 || !errors.Is(got, gone) {
		t.Errorf("%d are open after an error, %v", open, got)
	}
}

// What FLAC gives back is what it got, with length and checksum if the file can
// seek; and it is smaller.
func TestFLAC(t *testing.T) {
	pcm := speech.PCM("sas-0890")
	blocks := func() iter.Seq2[[]int16, error] {
		return Mix(t.Context(), began, []Track{opened(packetsOf(0, 0, plain(pcm)...))})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "mix.flac"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stream bytes.Buffer
	for w, known := range map[io.Writer]bool{&stream: false, f: true} {
		if err := WriteFLAC(w, [][2]string{{"TITLE", "standup"}}, blocks()); err != nil {
			t.Fatal(err)
		}
		b := stream.Bytes()
		if known {
			if b, err = os.ReadFile(f.Name()); err != nil {
				t.Fatal(err)
			}
		}
		in, err := flac.New(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var got []int16
		for {
			frame, err := in.ParseNext()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range frame.Subframes[0].Samples {
				got = append(got, int16(v))
			}
		}
		near(t, got, pcm, 0)
		if n := in.Info.NSamples; known && n != uint64(len(got)) || !known && n != 0 || in.Info.BlockSizeMin != block {
			t.Errorf("info %+v", in.Info)
		}
		if (in.Info.MD5sum != [16]byte{}) != known {
			t.Errorf("checksum %x", in.Info.MD5sum)
		}
		if len(b) > 2*len(pcm)*3/4 {
			t.Errorf("%d bytes of %d", len(b), 2*len(pcm))
		}
		t.Logf("%d bytes of %d", len(b), 2*len(pcm))
	}
}

// A meeting without audio is a short silence.
func TestMixOfNothing(t *testing.T) {
	if got := mixed(t); len(got) == 0 || slices.Max(got) != 0 {
		t.Errorf("%d samples", len(got))
	}
}

func BenchmarkMix(b *testing.B) {
	for b.Loop() {
		tracks := []Track{opened(packetsOf(0, 0, spoken(b, 3000)...)), opened(packetsOf(0, 0, spoken(b, 3000)...))}
		if err := WriteFLAC(io.Discard, nil, Mix(b.Context(), began, tracks)); err != nil {
			b.Fatal(err)
		}
	}
}
