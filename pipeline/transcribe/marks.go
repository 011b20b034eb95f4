package transcribe

import (
	"time"

	"verbatim/media/audio"
)

// markEvery is how far marks are from each other at least, in samples.
const markEvery = audio.FrameRate / 10

// marks are when a stream got how much of the track, for the last minute or so.
// Guarded by run.mu.
type marks struct {
	ring [512]mark
	n    int  // that were ever made
	last mark // what was got last, also if it is too near for one of its own
}

type mark struct {
	end int64 // sample of the track
	at  time.Time
}

func (m *marks) add(end int64, at time.Time) {
	m.last = mark{end: end, at: at}
	if m.n > 0 {
		last := m.ring[(m.n-1)%len(m.ring)].end
		if end >= last && end < last+markEvery {
			return
		}
		if end < last {
			m.n = 0 // another stream hears it again
		}
	}
	m.ring[m.n%len(m.ring)] = mark{end: end, at: at}
	m.n++
}

// heard is when the stream got a sample, zero if that is not known (any more).
func (r *run) heard(end int64) time.Time {
	if r.marks == nil {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.marks
	oldest := max(0, m.n-len(m.ring))
	for i := oldest; i < m.n; i++ {
		k := m.ring[i%len(m.ring)]
		if k.end < end {
			continue
		}
		if i == oldest && oldest > 0 {
			return time.Time{} // it may have been before that
		}
		return k.at
	}
	if m.last.end >= end {
		return m.last.at
	}
	return time.Time{}
}
