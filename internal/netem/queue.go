package netem

import (
	"container/heap"
	"time"
)

// maxQueued bounds what is on its way in one direction: a second of what 500
// senders of 20 ms packets send.
const maxQueued = 25_000

// queue holds packets until they are due. It is pure.
type queue struct {
	heap    due
	pushed  uint64
	dropped uint64 // for want of room
}

type queued struct {
	at    time.Time
	order uint64 // of two that are due at the same time
	bytes []byte
}

// push takes a packet that is to go out at a time.
func (q *queue) push(at time.Time, bytes []byte) {
	if len(q.heap) >= maxQueued {
		q.dropped++
		return
	}
	q.pushed++
	heap.Push(&q.heap, queued{at, q.pushed, bytes})
}

// pop gives the next packet that is due; else it tells when the next one will
// be, zero if there is none.
func (q *queue) pop(now time.Time) (p queued, next time.Time) {
	switch {
	case len(q.heap) == 0:
		return p, time.Time{}
	case q.heap[0].at.After(now):
		return p, q.heap[0].at
	}
	p, _ = heap.Pop(&q.heap).(queued)
	return p, p.at
}

// due is a heap.Interface.
type due []queued

func (d due) Len() int { return len(d) }
func (d due) Less(i, j int) bool {
	if d[i].at.Equal(d[j].at) {
		return d[i].order < d[j].order
	}
	return d[i].at.Before(d[j].at)
}
func (d due) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *due) Push(x any)   { *d = append(*d, x.(queued)) } //nolint:errcheck,forcetypeassert // only push calls it
func (d *due) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = queued{}
	*d = old[:len(old)-1]
	return last
}
