package recording

import (
	"iter"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
)

const (
	// slack is how far a voice may be from where its clock says before it is
	// moved, in samples: 1 ms.
	slack = audio.FrameRate / 1000
	// bendPart is the part of a frame by which it may be stretched or shortened
	// to get there: 0.6 %, which nobody hears.
	bendPart = 160
	// far is more than clocks that drift make of it: such audio was sent late, or
	// ahead of time. 100 ms.
	far = audio.FrameRate / 10
)

// voice is one track in a mix, from its first sample on. Its goroutine is that
// of the mix.
type voice struct {
	pull func() (placed, error, bool)
	stop func()
	at   int64 // of the next sample, on the meeting's clock
	over bool
	rest []int16 // decoded, and still to be mixed from at on
	buf  []int16
}

// placed is a frame, and where the clock says that it begins in the meeting.
type placed struct {
	audio.Frame
	at int64 // samples; before the meeting: below 0
}

func newVoice(began time.Time, packets iter.Seq2[audio.Packet, error]) *voice {
	v := &voice{}
	v.pull, v.stop = iter.Pull2(place(began, packets))
	return v
}

// place decodes a track and puts its frames on the clock of a meeting that began
// then: where the transcript's times are, too.
func place(began time.Time, packets iter.Seq2[audio.Packet, error]) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		var clock audio.Clock
		d := decode.New()
		for p, err := range packets {
			if err != nil {
				yield(placed{}, err)
				return
			}
			clock.Add(p)
			if !d.Packet(p, func(f audio.Frame) bool {
				at, _ := clock.At(f.Start * audio.TicksPerSample)
				return yield(placed{f, samples(at.Sub(began))}, nil)
			}) {
				return
			}
		}
	}
}

// samples is how many samples last that long.
func samples(d time.Duration) int64 {
	return d.Microseconds() * (audio.FrameRate / 1000) / 1000
}

// mix adds what the voice has from the sample from on into sum.
func (v *voice) mix(sum []int32, from int64) error {
	to := from + int64(len(sum))
	for !v.over && v.at < to {
		if len(v.rest) == 0 {
			if err := v.next(); err != nil {
				return err
			}
			continue
		}
		i := max(0, v.at-from)
		n := min(int64(len(v.rest)), to-from-i)
		for j, s := range v.rest[:n] {
			sum[i+int64(j)] += int32(s)
		}
		v.rest, v.at = v.rest[n:], v.at+n
	}
	return nil
}

// next gets a frame. Where nothing was received, time passes by the clock; what
// is heard is brought to where the clock wants it little by little.
func (v *voice) next() error {
	f, err, ok := v.pull()
	if err != nil || !ok {
		v.over = true
		return err
	}
	n, late := len(f.PCM), f.at-v.at
	if f.Kind != audio.Coded && f.Kind != audio.Lost {
		v.at = max(v.at, f.at+int64(n))
		return nil
	}
	switch bend := int64(n) / bendPart; {
	case f.Start == 0 || late > far:
		v.at = max(v.at, f.at) // nothing is cut off by moving on
	case late < -far: // the next silence makes up for it
	case late > slack:
		n += int(min(late, bend))
	case late < -slack:
		n -= int(min(-late, bend))
	}
	v.rest = stretch(v.buf[:0], f.PCM, n)
	v.buf = v.rest
	return nil
}

// stretch appends pcm as n samples to dst.
func stretch(dst, pcm []int16, n int) []int16 {
	if n == len(pcm) || n < 2 {
		return append(dst, pcm...)
	}
	for i := range n {
		place := float64(i) * float64(len(pcm)-1) / float64(n-1)
		j := min(int(place), len(pcm)-2)
		a, b := float64(pcm[j]), float64(pcm[j+1])
		dst = append(dst, int16(a+(b-a)*(place-float64(j))))
	}
	return dst
}
