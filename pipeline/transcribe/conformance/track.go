package conformance

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

const (
	packetSamples = audio.FrameRate / 50
	packetTicks   = packetSamples * audio.TicksPerSample
)

// track is a transcribe.Log in memory; a live one comes in real time.
type track struct {
	packets []audio.Packet
	live    bool
	began   time.Time
}

// packets is a signal of tone code.
func packets(numbers int) (all []audio.Packet) {
	pcm := tonecode.Signal(0, numbers)
	for at := 0; at < len(pcm); at += packetSamples {
		var payload []byte
		for _, v := range pcm[at : at+packetSamples] {
			payload = binary.LittleEndian.AppendUint16(payload, uint16(v))
		}
		all = append(all, audio.Packet{
			Seq: uint64(len(all)), Start: int64(at) * audio.TicksPerSample, Samples: packetTicks,
			Kind: audio.Coded, Format: audio.FormatPCM, Payload: payload,
		})
	}
	return append(all, audio.NewEnd(uint64(len(all)), int64(len(pcm))*audio.TicksPerSample, time.Time{}, audio.EndInfo{}))
}

func (l *track) SeqAt(tick int64) uint64 {
	return min(uint64(tick/packetTicks), uint64(len(l.packets)-1))
}

func (l *track) Tail() int64 {
	total := l.packets[len(l.packets)-1].Start
	if !l.live {
		return total
	}
	return min(total, int64(time.Since(l.began)*audio.TickRate/time.Second)/packetTicks*packetTicks)
}

func (l *track) Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for _, p := range l.packets[from:] {
			if l.live {
				due := l.began.Add(time.Duration(p.Next()) * time.Second / audio.TickRate)
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				yield(audio.Packet{}, ctx.Err())
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// sink keeps what was committed. The supervisor calls one method at a time.
type sink struct {
	finals   []transcribe.Utterance
	through  int64
	commits  int
	interims int
}

func (s *sink) Interim(transcribe.Utterance) { s.interims++ }

func (s *sink) State(transcribe.Status) {}

func (s *sink) Commit(_ context.Context, through int64, finals []transcribe.Utterance) error {
	if through < s.through {
		return fmt.Errorf("through goes back from %d to %d", s.through, through)
	}
	s.through = through
	s.finals = append(s.finals, finals...)
	s.commits++
	return nil
}

// wrong compares with what was said in the track.
func (s *sink) wrong(numbers int, anyOrder bool, o *Options) (wrong []string) {
	if total := int64(numbers) * tonecode.Symbol; s.through != total {
		wrong = append(wrong, fmt.Sprintf("through %d, want %d", s.through, total))
	}
	if anyOrder {
		slices.SortStableFunc(s.finals, func(a, b transcribe.Utterance) int { return int(a.Start - b.Start) })
	}
	var got []int
	for _, u := range s.finals {
		if u.Skipped != "" {
			wrong = append(wrong, fmt.Sprintf("skipped from %d to %d: %s", u.Start, u.End, u.Skipped))
			continue
		}
		var heard []int
		for text := range strings.FieldsSeq(u.Text) {
			i, ok := tonecode.Index(text)
			if !ok {
				wrong = append(wrong, fmt.Sprintf("nobody said %q", text))
				continue
			}
			heard = append(heard, i)
		}
		wrong = append(wrong, misplaced(u, heard, o)...)
		got = append(got, heard...)
	}
	return append(wrong, different(got, numbers)...)
}

// misplaced compares the times of an utterance and its words with their places.
func misplaced(u transcribe.Utterance, heard []int, o *Options) (wrong []string) {
	if len(heard) == 0 {
		return []string{fmt.Sprintf("an utterance of nothing: %+v", u)}
	}
	off := func(what string, got, want int64) {
		tolerance := o.Tolerance
		if tolerance == 0 {
			tolerance = audio.FrameRate / 10
		}
		if d := got - want; d < -tolerance || d > tolerance {
			wrong = append(wrong, fmt.Sprintf("%s at %d ms, want %d ms: %.60q", what, got/16, want/16, u.Text))
		}
	}
	start := func(i int) int64 { return int64(i) * tonecode.Symbol }
	off("begin", u.Start, start(heard[0]))
	if last := start(heard[len(heard)-1]) + sound; u.End < last {
		off("end", u.End, last) // it may be later: the pause is spoken for, too
	}
	if o.NoWords {
		if len(u.Words) > 0 {
			wrong = append(wrong, "words without times have times")
		}
		return wrong
	}
	if len(u.Words) != len(heard) {
		return append(wrong, fmt.Sprintf("%d words in %.60q", len(u.Words), u.Text))
	}
	for k, w := range u.Words {
		if w.Text != tonecode.Word(heard[k]) {
			wrong = append(wrong, fmt.Sprintf("word %q in place of %q", w.Text, tonecode.Word(heard[k])))
		}
		off(w.Text+" begins", w.Start, start(heard[k]))
		off(w.Text+" ends", w.End, start(heard[k])+sound)
	}
	return wrong
}

// different says which numbers are missing, doubled or out of order.
func different(got []int, numbers int) (wrong []string) {
	times := make([]int, numbers)
	last := -1
	var order []int
	for _, i := range got {
		if i >= numbers {
			wrong = append(wrong, fmt.Sprintf("nobody said %s", tonecode.Word(i)))
			continue
		}
		if times[i]++; i < last {
			order = append(order, i)
		}
		last = i
	}
	var lost, doubled []int
	for i, n := range times {
		switch {
		case n == 0 && tonecode.Spoken(i):
			lost = append(lost, i)
		case n > 1:
			doubled = append(doubled, i)
		}
	}
	for _, list := range []struct {
		what    string
		numbers []int
	}{{"lost", lost}, {"more than once", doubled}, {"out of order", order}} {
		if len(list.numbers) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d words, %v", list.what, len(list.numbers), list.numbers))
		}
	}
	return wrong
}
