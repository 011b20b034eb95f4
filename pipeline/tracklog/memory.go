package tracklog

import (
	"slices"

	"verbatim/media/audio"
)

// use counts memory taken (or, below 0, given back). Log.mu is held.
func (l *Log) use(n int) {
	l.memory += int64(n)
	l.store.memory.Add(int64(n))
}

// crowded says that memory is getting short.
func (s *Store) crowded() bool { return s.memory.Load() > s.o.MemoryBytes/4*3 }

// relieve gives memory back: first what is in the file as well, down to half of
// the bound, so that the next call is far away. Should that not be enough, it
// asks the flusher for help, and above the bound it sheds.
func (s *Store) relieve() {
	for _, l := range s.relieveLocked() {
		s.log.Warn("memory is full and the disk is behind: audio is given up",
			"meeting", l.key.meeting, "track", l.key.track)
	}
}

// relieveLocked returns the logs that began to lose audio.
func (s *Store) relieveLocked() (shedding []*Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		if s.memory.Load() <= s.o.MemoryBytes/2 {
			return nil
		}
		l.mu.Lock()
		if !l.closed {
			l.drop(0)
		}
		l.mu.Unlock()
	}
	if !s.crowded() {
		return nil
	}
	s.wakeFlusher()
	for s.memory.Load() > s.o.MemoryBytes {
		var largest *Log
		most := 0
		for _, l := range s.logs {
			if n := l.sheddableBytes(); n > most {
				largest, most = l, n
			}
		}
		if largest == nil {
			break
		}
		ticks, first := largest.shed()
		s.shed.Add(ticks)
		if first {
			shedding = append(shedding, largest)
		}
	}
	return shedding
}

// sheddable says whether c has audio that is not in the file nor on its way
// there. Log.mu is held.
func (l *Log) sheddable(c *chunk) bool {
	return !c.shed && c.written < len(c.buf) && c != l.writing
}

// sheddableBytes is the memory that shedding all it can would work on.
func (l *Log) sheddableBytes() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0 // what is left of it goes with its last reader
	}
	for _, c := range l.chunks {
		if l.sheddable(c) {
			n += cap(c.buf)
		}
	}
	return n
}

// shed gives up the coded packets of the oldest unwritten chunk that has some
// and returns their ticks; first says that they are the first of this outage.
func (l *Log) shed() (ticks int64, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.chunks, l.sheddable)
	if i < 0 {
		return 0, false
	}
	// What was shed before goes into the same chunk while that stays small, so
	// that a long outage ends up in few chunks.
	from, old := i, l.chunks[i]
	if i > 0 {
		if c := l.chunks[i-1]; c.shed && c.written < len(c.buf) && c != l.writing && len(c.buf) < chunkSize/2 {
			from = i - 1
		}
	}
	before := 0
	for _, c := range l.chunks[from : i+1] {
		before += cap(c.buf) + chunkCost
	}
	buf, moved := shedChunks(l.chunks[from : i+1])
	if len(buf)+chunkCost >= before {
		old.shed = true // as small as it gets
		return 0, false
	}
	l.replace(from, i+1, buf).shed = true
	l.acct.Received -= moved.Received
	l.acct.Recovered -= moved.Recovered
	l.acct.Shed += moved.Total()
	l.moved = l.moved.Plus(moved)
	if l.ended {
		l.rewriteEnd()
	}
	first, l.warned = !l.warned, true
	return moved.Total(), first
}

// shedChunks returns the frames of chunks in a buffer without room for more,
// and the account of what it shed. Only what follows the written part of the
// first chunk is touched.
func shedChunks(chunks []*chunk) ([]byte, audio.Account) {
	var moved audio.Account
	r := runs{out: make([]byte, 0, chunkSize)}
	r.out = append(r.out, chunks[0].buf[:chunks[0].written]...)
	for i, c := range chunks {
		b := c.buf
		if i == 0 {
			b = b[c.written:]
		}
		for len(b) > 0 {
			f, n := parse(b)
			b = b[n:]
			if f.p.Kind == audio.Coded {
				moved.Add(f.p)
				f.shed()
			}
			r.add(f)
		}
	}
	r.end()
	return append(make([]byte, 0, len(r.out)), r.out...), moved
}

// rewriteEnd brings the totals of the End packet in line with the account. It
// is still unwritten, since something before it was. Log.mu is held.
func (l *Log) rewriteEnd() {
	i := len(l.chunks) - 1
	c := l.chunks[i]
	at := 0
	for at+frameLen(c.buf[at:]) < len(c.buf) {
		at += frameLen(c.buf[at:])
	}
	f, _ := parse(c.buf[at:])
	f.p = withTotals(f.p, l.acct)
	// The new buffer has no room for more, as nothing follows an End.
	buf := appendFrame(append(make([]byte, 0, len(c.buf)), c.buf[:at]...), &f)
	l.replace(i, i+1, buf).shed = c.shed
}

// withTotals is the End packet p with other totals.
func withTotals(p audio.Packet, totals audio.Account) audio.Packet {
	info, _ := p.EndInfo() // p went through check
	info.Totals = totals
	return audio.NewEnd(p.Seq, p.Start, p.At, info)
}
