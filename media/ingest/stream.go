package ingest

import (
	"encoding/binary"
	"fmt"
	"time"

	"verbatim/media/audio"
	"verbatim/media/codec"
)

const (
	// maxPacket is the longest packet in samples (16 kHz): 120 ms.
	maxPacket = 120 * audio.FrameRate / 1000
	// maxLead is how much of a stream's beginning may be missing, in samples
	// (16 kHz): as much as audio.Timeline believes of a hole.
	maxLead = 5 * audio.FrameRate
	// maxAhead is how far audio may be ahead of the clock before it is not read
	// any more; maxDrift is how fast the client's clock may be: 1 in 1,000.
	maxAhead = 3 * time.Second
	maxDrift = 1000
	// maxMarks bounds what is remembered of audio that is not durable yet. A
	// disk that is away for long makes the next ack late, not wrong.
	maxMarks = 256
)

// stream turns the messages of one client into the packets of its track, and
// what of the track is durable back into the client's counter. It is pure; one
// goroutine uses it.
//
// The client's sample c lies at floor(c·16000/rate) of the 16 kHz timeline,
// whatever came before it: rounding never adds up.
type stream struct {
	rate      int
	resampler *codec.Resampler // made with the first audio; nil: the client sends 16 kHz

	timeline audio.Timeline // its timestamps are 16 kHz
	late     time.Duration  // how long before the first message sample 0 was, by the client
	began    time.Time      // when sample 0 was, as far as that is known
	next     int64          // counter of the sample that is wanted next
	at       int64          // where the next sample out of the resampler lies (16 kHz)
	seen     int64          // how far packets have gone (16 kHz)
	ext      int64          // numbers for the timeline
	last     int64          // ticks of the packet before, 0: there is none yet
	packets  uint64

	marks     []mark
	durable   int64
	duplicate int64

	pcm, out []int16
	bytes    []byte
}

// mark says that all samples before counter are in the packets before seq.
type mark struct {
	seq     uint64
	counter int64
}

// newStream costs little: the filter of an unusual rate takes milliseconds to make, which
// is nothing to be had for a hello alone.
func newStream(rate int, late time.Duration) (*stream, error) {
	if rate < codec.MinRate || rate > codec.MaxRate {
		return nil, fmt.Errorf("a stream of %d Hz", rate)
	}
	return &stream{rate: rate, late: late}, nil
}

// position is where the client's sample lies on the 16 kHz timeline.
func (s *stream) position(counter int64) int64 {
	rate := int64(s.rate)
	return counter/rate*audio.FrameRate + counter%rate*audio.FrameRate/rate
}

// push takes a message that was read now. Payloads that it emits are valid until
// the next call.
func (s *stream) push(now time.Time, counter int64, pcm []byte, emit func(audio.Packet)) {
	n := int64(len(pcm) / 2)
	if known := min(s.next-counter, n); known > 0 {
		s.duplicate += known
		pcm = pcm[2*known:]
		counter, n = counter+known, n-known
	}
	if n == 0 {
		return
	}
	if s.resampler == nil && s.rate != audio.FrameRate {
		r, err := codec.NewResampler(s.rate, audio.FrameRate)
		if err != nil {
			return // newStream has looked: it takes all rates between these
		}
		s.resampler = r
	}
	if s.began.IsZero() {
		s.began = now.Add(-s.late)
		if missed := s.position(counter); missed <= maxLead {
			s.began = s.began.Add(-time.Duration(missed) * time.Second / audio.FrameRate)
		}
	}
	if counter != s.next {
		s.at = s.position(counter)
		if s.resampler != nil {
			s.resampler.Reset()
		}
	}
	s.next = counter + n
	b := s.resample(pcm)
	for len(b) > 0 {
		part := b[:min(len(b), 2*maxPacket)]
		b = b[len(part):]
		s.place(now, part, emit)
	}
}

// resample gives 16 kHz s16le.
func (s *stream) resample(pcm []byte) []byte {
	if s.resampler == nil {
		return pcm
	}
	s.pcm, s.bytes = s.pcm[:0], s.bytes[:0]
	for i := 0; i < len(pcm); i += 2 {
		s.pcm = append(s.pcm, int16(binary.LittleEndian.Uint16(pcm[i:])))
	}
	s.out = s.resampler.Resample(s.out[:0], s.pcm)
	for _, v := range s.out {
		s.bytes = binary.LittleEndian.AppendUint16(s.bytes, uint16(v))
	}
	return s.bytes
}

// place puts one packet on the timeline, at s.at.
func (s *stream) place(now time.Time, b []byte, emit func(audio.Packet)) {
	samples := int64(len(b)/2) * audio.TicksPerSample
	gap := s.at - s.seen
	if s.last == 0 && (gap > 0 || s.late > 0) { // a stream begins at 0, when that was
		s.last = samples
		s.timeline.Begin(audio.Coding{Rate: audio.FrameRate, Samples: samples, Arrived: s.began})
	}
	if gap > 1<<30 { // 32-bit timestamps would wrap
		s.timeline.Break()
	}
	// As many numbers are left out as the gap is long: all of it was lost.
	s.ext++
	if gap > 0 {
		s.ext += (gap*audio.TicksPerSample + s.last - 1) / s.last
	}
	s.timeline.Push(audio.Coding{
		Ext: s.ext, Timestamp: uint32(s.at), Rate: audio.FrameRate, Samples: samples,
		Format: audio.FormatPCM, Arrived: now, Payload: b,
	}, func(p audio.Packet) {
		s.packets = p.Seq + 1
		emit(p)
	})
	s.at += int64(len(b) / 2)
	s.seen, s.last = s.at, samples
}

// end emits the End packet. What the resampler still holds, 3 ms at most, is
// beyond the length of the track.
func (s *stream) end(now time.Time, reason audio.Reason, emit func(audio.Packet)) {
	s.timeline.End(now, reason, func(p audio.Packet) {
		s.packets = p.Seq + 1
		emit(p)
	})
	s.remember(s.next)
}

// appended says that all packets that were emitted are in the log.
func (s *stream) appended() {
	held := int64(0)
	if s.resampler != nil {
		held = int64(s.rate / 100) // more than the filter is long
	}
	s.remember(s.next - held)
}

func (s *stream) remember(counter int64) {
	m := mark{seq: s.packets, counter: counter}
	if n := len(s.marks); n == maxMarks {
		s.marks[n-1] = m
	} else {
		s.marks = append(s.marks, m)
	}
}

// ack says how far the stream is when the log's packets before seq are durable.
func (s *stream) ack(seq uint64) ack {
	n := 0
	for n < len(s.marks) && s.marks[n].seq <= seq {
		s.durable = max(s.durable, s.marks[n].counter)
		n++
	}
	s.marks = append(s.marks[:0], s.marks[n:]...)
	return ack{Type: "ack", Durable: s.durable, Next: s.next, Duplicate: s.duplicate}
}

// wait is how long nothing more should be read: a client that sends faster than
// time passes makes no hours out of seconds.
func (s *stream) wait(now time.Time) time.Duration {
	if s.last == 0 {
		return 0
	}
	return s.timeline.Ahead(now) - maxAhead - now.Sub(s.began)/maxDrift
}
