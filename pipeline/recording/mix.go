package recording

import (
	"context"
	"iter"
	"slices"
	"time"

	"verbatim/media/audio"
)

// block is what is mixed at a time, and a frame of FLAC: 100 ms, in samples.
const block = audio.FrameRate / 10

// Track is one of the tracks to mix.
type Track struct {
	StartedAt time.Time
	// Open gives the track's packets. done is called when no more are wanted.
	Open func(context.Context) (packets iter.Seq2[audio.Packet, error], done func(), err error)
}

// Mix is the sound of a meeting that began then, on its clock: all tracks, each
// where the transcript has it, limited so that nothing clips. It comes in blocks
// of 100 ms and ends with the last track, at least one block. A block is valid
// until the next one. Tracks are open only while they are heard.
func Mix(ctx context.Context, began time.Time, tracks []Track) iter.Seq2[[]int16, error] {
	return func(yield func([]int16, error) bool) {
		m := mixer{began: began, tracks: slices.Clone(tracks), limit: newLimiter()}
		slices.SortStableFunc(m.tracks, func(a, b Track) int { return a.StartedAt.Compare(b.StartedAt) })
		defer m.close()
		var skip = ahead // what the limiter gives before its first sample
		var out [block]int16
		n := 0
		for more := true; more; {
			var err error
			if more, err = m.next(ctx); err != nil {
				yield(nil, err)
				return
			}
			for _, v := range &m.sum {
				s := m.limit.next(v)
				if skip > 0 {
					skip--
					continue
				}
				out[n] = s
				if n++; n == block {
					n = 0
					if !yield(out[:], nil) {
						return
					}
				}
			}
		}
		// What is in the limiter, and silence up to a whole block.
		for ; n < block; n++ {
			out[n] = m.limit.next(0)
		}
		yield(out[:], nil)
	}
}

type mixer struct {
	began  time.Time
	tracks []Track // that are still to come
	voices []*voice
	at     int64 // of sum, in samples of the meeting
	sum    [block]int32
	limit  *limiter
}

// next mixes the next block; more says that others follow.
func (m *mixer) next(ctx context.Context) (more bool, err error) {
	clear(m.sum[:])
	for len(m.tracks) > 0 && samples(m.tracks[0].StartedAt.Sub(m.began)) < m.at+block {
		packets, done, err := m.tracks[0].Open(ctx)
		if err != nil {
			return false, err
		}
		m.tracks = m.tracks[1:]
		v := newVoice(m.began, packets)
		stop := v.stop
		v.stop = func() { stop(); done() }
		m.voices = append(m.voices, v)
	}
	for _, v := range m.voices {
		if err := v.mix(m.sum[:], m.at); err != nil {
			return false, err
		}
	}
	m.voices = slices.DeleteFunc(m.voices, func(v *voice) bool {
		if v.over {
			v.stop()
		}
		return v.over
	})
	m.at += block
	return len(m.tracks)+len(m.voices) > 0, ctx.Err()
}

func (m *mixer) close() {
	for _, v := range m.voices {
		v.stop()
	}
}
