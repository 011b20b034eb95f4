package vad

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

const second = audio.FrameRate

// span is speech that a Detector found, in samples.
type span struct{ start, end int64 }

// listen returns what a new Detector finds in pcm, and how long after the start
// of each span it was told of.
func listen(pcm []int16) (found []span, told []int64) {
	d := New(Config{})
	was := false
	for ; len(pcm) >= hop; pcm = pcm[hop:] {
		d.Write(pcm[:hop])
		switch {
		case d.Speech() && !was:
			found = append(found, span{start: d.SpeechStart()})
			told = append(told, d.Position()-d.SpeechStart())
		case d.Speech():
			found[len(found)-1].end = d.LastSpeech()
		}
		was = d.Speech()
	}
	return found, told
}

// reference is the hand-made answer for a clean recording of one utterance: from the
// first to the last stretch of 50 ms that is at most 20 dB below the loudest.
func reference(pcm []int16) span {
	const stretch = second / 20
	var energy []float64
	for i := 0; i+stretch <= len(pcm); i += stretch {
		energy = append(energy, power(pcm[i:i+stretch]))
	}
	loudest := 0.0
	for _, e := range energy {
		loudest = max(loudest, e)
	}
	s := span{start: -1}
	for i, e := range energy {
		if e < loudest/100 {
			continue
		}
		if s.start < 0 {
			s.start = int64(i * stretch)
		}
		s.end = int64((i + 1) * stretch)
	}
	return s
}

func power(pcm []int16) float64 {
	sum := 0.0
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return sum / float64(len(pcm))
}

// mix adds to pcm, in place, noise of the given power.
func mix(pcm []int16, noise []float64, wanted float64) []int16 {
	has := 0.0
	for _, n := range noise {
		has += n * n / float64(len(noise))
	}
	gain := math.Sqrt(wanted / has)
	for i, n := range noise {
		pcm[i] = int16(min(max(float64(pcm[i])+gain*n, math.MinInt16), math.MaxInt16))
	}
	return pcm
}

func white(n int) []float64 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]float64, n)
	for i := range out {
		out[i] = r.NormFloat64()
	}
	return out
}

// fan is noise that falls by 6 dB an octave above 150 Hz.
func fan(n int) []float64 {
	out := white(n)
	low := 0.0
	for i, w := range out {
		low += 0.06 * (w - low)
		out[i] = low
	}
	return out
}

// clicks is a burst of the given length three times a second.
func clicks(n int, length time.Duration) []float64 {
	out := white(n)
	burst := int(length * second / time.Second)
	for i := range out {
		if i%(second/3) >= burst {
			out[i] = 0
		}
	}
	return out
}

// dbfs is the power of white noise at that level below full scale.
func dbfs(db float64) float64 { return 32768 * 32768 / 2 * math.Pow(10, db/10) }

func join(parts ...[]int16) (out []int16) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func zeros(n int) []int16 { return make([]int16, n) }

// TestUtterances puts every sentence into 3 s of silence before and after, and
// expects one span, of the reference's borders give or take the tolerances.
// Under noise the first second is left out: the floor is learned then. A click
// in the last breath can carry it some hops further.
func TestUtterances(t *testing.T) {
	type tolerance struct{ early, late, short, long time.Duration }
	const ms = time.Millisecond
	tests := []struct {
		name  string
		noise func(n int, voice float64) ([]float64, float64)
		tolerance
	}{
		{"in digital silence", nil, tolerance{80 * ms, 50 * ms, 50 * ms, 150 * ms}},
		{"with white noise at 20 dB", func(n int, voice float64) ([]float64, float64) {
			return white(n), voice / 100
		}, tolerance{50 * ms, 80 * ms, 50 * ms, 100 * ms}},
		{"with a fan at 10 dB", func(n int, voice float64) ([]float64, float64) {
			return fan(n), voice / 10
		}, tolerance{50 * ms, 100 * ms, 200 * ms, 100 * ms}},
		{"with clicks of 5 ms", func(n int, voice float64) ([]float64, float64) {
			return clicks(n, 5*ms), voice
		}, tolerance{80 * ms, 50 * ms, 50 * ms, 350 * ms}},
		{"with clicks of 15 ms", func(n int, voice float64) ([]float64, float64) {
			return clicks(n, 15*ms), voice
		}, tolerance{80 * ms, 50 * ms, 50 * ms, 350 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range speech.Names {
				voice := speech.PCM(name)
				const lead = 3*second + 77
				pcm := join(zeros(lead), voice, zeros(3*second))
				if tt.noise != nil {
					noise, wanted := tt.noise(len(pcm), power(voice))
					pcm = mix(pcm, noise, wanted)
				}
				found, told := listen(pcm)
				if tt.noise != nil && len(found) > 1 && found[0].end < second {
					found, told = found[1:], told[1:]
				}
				if len(found) != 1 {
					t.Errorf("%s: found %v, want one span", name, found)
					continue
				}
				want := reference(voice)
				in := func(what string, got, want int64, before, after time.Duration) {
					off := time.Duration(got-lead-want) * time.Second / second
					t.Logf("%s: %s off by %v", name, what, off)
					if off < -before || off > after {
						t.Errorf("%s: %s off by %v, want -%v to %v", name, what, off, before, after)
					}
				}
				in("start", found[0].start, want.start, tt.early, tt.late)
				in("end", found[0].end, want.end, tt.short, tt.long)
				if most := int64(100 * second / 1000); told[0] > most {
					t.Errorf("%s: told %d samples after the start, want at most %d", name, told[0], most)
				}
			}
		})
	}
}

// TestFirstWords speaks with the first sample of a track.
func TestFirstWords(t *testing.T) {
	for _, name := range speech.Names {
		voice := speech.PCM(name)
		voice = voice[reference(voice).start:]
		found, _ := listen(voice)
		if len(found) != 1 || found[0].start > second/20 {
			t.Errorf("%s: found %v, want one span from the beginning", name, found)
		}
	}
}

// TestNotSpeech plays what is no speech.
func TestNotSpeech(t *testing.T) {
	const ms = time.Millisecond
	room := func(n int) []int16 { return mix(zeros(n), fan(n), dbfs(-50)) }
	// What a decoder makes of DTX: 20 ms of the room every 400 ms.
	var dtx []int16
	for range 50 {
		dtx = append(dtx, room(second/50)...)
		dtx = append(dtx, zeros(second*38/100)...)
	}
	tests := []struct {
		name string
		pcm  []int16
		// from is when the Detector knows the room.
		from int64
	}{
		{"zeros", zeros(20 * second), 0},
		{"the least bit", mix(zeros(20*second), white(20*second), 0.5), 0},
		{"faint noise", mix(zeros(20*second), white(20*second), dbfs(-55)), 0},
		{"faint noise after zeros", join(zeros(20*second), mix(zeros(10*second), white(10*second), dbfs(-55))), 0},
		{"white noise", mix(zeros(20*second), white(20*second), dbfs(-30)), second},
		{"a fan", mix(zeros(60*second), fan(60*second), dbfs(-30)), second},
		{"a mute in a noisy room", join(room(7*second), zeros(60*second), room(7*second)), second},
		{"a mute that ends within a hop", join(room(7*second), zeros(60*second+140), room(7*second)), second},
		{"a dithered mute", join(room(7*second), mix(zeros(60*second+20), white(60*second+20), 0.5), room(7*second)), second},
		{"gaps in the transmission", join(room(7*second), dtx, room(7*second)), second},
		{"clicks of 1 ms", mix(zeros(20*second), clicks(20*second, ms), dbfs(-30)), 0},
		{"clicks of 20 ms", mix(zeros(20*second), clicks(20*second, 20*ms), dbfs(-20)), 0},
		{"clicks in a room", mix(room(20*second), clicks(20*second, 20*ms), dbfs(-20)), second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, _ := listen(tt.pcm)
			for _, s := range found {
				if s.end >= tt.from {
					t.Errorf("found %v s, want none after %v s", seconds(s), float64(tt.from)/second)
				}
			}
		})
	}
}

// TestNobodyIsLearnedAsTheRoom: a voice that never pauses, or whose pauses a
// noise gate has emptied.
func TestNobodyIsLearnedAsTheRoom(t *testing.T) {
	var pcm []int16
	for i := range 60 * second {
		v := 2000 * math.Sin(float64(i)/10)
		if i%(4*second) > 3*second {
			v = 0
		}
		pcm = append(pcm, int16(v+2000*math.Sin(float64(i)/3)*min(1, v*v)))
	}
	if found, _ := listen(pcm); len(found) < 14 || found[len(found)-1].end < 58*second {
		t.Errorf("found %v, want 15 stretches to the end", found)
	}
}

// TestStirs: a word stirs before it is speech.
func TestStirs(t *testing.T) {
	var d Detector
	d.Write(mix(zeros(3*second), white(3*second), dbfs(-55)))
	if d.Stirs() || d.Speech() {
		t.Fatalf("a quiet room: stirs %v, speech %v", d.Stirs(), d.Speech())
	}
	voice := make([]int16, 2*hop)
	for i := range voice {
		voice[i] = int16(4000 * math.Sin(float64(i)/4))
	}
	d.Write(voice)
	if !d.Stirs() || d.Speech() {
		t.Errorf("20 ms of a voice: stirs %v, speech %v, want true and not yet", d.Stirs(), d.Speech())
	}
}

// TestClicksAfterSpeech: they must not hold an utterance open.
func TestClicksAfterSpeech(t *testing.T) {
	voice := speech.PCM(speech.Names[0])
	clean, _ := listen(join(voice, zeros(5*second)))
	clicked, _ := listen(join(voice, mix(zeros(5*second), clicks(5*second, 20*time.Millisecond), dbfs(-20))))
	if len(clean) != 1 || len(clicked) != 1 {
		t.Fatalf("found %v and %v, want one span each", clean, clicked)
	}
	if late := clicked[0].end - clean[0].end; late > second/10 {
		t.Errorf("clicks moved the end by %d samples", late)
	}
}

// TestLoud plays square waves from rail to rail: so loud a sound is never taken
// for the room, but it makes nobody deaf either.
func TestLoud(t *testing.T) {
	for _, period := range []int{2, 16, 40, 160, 1600} {
		pcm := make([]int16, 20*second)
		for i := range pcm {
			pcm[i] = math.MaxInt16
			if i%period >= period/2 {
				pcm[i] = math.MinInt16
			}
		}
		if found, _ := listen(join(pcm, zeros(2*second))); len(found) > 1 || len(found) == 1 && found[0].end > 21*second {
			t.Errorf("period %d: found %v, want an end soon after 20 s", period, found)
		}
		if found, _ := listen(join(pcm, zeros(6*second), speech.PCM(speech.Names[0]))); len(found) == 0 || found[len(found)-1].end < 26*second {
			t.Errorf("period %d: heard no speech afterwards: %v", period, found)
		}
	}
}

// TestNewNoise switches a fan on: it is taken for speech for as long as the
// floor remembers the time before it.
func TestNewNoise(t *testing.T) {
	found, _ := listen(join(
		mix(zeros(10*second), white(10*second), dbfs(-65)),
		mix(zeros(20*second), fan(20*second), dbfs(-40))))
	if len(found) != 1 || found[0].end > 16*second {
		t.Errorf("found %v, want one span that ends by 16 s", found)
	}
}

// TestAccount: what the positions say belongs together at every moment.
func TestAccount(t *testing.T) {
	d := New(Config{})
	if d.Position() != 0 || d.LastSpeech() != 0 || d.SpeechStart() != 0 || d.Silence() != 0 || d.Speech() {
		t.Error("a new Detector has a past")
	}
	pcm := join(zeros(second), speech.PCM(speech.Names[0]), zeros(2*second), speech.PCM(speech.Names[1]), zeros(2*second))
	for i, n := int64(0), int64(0); i+100 <= int64(len(pcm)); i += 100 {
		d.Write(pcm[i : i+100])
		n += 100
		if d.Position() != n-n%hop {
			t.Fatalf("position %d after %d samples", d.Position(), n)
		}
		if d.SpeechStart() > d.LastSpeech() || d.LastSpeech() > d.Position() {
			t.Fatalf("start %d, last %d, position %d", d.SpeechStart(), d.LastSpeech(), d.Position())
		}
		if d.Silence() != d.Position()-d.LastSpeech() {
			t.Fatalf("silence %d", d.Silence())
		}
		if d.Speech() && d.Silence() > second*45/100 {
			t.Fatalf("speech after %d samples of silence", d.Silence())
		}
	}
}

// TestCuts: how the audio is cut into Writes changes nothing.
func TestCuts(t *testing.T) {
	voice := join(zeros(second), speech.PCM(speech.Names[1]), zeros(second))
	voice = mix(voice, fan(len(voice)), dbfs(-50))
	rapid.Check(t, func(t *rapid.T) {
		whole, cut := New(Config{}), New(Config{})
		rest := voice[:rapid.IntRange(0, len(voice)).Draw(t, "length")]
		for len(rest) > 0 {
			n := min(rapid.OneOf(rapid.IntRange(0, 2*hop), rapid.IntRange(0, 3*second)).Draw(t, "cut"), len(rest))
			whole.Write(rest[:n:n])
			for _, s := range rest[:n] {
				cut.Write([]int16{s})
			}
			rest = rest[n:]
			if known(whole) != known(cut) {
				t.Fatalf("%d samples before the end: position %d and %d, speech %v and %v",
					len(rest), whole.Position(), cut.Position(), whole.Speech(), cut.Speech())
			}
		}
	})
}

// known is all that d knows, without what is left of samples already judged.
func known(d *Detector) Detector {
	k := *d
	clear(k.partial[k.filled:])
	return k
}

// TestAnything: no input makes the levels anything but numbers.
func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New(Config{})
		for range rapid.IntRange(1, 20).Draw(t, "parts") {
			part := make([]int16, rapid.IntRange(0, second).Draw(t, "length"))
			value, period := rapid.Int16().Draw(t, "value"), rapid.IntRange(1, 400).Draw(t, "period")
			for i := range part {
				part[i] = value
				if i%period > period/2 {
					part[i] = -value
				}
			}
			d.Write(part)
			if l := d.median(); math.IsNaN(l) || math.IsInf(l, 0) {
				t.Fatalf("level %v", l)
			}
		}
	})
}

// TestZeroValue: it is a Detector with the defaults.
func TestZeroValue(t *testing.T) {
	var zero Detector
	made := New(Config{})
	for _, pcm := range [][]int16{speech.PCM(speech.Names[0]), zeros(second)} {
		zero.Write(pcm)
		made.Write(pcm)
		if zero != *made {
			t.Fatalf("last speech %d, want %d", zero.LastSpeech(), made.LastSpeech())
		}
	}
}

func TestConfig(t *testing.T) {
	voice := join(zeros(second), speech.PCM(speech.Names[0]), zeros(3*second))
	long := New(Config{Hangover: 2 * time.Second})
	deaf := New(Config{OnDB: 90})
	for ; len(voice) >= hop; voice = voice[hop:] {
		long.Write(voice[:hop])
		deaf.Write(voice[:hop])
		if deaf.Speech() {
			t.Fatal("OnDB is not obeyed")
		}
		if !long.Speech() && long.LastSpeech() > 0 && long.Silence() < 2*second {
			t.Fatalf("hangover ended after %d samples", long.Silence())
		}
	}
	if long.Speech() || long.LastSpeech() == 0 {
		t.Error("the long hangover never ended")
	}
}

func TestNoAllocations(t *testing.T) {
	d := New(Config{})
	voice := speech.PCM(speech.Names[1])
	if n := testing.AllocsPerRun(10, func() { d.Write(voice) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func seconds(s span) [2]float64 {
	return [2]float64{float64(s.start) / second, float64(s.end) / second}
}

func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		name string
		pcm  []int16
	}{
		{"speech", speech.PCM(speech.Names[0])[:5*second]},
		{"zeros", zeros(5 * second)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			d := New(Config{})
			b.ReportAllocs()
			for b.Loop() {
				d.Write(bb.pcm)
			}
			perSecond := b.Elapsed().Seconds() / float64(b.N) / 5
			b.ReportMetric(100*perSecond, "%realtime")
		})
	}
}
