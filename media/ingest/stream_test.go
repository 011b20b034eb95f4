package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
	"verbatim/media/codec"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sample is the client's sample c.
func sample(c int64) int16 { return int16((uint64(c)*0x9e3779b97f4a7c15)>>48) / 2 }

func pcm(from, to int64) []byte {
	b := make([]byte, 0, 2*(to-from))
	for c := from; c < to; c++ {
		b = binary.LittleEndian.AppendUint16(b, uint16(sample(c)))
	}
	return b
}

// recorder keeps what a stream emits and checks what holds for every track.
type recorder struct {
	t       interface{ Fatalf(string, ...any) }
	packets []audio.Packet
	account audio.Account
	highest int64 // samples (16 kHz) that were said to be durable
}

func (r *recorder) emit(p audio.Packet) {
	var next audio.Packet
	if n := len(r.packets); n > 0 {
		next.Seq, next.Start = r.packets[n-1].Seq+1, r.packets[n-1].Next()
	}
	if p.Seq != next.Seq || p.Start != next.Start || p.Samples < 0 || !p.Kind.Valid() {
		r.t.Fatalf("packet %+v where seq %d at %d has to be", p, next.Seq, next.Start)
	}
	if p.Kind == audio.Coded {
		ticks := int64(len(p.Payload)/2) * audio.TicksPerSample
		if p.Format != audio.FormatPCM || p.Samples != ticks || ticks > 120*audio.TickRate/1000 || ticks == 0 {
			r.t.Fatalf("coded packet of %d ticks with %d bytes of format %d", p.Samples, len(p.Payload), p.Format)
		}
	}
	p.Payload = bytes.Clone(p.Payload)
	r.packets = append(r.packets, p)
	r.account.Add(p)
	if p.Kind == audio.End {
		if info, err := p.EndInfo(); err != nil || info.Totals != r.account {
			r.t.Fatalf("end %+v %v, account %+v", info, err, r.account)
		}
	}
}

func (r *recorder) String() (s string) {
	for _, p := range r.packets {
		s += fmt.Sprintf("%v %d, ", p.Kind, p.Samples/audio.TicksPerSample)
	}
	return s
}

func mustStream(t interface{ Fatal(...any) }, rate int) *stream {
	s, err := newStream(rate, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStreamGaps(t *testing.T) {
	type msg struct {
		counter, n int64
		after      time.Duration
	}
	const sec = time.Second
	for _, c := range []struct {
		name      string
		rate      int
		msgs      []msg
		want      string // in samples of 16 kHz
		duplicate int64
	}{
		{"one after the other", 16000, []msg{{0, 320, 0}, {320, 320, 0}}, "coded 320, coded 320, ", 0},
		{"long messages are cut", 16000, []msg{{0, 5000, 0}}, "coded 1920, coded 1920, coded 1160, ", 0},
		{"a hole is lost to the sample", 16000, []msg{{0, 320, 0}, {777, 1, 0}}, "coded 320, lost 457, coded 1, ", 0},
		{"four seconds at once", 16000, []msg{{0, 320, 0}, {64320, 320, 0}}, "coded 320, lost 64000, coded 320, ", 0},
		{"six seconds at once are not believed", 16000, []msg{{0, 320, 0}, {96320, 320, 0}, {96640, 1, 0}}, "coded 320, discontinuity 0, coded 320, coded 1, ", 0},
		{"an hour in an hour", 16000, []msg{{0, 320, 0}, {3600 * 16000, 320, 3600 * sec}}, "coded 320, lost 57599680, coded 320, ", 0},
		{"an hour in a second is the second", 16000, []msg{{0, 320, 0}, {3600 * 16000, 320, sec}}, "coded 320, discontinuity 15680, coded 320, ", 0},
		{"where 32 bits wrap is no way around that", 16000, []msg{{0, 320, 0}, {1<<32 + 320, 320, 0}}, "coded 320, discontinuity 0, coded 320, ", 0},
		{"as far as one can count", 48000, []msg{{0, 480, 0}, {1 << 52, 480, sec}}, "coded 160, discontinuity 15840, coded 160, ", 0},
		{"the beginning is lost", 16000, []msg{{16000, 320, 0}}, "lost 16000, coded 320, ", 0},
		{"of a beginning that long nothing is known", 16000, []msg{{96000, 320, 0}, {96320, 1, 0}}, "discontinuity 0, coded 320, coded 1, ", 0},
		{"nor of this one", 16000, []msg{{1 << 50, 320, 0}}, "discontinuity 0, coded 320, ", 0},
		{"the beginning at 48 kHz", 48000, []msg{{48001, 480, 0}}, "lost 16000, coded 160, ", 0},
		{"again", 16000, []msg{{0, 320, 0}, {0, 320, 0}, {320, 1, 0}}, "coded 320, coded 1, ", 320},
		{"overlap", 16000, []msg{{0, 320, 0}, {200, 320, 0}}, "coded 320, coded 200, ", 120},
		{"once lost, never taken", 16000, []msg{{0, 320, 0}, {640, 320, 0}, {320, 320, 0}}, "coded 320, lost 320, coded 320, ", 320},
		{"three samples make one", 48000, []msg{{0, 2, 0}, {2, 1, 0}, {3, 3, 0}}, "coded 1, coded 1, ", 0},
		{"a hole of less than a sample", 48000, []msg{{0, 480, 0}, {481, 479, 0}}, "coded 160, coded 159, ", 0},
		{"8 kHz", 8000, []msg{{0, 160, 0}, {320, 160, 0}}, "coded 320, lost 320, coded 320, ", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r, now := mustStream(t, c.rate), &recorder{t: t}, t0
			for _, m := range c.msgs {
				now = now.Add(m.after)
				s.push(now, m.counter, pcm(m.counter, m.counter+m.n), r.emit)
			}
			if got := r.String(); got != c.want || s.duplicate != c.duplicate {
				t.Errorf("got  %s%d twice\nwant %s%d twice", got, s.duplicate, c.want, c.duplicate)
			}
			last := c.msgs[len(c.msgs)-1]
			if want := max(s.next, last.counter+last.n); s.next != want {
				t.Errorf("next is %d, want %d", s.next, want)
			}
			s.end(now, audio.ReasonLeft, r.emit)
		})
	}
}

// span is what arrived without a hole, in samples of the client.
type span struct{ from, to int64 }

// However a client cuts its audio, whatever it leaves out, sends again or sends
// late: in the track every sample that came has its exact place, and nothing
// else is there. What is acknowledged is in the durable packets.
func TestStreamIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]int{16000, 16000, 8000, 48000, 44100, 11025, 8001, 47999}).Draw(t, "rate")
		s, r := mustStream(t, rate), &recorder{t: t}
		var spans []span
		var next int64
		now := t0
		if rapid.Bool().Draw(t, "late start") {
			next = rapid.Int64Range(0, int64(5*rate)-1).Draw(t, "start")
		}
		first := next
		steps := rapid.IntRange(1, 30).Draw(t, "steps")
		for i := range steps {
			n := rapid.Int64Range(1, rapid.SampledFrom([]int64{3, 500, 5000}).Draw(t, "most")).Draw(t, "n")
			from := next
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what == 0 && i > 0: // a hole
				from += rapid.Int64Range(1, int64(rate)).Draw(t, "hole")
			case what == 1 && i > 0: // a resume: some of it is known
				from = max(0, from-rapid.Int64Range(0, 40000).Draw(t, "again"))
			}
			// It was said before it comes, and may come much later.
			if said := t0.Add(time.Duration(from+n-first) * time.Second / time.Duration(rate)); said.After(now) {
				now = said
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "delay")))
			s.push(now, from, pcm(from, from+n), r.emit)
			s.appended()
			if from > next || len(spans) == 0 {
				spans = append(spans, span{from, from})
			}
			next = max(next, from+n)
			spans[len(spans)-1].to = next
			if s.next != next {
				t.Fatalf("next is %d, want %d", s.next, next)
			}
			if rapid.Bool().Draw(t, "look") && len(r.packets) > 0 {
				seq := rapid.Uint64Range(0, r.packets[len(r.packets)-1].Seq+1).Draw(t, "durable")
				checkAck(t, s, r, spans, seq)
			}
		}
		s.end(now, audio.ReasonLeft, r.emit)
		if a := s.ack(r.packets[len(r.packets)-1].Seq + 1); a.Durable != next || a.Next != next {
			t.Fatalf("at the end %+v of %d", a, next)
		}
		checkTrack(t, s, r, spans)
	})
}

// checkAck checks that what arrived before the acknowledged sample is in the
// packets before seq.
func checkAck(t *rapid.T, s *stream, r *recorder, spans []span, seq uint64) {
	var end int64 // of those packets, in samples of 16 kHz
	if seq > 0 {
		end = r.packets[seq-1].Next() / audio.TicksPerSample
	}
	a := s.ack(seq)
	r.highest = max(r.highest, end)
	for _, sp := range spans {
		to := min(sp.to, a.Durable)
		out := (to - sp.from) * audio.FrameRate / int64(s.rate)
		if out > 0 && s.position(sp.from)+out > r.highest {
			t.Fatalf("acknowledged up to %d, but only %d samples are durable", a.Durable, r.highest)
		}
	}
}

func checkTrack(t *rapid.T, s *stream, r *recorder, spans []span) {
	if a := r.account; a.Received+a.Concealed != a.Total() || s.timeline.Strange() != 0 {
		t.Fatalf("account %+v, %d strange", a, s.timeline.Strange())
	}
	end := r.packets[len(r.packets)-1].Start / audio.TicksPerSample
	want, known := make([]int16, end), make([]bool, end)
	for _, sp := range spans {
		out := samples(pcm(sp.from, sp.to))
		if s.rate != audio.FrameRate {
			re, err := codec.NewResampler(s.rate, audio.FrameRate)
			if err != nil {
				t.Fatal(err)
			}
			out = re.Resample(nil, out)
		}
		at := s.position(sp.from)
		if n := copy(want[min(at, end):], out); n != len(out) {
			t.Fatalf("%d samples at %d do not fit into %d", len(out), at, end)
		}
		for i := range out {
			known[at+int64(i)] = true
		}
	}
	for _, p := range r.packets {
		at, n := p.Start/audio.TicksPerSample, p.Samples/audio.TicksPerSample
		got := samples(p.Payload)
		for i := range n {
			if known[at+i] != (p.Kind == audio.Coded) {
				t.Fatalf("sample %d is %v", at+i, p.Kind)
			}
			if known[at+i] && got[i] != want[at+i] {
				t.Fatalf("sample %d is %d, want %d", at+i, got[i], want[at+i])
			}
		}
	}
}

func samples(b []byte) []int16 {
	pcm := make([]int16, len(b)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return pcm
}

// Whatever the counters are, no time is made up.
func TestNoCounterMakesHours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]int{8000, 16000, 44100, 48000}).Draw(t, "rate")
		s, r, now := mustStream(t, rate), &recorder{t: t}, t0
		var sent, start int64
		for i := range rapid.IntRange(1, 50).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 3e9).Draw(t, "after")))
			counter := rapid.OneOf(
				rapid.Int64Range(0, maxCounter-maxMessage),
				rapid.Map(rapid.Int64Range(-100, 10*48000), func(d int64) int64 { return max(0, s.next+d) }),
				rapid.Map(rapid.Int64Range(-10, 10), func(d int64) int64 { return max(0, s.next+d+int64(rate)<<18) }),
			).Draw(t, "counter")
			n := rapid.Int64Range(1, 3000).Draw(t, "samples")
			s.push(now, counter, pcm(counter, counter+n), r.emit)
			s.appended()
			sent += n
			if i == 0 {
				start = 5 * audio.TickRate // which may be missing
			}
		}
		s.end(now, audio.ReasonTimeout, r.emit)
		most := sent*audio.TickRate/int64(rate) + int64(now.Sub(t0).Seconds()*audio.TickRate) + start + 6*audio.TickRate
		if total := r.account.Total(); total > most {
			t.Fatalf("%d ticks of track out of %d", total, most)
		}
	})
}

// A disk that is away makes acknowledgements late, not wrong, and costs nothing.
// What was recorded while the client could not send it stands where it was
// recorded, however fast it comes then.
func TestLate(t *testing.T) {
	for _, rate := range []int{16000, 48000} {
		s, err := newStream(rate, 7*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		r := &recorder{t: t}
		const step = 100 * time.Millisecond
		chunk := int64(rate) / 10
		for i := range int64(200) { // 70 at once, then as they are recorded
			now := t0.Add(max(0, time.Duration(i)*step-7*time.Second))
			if wait := s.wait(now); wait > 0 {
				t.Fatalf("at %d Hz, after %d messages it is held up by %v", rate, i, wait)
			}
			s.push(now, i*chunk, pcm(i*chunk, (i+1)*chunk), r.emit)
		}
		for _, p := range r.packets {
			if off := p.At.Sub(t0.Add(-7*time.Second + audio.Duration(p.Start))); off.Abs() > 10*time.Millisecond {
				t.Fatalf("at %d Hz, what was recorded at %v is off by %v", rate, audio.Duration(p.Start), off)
			}
		}
		if a := r.account; a.Discontinuity+a.Silence+a.Concealed > 0 || a.Received < 199*audio.TickRate/10 {
			t.Errorf("at %d Hz: %+v", rate, a)
		}
	}
}

func TestMarksAreBounded(t *testing.T) {
	s, r := mustStream(t, 16000), &recorder{t: t}
	for i := range int64(5000) {
		s.push(t0.Add(time.Duration(i)*20*time.Millisecond), i*320, pcm(i*320, i*320+320), r.emit)
		s.appended()
	}
	if len(s.marks) > maxMarks {
		t.Errorf("%d marks", len(s.marks))
	}
	if a := s.ack(100); a.Durable != 100*320 {
		t.Errorf("100 packets are durable: %+v", a)
	}
	if a := s.ack(4999); a.Durable >= 5000*320 {
		t.Errorf("the last packet is not durable: %+v", a)
	}
	if a := s.ack(5000); a.Durable != 5000*320 {
		t.Errorf("all is durable: %+v", a)
	}
}

// An honest clock may be fast; whoever sends faster than that waits.
func TestWait(t *testing.T) {
	s := mustStream(t, 16000)
	if w := s.wait(t0); w > 0 {
		t.Errorf("wait %v before the first sample", w)
	}
	const hours = 8 * 3600
	for i := range int64(hours) { // a second each, 300 ppm too early
		now := t0.Add(time.Duration(i) * (time.Second - 300*time.Microsecond))
		if w := s.wait(now); w > 0 {
			t.Fatalf("after %d s of a clock that is 300 ppm fast: wait %v", i, w)
		}
		s.push(now, i*16000, pcm(i*16000, (i+1)*16000), func(audio.Packet) {})
	}
	now := t0.Add(hours * time.Second)
	for i := int64(hours); i < hours+60; i++ {
		s.push(now, i*16000, pcm(i*16000, (i+1)*16000), func(audio.Packet) {})
	}
	if w := s.wait(now); w < 25*time.Second || w > 57*time.Second {
		t.Errorf("a minute at once after %d h: wait %v", hours/3600, w)
	}
}

func BenchmarkPush(b *testing.B) {
	for _, rate := range []int{16000, 48000} {
		b.Run(fmt.Sprintf("20ms of %d", rate), func(b *testing.B) {
			s := mustStream(b, rate)
			n := int64(rate / 50)
			msg := pcm(0, n)
			emit := func(audio.Packet) {}
			now := t0
			b.ReportAllocs()
			for b.Loop() {
				s.push(now, s.next, msg, emit)
				s.appended()
				s.ack(s.packets)
				now = now.Add(20 * time.Millisecond)
			}
		})
	}
}

// The filter of an unusual rate is made for audio, not for whoever says hello.
func TestFilterIsMadeForAudio(t *testing.T) {
	s, err := newStream(47_999, 0)
	if err != nil || s.resampler != nil {
		t.Fatalf("%v, %v", s.resampler, err)
	}
	r := &recorder{t: t}
	s.push(t0, 0, pcm(0, 4800), r.emit)
	if s.resampler == nil || len(r.packets) == 0 {
		t.Errorf("%d packets, filter %v", len(r.packets), s.resampler)
	}
	for _, rate := range []int{0, codec.MinRate - 1, codec.MaxRate + 1} {
		if _, err := newStream(rate, 0); err == nil {
			t.Errorf("%d Hz", rate)
		}
	}
}
