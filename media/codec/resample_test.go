package codec

import (
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var usualRates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}

func newResampler(t testing.TB, from, to int) *Resampler {
	t.Helper()
	r, err := NewResampler(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// However the input is cut, the output is the same, and as long as it must be
// at every moment.
func TestResamplerIgnoresHowInputIsCut(t *testing.T) {
	rate := rapid.OneOf(rapid.SampledFrom(usualRates), rapid.IntRange(MinRate, MaxRate))
	rapid.Check(t, func(t *rapid.T) {
		from, to := rate.Draw(t, "from"), rate.Draw(t, "to")
		src := rapid.SliceOfN(rapid.Int16(), 0, 2000).Draw(t, "src")
		whole, err := NewResampler(from, to)
		if err != nil {
			t.Fatal(err)
		}
		want := whole.Resample(nil, src)
		pieces, err := NewResampler(from, to)
		if err != nil {
			t.Fatal(err)
		}
		var got []int16
		for in := 0; in < len(src); {
			n := rapid.IntRange(1, len(src)-in).Draw(t, "piece")
			got = pieces.Resample(got, src[in:in+n])
			in += n
			if len(got) != in*to/from {
				t.Fatalf("%d samples at %d Hz became %d at %d Hz, want %d", in, from, len(got), to, in*to/from)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d to %d Hz: cut into pieces it is another signal", from, to)
		}
		if whole.Reset(); !slices.Equal(whole.Resample(nil, src), want) {
			t.Fatalf("%d to %d Hz: after a reset it is another signal", from, to)
		}
	})
}

// sine is a second of a tone.
func sine(rate int, hz, amplitude float64) []int16 {
	pcm := make([]int16, rate)
	for i := range pcm {
		pcm[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return pcm
}

// tone is amplitude and phase (of a sine) of a frequency in a quarter of a second
// of pcm, from its middle on. A Hann window keeps other tones out.
func tone(pcm []int16, rate int, hz float64) (amplitude, phase float64) {
	n, from := rate/4, rate/2
	var sum complex128
	for i := range n {
		hann := 1 - math.Cos(2*math.Pi*float64(i)/float64(n))
		sum += complex(hann*float64(pcm[from+i]), 0) * cmplx.Exp(complex(0, -2*math.Pi*hz*float64(from+i)/float64(rate)))
	}
	return 2 * cmplx.Abs(sum) / float64(n), cmplx.Phase(sum) + math.Pi/2
}

func decibels(ratio float64) float64 { return 20 * math.Log10(max(ratio, 1e-10)) }

// What the filter lets through is flat and late by the constant that
// NewResampler states; aliases and images are not heard.
func TestResamplerFrequencyResponse(t *testing.T) {
	const amplitude = 20000
	// A rate that is none of the usual makes it interpolate between phases.
	for _, c := range [][2]int{{48000, 16000}, {44100, 16000}, {8000, 16000}, {16000, 48000}, {32000, 11025}, {16001, 48000}, {47999, 16000}} {
		from, to := c[0], c[1]
		t.Run(fmt.Sprintf("%d to %d", from, to), func(t *testing.T) {
			nyquist := float64(min(from, to)) / 2
			delay := (24 - float64(from)/float64(to)) / float64(from)
			if to < from {
				delay = 22/float64(to) + 1/float64(from)
			}
			r := newResampler(t, from, to)
			through := func(hz float64) []int16 {
				r.Reset()
				return r.Resample(nil, sine(from, hz, amplitude))
			}
			worst := func(hz ...float64) (at, db float64) {
				db = -200
				for _, f := range hz {
					out := through(f)
					// Where it could come out again: as itself, or mirrored at
					// a multiple of one of the rates.
					for k := 0.0; k <= 3; k++ {
						for _, m := range []float64{k*float64(to) - f, k*float64(from) - f, f - k*float64(to), k*float64(from) + f} {
							if m <= 0 || m > float64(to)/2 || m == f && f < nyquist {
								continue
							}
							if a, _ := tone(out, to, m); decibels(a/amplitude) > db {
								at, db = f, decibels(a/amplitude)
							}
						}
					}
				}
				return at, db
			}
			for f := 100.0; f <= 0.8*nyquist; f += 431 {
				a, phase := tone(through(f), to, f)
				if db := decibels(a / amplitude); math.Abs(db) > 0.1 {
					t.Errorf("%.0f Hz: %.3f dB, want 0 ± 0.1", f, db)
				}
				late := math.Remainder(-phase/(2*math.Pi)-f*delay, 1) / f
				if math.Abs(late) > 2e-6 {
					t.Errorf("%.0f Hz: %.2f µs away from the stated delay", f, late*1e6)
				}
			}
			var aliases, images []float64
			for f := 1.08 * nyquist; f < float64(from)/2; f += 307 {
				aliases = append(aliases, f)
			}
			for f := 150.0; f <= 0.92*nyquist; f += 307 {
				images = append(images, f)
			}
			at, db := worst(aliases...)
			if db > -80 {
				t.Errorf("an alias of %.0f Hz: %.1f dB, want −80", at, db)
			}
			imageAt, imageDB := worst(images...)
			if imageDB > -80 {
				t.Errorf("an image of %.0f Hz: %.1f dB, want −80", imageAt, imageDB)
			}
			a, _ := tone(through(0.8125*nyquist), to, 0.8125*nyquist)
			t.Logf("delay %.2f ms; %.3f dB at %.0f Hz; aliases %.1f dB, images %.1f dB", 1e3*delay, decibels(a/amplitude), 0.8125*nyquist, db, imageDB)
		})
	}
}

func TestResamplerClips(t *testing.T) {
	r := newResampler(t, 8000, 16000)
	for _, v := range []int16{math.MaxInt16, math.MinInt16} {
		for i, got := range r.Resample(nil, slices.Repeat([]int16{v}, 1000)) {
			if i >= 100 && got != v { // past the ringing of the step
				t.Fatalf("sample %d of a constant %d is %d", i, v, got)
			}
		}
	}
}

func TestResamplerDoesNotAllocate(t *testing.T) {
	r := newResampler(t, 44100, 16000)
	src, dst := make([]int16, 882), make([]int16, 0, 320)
	if n := testing.AllocsPerRun(10, func() { r.Resample(dst, src) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResamplerRates(t *testing.T) {
	for _, c := range [][2]int{{7999, 16000}, {16000, 48001}, {0, 0}, {-8000, 16000}} {
		if _, err := NewResampler(c[0], c[1]); err == nil {
			t.Errorf("%d to %d Hz was taken", c[0], c[1])
		}
	}
}

func BenchmarkResample(b *testing.B) {
	for _, c := range [][2]int{{48000, 16000}, {44100, 16000}, {8000, 16000}} {
		b.Run(fmt.Sprintf("20ms of %d to %d", c[0], c[1]), func(b *testing.B) {
			r := newResampler(b, c[0], c[1])
			src := sine(c[0], 440, 10000)[:c[0]/50]
			dst := make([]int16, 0, 1000)
			b.ReportAllocs()
			for b.Loop() {
				r.Resample(dst, src)
			}
		})
	}
}
