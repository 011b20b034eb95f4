// Package tonecode makes test audio of which every tenth of a second spells its
// own number, and reads it again. A recognizer that reads it knows to the word
// what was lost, doubled or swapped on the way, whatever lies between.
//
// A number of 13 bits and 3 check bits are four digits of base 16. Each is one
// of 16 tones in a band of its own, and all four sound together for 90 ms.
// Speech codecs leave that alone well enough (Opus at 24 kb/s: nothing misread).
package tonecode

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	// Rate is the sample rate of the PCM: 16 kHz mono s16.
	Rate = 16000
	// Symbol is the length of a number in samples: 100 ms.
	Symbol = Rate / 10
	// Numbers is how many there are; then they begin again.
	Numbers = 1 << 13

	// Of every cycle of numbers, the first talk are spoken and the rest are
	// a pause: recognizers want sentences.
	cycle = 40
	talk  = 30

	sound = Rate * 90 / 1000 // of a symbol
	ramp  = Rate * 10 / 1000 // at both ends of it
	peak  = 2200             // of one of four tones
	room  = 150              // peak of the noise, so that a VAD knows the room
)

// Spoken reports whether number i is spoken in a signal, or lies in a pause.
func Spoken(i int) bool { return i%cycle < talk }

// Word is a number as text.
func Word(i int) string {
	s := strconv.Itoa(i % Numbers)
	return "w" + strings.Repeat("0", 4-len(s)) + s
}

// Index is the number of a Word.
func Index(word string) (i int, ok bool) {
	i, err := strconv.Atoi(strings.TrimPrefix(word, "w"))
	return i, err == nil && i >= 0 && i < Numbers && Word(i) == word
}

// Signal is numbers from `from` up to but without `to`, the pauses among them.
func Signal(from, to int) []int16 {
	pcm := make([]int16, 0, max(0, to-from)*Symbol)
	noise := rand.New(rand.NewPCG(uint64(from), 1))
	for i := from; i < to; i++ {
		digits := spell(i)
		for n := range Symbol {
			v := room * (2*noise.Float64() - 1)
			if Spoken(i) && n < sound {
				gain := peak * min(1, float64(min(n+1, sound-n))/ramp)
				for band, d := range digits {
					v += gain * math.Sin(2*math.Pi*frequency(band, d)*float64(n)/Rate)
				}
			}
			pcm = append(pcm, int16(math.Round(v)))
		}
	}
	return pcm
}

// spell makes four digits of a number.
func spell(i int) (digits [4]int) {
	i %= Numbers
	v := i<<3 | check(i)
	for band := range digits {
		digits[band] = v >> (12 - 4*band) & 15
	}
	return digits
}

// check is 3 bits in which numbers differ that are easily taken for each other.
func check(i int) int { return (i*5>>3 ^ i ^ i>>6 ^ i>>9) & 7 }

// frequency is the tone of a digit. All are multiples of what a window of the
// Reader tells apart, 20 Hz.
func frequency(band, digit int) float64 { return float64(500 + 700*band + 40*digit) }

// Heard is a number that a Reader recognized.
type Heard struct {
	Index int   // mod Numbers
	Start int64 // in samples since the first one written
}

// Reader reads numbers out of PCM. The zero value is ready; it is for one
// goroutine.
type Reader struct {
	window []int16
	pos    int64 // of the sample behind window
	last   int   // what the window before spelled, -1: nothing
	first  int64 // where last was read for the first time
	times  int
}

const (
	window = Rate / 20  // 50 ms
	hop    = Rate / 100 // 10 ms
	// A number is heard in five windows, but for what the codec does at the
	// edges.
	least = 2
)

// Write takes the samples that follow and returns the numbers that end in them.
func (r *Reader) Write(pcm []int16) (heard []Heard) {
	if r.window == nil {
		r.window, r.last = make([]int16, 0, window), -1
	}
	for len(pcm) > 0 {
		n := min(window-len(r.window), len(pcm))
		r.window = append(r.window, pcm[:n]...)
		pcm = pcm[n:]
		r.pos += int64(n)
		if len(r.window) < window {
			return heard
		}
		heard = r.look(heard)
		r.window = r.window[:copy(r.window, r.window[hop:])]
	}
	return heard
}

// Finish returns the number that was under way at the end, if it was read.
func (r *Reader) Finish() []Heard {
	return r.turn(nil, -1)
}

func (r *Reader) look(heard []Heard) []Heard {
	index, ok := read(r.window)
	if !ok {
		index = -1
	}
	if index == r.last {
		r.times++
		return heard
	}
	return r.turn(heard, index)
}

// turn goes over to another number.
func (r *Reader) turn(heard []Heard, index int) []Heard {
	if r.last >= 0 && r.times >= least {
		// The windows that spell it lie around the middle of the sound.
		middle := r.first + int64(r.times-1)*hop/2 + window/2
		heard = append(heard, Heard{r.last, max(0, middle-sound/2)})
	}
	r.last, r.first, r.times = index, r.pos-window, 1
	return heard
}

// read reads one window.
func read(pcm []int16) (index int, ok bool) {
	var energy, tones float64
	for _, v := range pcm {
		energy += float64(v) * float64(v)
	}
	if energy < 100*100*window {
		return 0, false
	}
	v := 0
	for band := range 4 {
		best, second, digit := 0.0, 0.0, 0
		for d, p := range powers(pcm, &coefficients[band]) {
			switch {
			case p > best:
				best, second, digit = p, best, d
			case p > second:
				second = p
			}
		}
		if best < 4*second {
			return 0, false
		}
		tones += best
		v = v<<4 | digit
	}
	// A tone of amplitude a has the energy a²·n/2 and the power (a·n/2)².
	if index = v >> 3; check(index) != v&7 || tones*2/window < energy/2 {
		return 0, false
	}
	return index, true
}

var coefficients = func() (c [4][16]float64) {
	for band := range c {
		for d := range c[band] {
			c[band][d] = 2 * math.Cos(2*math.Pi*frequency(band, d)/Rate)
		}
	}
	return c
}()

// powers is Goertzel's algorithm. Four tones at a time don't wait for each other.
func powers(pcm []int16, coefficient *[16]float64) (p [16]float64) {
	for d := 0; d < len(p); d += 4 {
		c0, c1, c2, c3 := coefficient[d], coefficient[d+1], coefficient[d+2], coefficient[d+3]
		var a0, a1, a2, a3, b0, b1, b2, b3 float64
		for _, s := range pcm {
			v := float64(s)
			a0, b0 = v-b0+c0*a0, a0
			a1, b1 = v-b1+c1*a1, a1
			a2, b2 = v-b2+c2*a2, a2
			a3, b3 = v-b3+c3*a3, a3
		}
		copy(p[d:], []float64{
			a0*a0 + b0*b0 - c0*a0*b0, a1*a1 + b1*b1 - c1*a1*b1,
			a2*a2 + b2*b2 - c2*a2*b2, a3*a3 + b3*b3 - c3*a3*b3,
		})
	}
	return p
}
