package vad

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"verbatim/internal/speech"
)

func xref(p []int16) (int, int) {
	peak := 0.0
	es := []float64{}
	for i := 0; i+160 <= len(p); i += 160 {
		e := 0.0
		for _, s := range p[i : i+160] {
			e += float64(s) * float64(s)
		}
		es = append(es, e)
		peak = max(peak, e)
	}
	a, b := -1, 0
	for i, e := range es {
		if e > peak*math.Pow(10, -2.5) {
			if a < 0 {
				a = i
			}
			b = i + 1
		}
	}
	return a, b
}

func TestExp(t *testing.T) {
	for _, n := range speech.Names {
		p := speech.PCM(n)
		a, b := xref(p)
		e := 0.0
		for _, s := range p[a*160 : b*160] {
			e += float64(s) * float64(s)
		}
		e /= float64((b - a) * 160)
		fmt.Printf("%s len %d ref %d..%d rms %.1f dBFS  first hops:", n, len(p)/160, a, b, 10*math.Log10(e/32768/32768))
		for i := 0; i < 20; i++ {
			x := 0.0
			for _, s := range p[i*160 : i*160+160] {
				x += float64(s) * float64(s)
			}
			fmt.Printf(" %.0f", 10*math.Log10(x/160/32768/32768))
		}
		fmt.Println()
		for _, c := range []string{"raw", "zeros", "faint", "white20", "fan10", "clicks", "gap"} {
			r := rand.New(rand.NewPCG(1, 2))
			lead := 3*16000 + 77
			if c == "raw" {
				lead = 0
			}
			all := make([]float64, lead+len(p)+3*16000)
			for i, s := range p {
				all[lead+i] = float64(s)
			}
			g := math.Sqrt(e)
			lp := 0.0
			N := make([]float64, len(all))
			for i := range all {
				w := r.NormFloat64()
				lp += 0.06 * (w - lp)
				switch c {
				case "faint":
					N[i] = w * 10
				case "white20":
					N[i] = w * g / 10
				case "fan10":
					N[i] = lp * g / math.Sqrt(10) / 0.1759
				case "clicks":
					N[i] = w * 5
					if k := i % 4800; k < 160 {
						N[i] += 8000 * r.NormFloat64() * math.Exp(-float64(k)/40)
					}
				}
			}
			nn := 0.0
			for _, x := range N {
				nn += x * x
			}
			nl := 10 * math.Log10(nn/float64(len(N))/e)
			d := New(Config{})
			fmt.Printf("  %-8s noise %.1f: ", c, nl)
			was := false
			maxlev := -99.0
			for i := 0; i+160 <= len(all); i += 160 {
				var h [160]int16
				for j := range h {
					h[j] = int16(max(-32768, min(32767, all[i+j]+N[i+j])))
				}
				d.Write(h[:])
				if i < lead-2000 && i > 16000 {
					maxlev = max(maxlev, d.median())
				}
				if d.Speech() != was {
					was = !was
					if was {
						fmt.Printf("[%d(at %d)..", int(d.SpeechStart()-int64(lead))/160, (i+160-lead)/160)
					} else {
						fmt.Printf("%d(at %d)] ", int(d.LastSpeech()-int64(lead))/160, (i+160-lead)/160)
					}
				}
			}
			fmt.Printf(" maxlev noise %.1f\n", maxlev)
		}
	}
}
