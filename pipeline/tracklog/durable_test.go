package tracklog

import (
	"errors"
	"testing"

	"verbatim/media/audio"
)

func TestDurable(t *testing.T) {
	type step struct {
		name string
		do   func(*Store, *Log, *disk, *sender)
		want uint64
	}
	add := func(n int) func(*Store, *Log, *disk, *sender) {
		return func(_ *Store, l *Log, _ *disk, tx *sender) { appendAll(t, l, tx.coded(n, 100)...) }
	}
	write := func(s *Store, _ *Log, _ *disk, _ *sender) { s.flush(false) }
	sync := func(s *Store, _ *Log, _ *disk, _ *sender) { s.flush(true) }
	end := func(_ *Store, l *Log, _ *disk, tx *sender) { appendAll(t, l, tx.end(audio.ReasonLeft)) }
	for name, c := range map[string]struct {
		o     Options
		steps []step
	}{
		"with fsync": {steps: []step{
			{"appended", add(3), 0},
			{"written", write, 0},
			{"more after the write", add(2), 0},
			{"synced, with what the sync wrote first", sync, 5},
			{"over many chunks", add(1000), 5},
			{"synced again", sync, 1005},
			{"ended", end, 1005},
			{"an end is synced at once", write, 1006},
		}},
		"without fsync": {o: Options{SyncEvery: -1}, steps: []step{
			{"appended", add(500), 0},
			{"written", write, 500},
			{"appended", add(1), 500},
			{"written", write, 501},
		}},
		"full disk": {steps: []step{
			{"appended", add(2), 0},
			{"full", func(_ *Store, _ *Log, d *disk, _ *sender) { d.set(true, 50) }, 0},
			{"not written", sync, 0},
			{"back", func(_ *Store, _ *Log, d *disk, _ *sender) { d.set(false, 0) }, 0},
			{"synced", sync, 2},
		}},
		"shed": {o: Options{MemoryBytes: 64 << 10}, steps: []step{
			{"full", func(_ *Store, _ *Log, d *disk, _ *sender) { d.set(true, 0) }, 0},
			{"too much", add(5000), 0},
			{"back", func(_ *Store, _ *Log, d *disk, _ *sender) { d.set(false, 0) }, 0},
			{"synced", sync, 5000},
		}},
		"sync fails": {steps: []step{
			{"appended", add(2), 0},
			{"synced", sync, 2},
			{"appended", add(2), 2},
			{"failing", func(_ *Store, _ *Log, d *disk, _ *sender) { d.fsync = errors.New("I/O error") }, 2},
			{"not synced", sync, 2},
			{"back", func(_ *Store, _ *Log, d *disk, _ *sender) { d.fsync = nil }, 2},
			{"the system may have given up what was written", sync, 2},
			{"and what follows it is of no use without", add(2), 2},
			{"synced", sync, 2},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, c.o)
			d := (&disk{}).into(s)
			l := must(s.Create("m", "t"))
			var tx sender
			for _, st := range c.steps {
				st.do(s, l, d, &tx)
				if got := l.Durable(); got != st.want {
					t.Errorf("%s: durable up to %d, want %d", st.name, got, st.want)
				}
			}
			closeLog(t, l)
		})
	}
}

// What was there before this process may be in the system's memory only.
func TestDurableAfterOpen(t *testing.T) {
	s := newStore(t, Options{SyncEvery: -1})
	l := must(s.Create("m", "t"))
	var tx sender
	appendAll(t, l, tx.coded(3, 100)...)
	closeLog(t, l)

	s = newStore(t, Options{Dir: s.o.Dir})
	l = must(s.Open("m", "t"))
	if got := l.Durable(); got != 0 {
		t.Errorf("durable up to %d before a sync", got)
	}
	s.flush(true)
	if got := l.Durable(); got != 3 {
		t.Errorf("durable up to %d, want 3", got)
	}
	closeLog(t, l)
}
