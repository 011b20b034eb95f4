package tracklog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/media/audio"
)

func TestRunWritesAndSyncs(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Options{Dir: dir, WriteEvery: 500 * time.Millisecond, SyncEvery: time.Second})
		d := (&disk{}).into(s)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		l := must(s.Create("m", "t"))
		state := func() (size, synced int64) {
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.size, l.synced
		}
		var tx sender
		appendAll(t, l, tx.coded(1, 100)...)
		one := int64(headerLen + prefixLen + fixedLen + 100)
		for _, step := range []struct {
			at           time.Duration
			size, synced int64
		}{{400, 0, 0}, {600, one, 0}, {900, one, 0}, {1100, one, one}} {
			time.Sleep(time.Until(began.Add(step.at * time.Millisecond)))
			if size, synced := state(); size != step.size || synced != step.synced {
				t.Errorf("after %d ms %d bytes are written, %d synced; want %d and %d", step.at, size, synced, step.size, step.synced)
			}
		}
		time.Sleep(time.Minute)
		if n := d.synced(); n != 1 {
			t.Errorf("%d syncs of a log at rest", n)
		}
		appendAll(t, l, tx.end(audio.ReasonLeft))
		if size, synced := state(); size <= one || synced != size {
			t.Errorf("the end is not on disk at once: %d of %d bytes", synced, size)
		}
		other := must(s.Create("m", "u"))
		appendAll(t, other, (&sender{}).coded(1, 100)...)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if other.synced != one {
			t.Errorf("left unwritten: %d", other.synced)
		}
		closeLog(t, l)
		closeLog(t, other)
	})
}

func TestNeverSync(t *testing.T) {
	s := newStore(t, Options{SyncEvery: -1})
	d := (&disk{}).into(s)
	l := must(s.Create("m", "t"))
	var tx sender
	appendAll(t, l, tx.coded(1, 100)...)
	s.flush(true)
	closeLog(t, l)
	if n := d.synced(); n != 0 {
		t.Errorf("%d syncs", n)
	}
}

func TestDiskFullAndBack(t *testing.T) {
	var lines logLines
	s := newStore(t, Options{MemoryBytes: 256 << 10, Tail: time.Second, Logger: lines.logger()})
	d := (&disk{}).into(s)
	l, small := must(s.Create("m", "t")), must(s.Create("m", "small"))
	var tx, tx2 sender
	var sent []audio.Packet
	write := func(packets ...audio.Packet) {
		sent = append(sent, packets...)
		appendAll(t, l, packets...)
	}
	write(tx.coded(500, 100)...)
	appendAll(t, small, tx2.coded(20, 100)...)
	s.flush(true)
	for i := range 300 {
		d.set(true, i*13) // each try leaves other debris behind
		write(tx.coded(50, 100)...)
		if i%10 == 0 {
			write(tx.packet(audio.Lost, 1920, nil))
		}
		if s.flush(true) == 0 {
			t.Fatal("the disk is not full")
		}
		if m := s.memory.Load(); m > s.o.MemoryBytes {
			t.Fatalf("%d bytes are in use", m)
		}
	}
	// The end comes while there is still something to shed.
	end := tx.end(audio.ReasonLeft)
	write(end)
	more := must(s.Create("m", "more"))
	var tx3 sender
	for range 40 {
		appendAll(t, more, tx3.coded(50, 100)...)
	}
	_, _, acct, _ := l.State()
	_, _, acct3, _ := more.State()
	if acct.Shed == 0 || acct.Total() != tx.acct.Total() || s.Shed() != acct.Shed+acct3.Shed {
		t.Errorf("account %+v after %+v, the store counts %d", acct, tx.acct, s.Shed())
	}
	arrived := tx.acct
	arrived.Shed = acct.Shed
	if got := l.Arrived(); got != arrived {
		t.Errorf("what arrived is %+v, want %+v", got, arrived)
	}
	if st := s.Stats(); st.Shed != s.Shed() || st.Logs != 3 || st.MemoryBytes != s.memory.Load() || st.WriteFailures < 300 || st.SyncFailures != 0 {
		t.Errorf("numbers: %+v", st)
	}
	if _, _, acct, _ := small.State(); acct != tx2.acct {
		t.Errorf("the small log lost something before the large one: %+v", acct)
	}
	if n := lines.count("level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged for one log that had something to write", n)
	}
	if n := lines.count("audio is given up"); n < 1 || n > 2 {
		t.Errorf("%d warnings", n)
	}

	d.set(false, 0)
	if n := s.flush(true); n > 0 {
		t.Fatalf("%d logs cannot be written", n)
	}
	if n := lines.count("is written again"); n != 1 {
		t.Errorf("%d times it is reported well again", n)
	}
	for _, l := range []*Log{l, small, more} {
		closeLog(t, l)
	}
	l = must(s.Open("m", "t"))
	got := readN(t, l, 0, len(sent))
	compare(t, got, sent, sameOrShed)
	compare(t, got[:500], sent[:500], same)
	if info, err := got[len(got)-1].EndInfo(); err != nil || info.Totals != acct || info.Reason != audio.ReasonLeft {
		t.Errorf("the end says %+v, the account was %+v", info, acct)
	}
	for i := 1; i < len(got); i++ {
		if got[i].At.Before(got[i-1].At) {
			t.Fatalf("time runs back at packet %d", i)
		}
	}
	if _, _, again, ended := l.State(); again != acct || !ended {
		t.Errorf("reopened: %+v, %v", again, ended)
	}
	closeLog(t, l)
	if lines.count("was cut") != 0 {
		t.Error("something had to be cut")
	}
}

// A long outage ends up in few bytes.
func TestOutageOfHours(t *testing.T) {
	s := newStore(t, Options{MemoryBytes: 128 << 10})
	(&disk{}).into(s).set(true, 0)
	l := must(s.Create("m", "t"))
	var tx sender
	for range 4 * 3600 {
		appendAll(t, l, tx.coded(50, 80)...)
	}
	if m := s.memory.Load(); m > s.o.MemoryBytes {
		t.Errorf("%d bytes are in use", m)
	}
	n := uint64(0)
	for p, err := range l.Read(t.Context(), 0) {
		if err != nil || p.Seq != n || p.Start != int64(n)*960 {
			t.Fatalf("got %+v, %v", p, err)
		}
		if n++; n == tx.seq {
			break
		}
	}
	if got := l.SeqAt(3600 * audio.TickRate); got != 3600*50 {
		t.Errorf("the packet at one hour is %d", got)
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v", err)
	}
	if s.memory.Load() != 0 {
		t.Errorf("%d bytes are left", s.memory.Load())
	}
}

// Reading goes on from memory after a Close that could not write.
func TestCloseFails(t *testing.T) {
	s := newStore(t, Options{})
	d := (&disk{}).into(s)
	l := must(s.Create("m", "t"))
	var tx sender
	sent := tx.coded(100, 100)
	appendAll(t, l, sent[:50]...)
	s.flush(true)
	appendAll(t, l, sent[50:]...)
	d.set(true, 200)
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("close: %v", err)
	}
	compare(t, readN(t, l, 0, 100), sent, same)
	d.set(false, 0)
	l = must(s.Open("m", "t"))
	compare(t, readN(t, l, 0, 50), sent[:50], same)
	if next, _, _, _ := l.State(); next != 50+1 { // 200 bytes more were one packet and a bit
		t.Errorf("next is %d", next)
	}
	closeLog(t, l)
}

func TestSyncFailure(t *testing.T) {
	var lines logLines
	s := newStore(t, Options{Logger: lines.logger()})
	d := (&disk{fsync: syscall.EIO}).into(s)
	l := must(s.Create("m", "t"))
	var tx sender
	for range 5 {
		appendAll(t, l, tx.coded(1, 10)...)
		if n := s.flush(true); n != 1 {
			t.Errorf("%d failures", n)
		}
	}
	d.fsync = nil
	if n := s.flush(true); n != 0 || lines.count("level=ERROR") != 1 || lines.count("written again") != 1 {
		t.Errorf("%d failures; logged:\n%s", n, lines.buf.String())
	}
	closeLog(t, l)
}

func TestReopen(t *testing.T) {
	s := newStore(t, Options{})
	l := must(s.Create("m", "t"))
	var tx sender
	sent := append(tx.coded(20, 30), tx.end(audio.ReasonLeft))
	appendAll(t, l, sent...)
	closeLog(t, l)
	path := filepath.Join(s.o.Dir, "m", "t.log")
	whole := must(os.ReadFile(path))
	frameAt := func(i int) int { return headerLen + i*(prefixLen+fixedLen+30) }
	flip := func(at int) []byte {
		b := append([]byte(nil), whole...)
		b[at] ^= 1
		return b
	}
	zeroed := func(from, to int) []byte {
		b := append([]byte(nil), whole...)
		clear(b[from:to])
		return b
	}
	one := prefixLen + fixedLen + runLen // a run of shed packets
	for name, c := range map[string]struct {
		file    []byte
		packets uint64
		size    int
		lost    []uint64 // shed
		err     error
	}{
		"whole":             {file: whole, packets: 21, size: len(whole)},
		"more behind":       {file: append(whole[:len(whole):len(whole)], 1, 2, 3), packets: 21, size: len(whole)},
		"empty":             {},
		"torn header":       {file: whole[:5]},
		"zeros":             {file: make([]byte, 4096)},
		"header only":       {file: whole[:headerLen], size: headerLen},
		"flipped payload":   {file: flip(frameAt(7) + 60), packets: 21, size: len(whole) - frameAt(1) + headerLen + one, lost: []uint64{7}},
		"flipped length":    {file: flip(frameAt(7)), packets: 21, size: len(whole) - frameAt(1) + headerLen + one, lost: []uint64{7}},
		"flipped first":     {file: flip(frameAt(0) + 60), packets: 21, size: len(whole) - frameAt(1) + headerLen + one, lost: []uint64{0}},
		"zeros in between":  {file: zeroed(frameAt(7)+20, frameAt(9)+20), packets: 21, size: len(whole) - frameAt(3) + headerLen + 2*one, lost: []uint64{7, 8, 9}},
		"zeros behind":      {file: append(whole[:frameAt(9):frameAt(9)], make([]byte, 500)...), packets: 9, size: frameAt(9)},
		"torn":              {file: whole[:frameAt(9)+50], packets: 9, size: frameAt(9)},
		"frame left out":    {file: append(whole[:frameAt(4):frameAt(4)], whole[frameAt(5):]...), packets: 21, size: len(whole) - frameAt(1) + headerLen + one, lost: []uint64{4}},
		"frame twice":       {file: append(whole[:frameAt(5):frameAt(5)], whole[frameAt(4):]...), packets: 21, size: len(whole)},
		"flipped end":       {file: flip(len(whole) - 1), packets: 20, size: frameAt(20)},
		"end of other sums": {file: append(whole[:frameAt(20):frameAt(20)], appendFrame(nil, &frame{n: 1, p: audio.NewEnd(20, 20*960, epoch, audio.EndInfo{})})...), packets: 20, size: frameAt(20)},
		"of another time":   {file: append(whole[:frameAt(20):frameAt(20)], appendFrame([]byte{1}, &frame{n: 1, p: audio.NewEnd(20, 20*960, epoch.AddDate(0, 0, 1), audio.EndInfo{Totals: tx.acct})})...), packets: 20, size: frameAt(20)},
		"other version":     {file: flip(headerLen - 1), size: len(whole), err: ErrCorrupt},
		"other file":        {file: []byte("something else"), size: 14, err: ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := s.Open("m", "t")
			if size := int(must(os.Stat(path)).Size()); !errors.Is(err, c.err) || size != c.size {
				t.Fatalf("%d bytes are left, want %d; %v", size, c.size, err)
			}
			if err != nil {
				return
			}
			next, start, _, ended := l.State()
			if next != c.packets || start != min(int64(next), 20)*960 || ended != (next == 21) {
				t.Errorf("state %d, %d, %v", next, start, ended)
			}
			got := readN(t, l, 0, int(next))
			compare(t, got, sent[:next], func(got, sent audio.Packet) bool {
				switch {
				case sent.Kind == audio.End && len(c.lost) > 0:
					return sameOrShed(got, sent)
				case slices.Contains(c.lost, sent.Seq): // of several, the first lasts for all
					return got.Kind == audio.Shed && got.Seq == sent.Seq
				}
				return same(got, sent)
			})
			var shed int64
			for _, p := range got {
				if p.Kind == audio.Shed {
					shed += p.Samples
				}
			}
			if _, _, acct, _ := l.State(); acct.Shed != int64(len(c.lost))*960 || shed != acct.Shed || acct.Total() != start {
				t.Errorf("account %+v, %d shed", acct, shed)
			}
			if !ended {
				tx := sender{seq: next, start: start}
				more := tx.coded(3, 40)
				appendAll(t, l, more...)
				compare(t, readN(t, l, next, 3), more, same)
				closeLog(t, l)
				l = must(s.Open("m", "t"))
				compare(t, readN(t, l, next, 3), more, same)
			}
			closeLog(t, l)
		})
	}
}

// A file that cannot be read at the moment must not be cut.
func TestReopenReadError(t *testing.T) {
	if c, _, err := scan(brokenFile{}, 1<<20); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %+v, %v", c, err)
	}
}

type brokenFile struct{}

func (brokenFile) ReadAt(b []byte, off int64) (int, error) {
	if off > 0 {
		return 0, syscall.EIO
	}
	return copy(b, header[:]), nil
}

// Everybody at once: writers, the flusher, readers of all speeds, Open and
// Close, memory so small that written chunks go at once.
func TestConcurrent(t *testing.T) {
	s := newStore(t, Options{MemoryBytes: 32 << 20, Tail: time.Second / 2, WriteEvery: time.Millisecond, SyncEvery: 2 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var flusher, wg sync.WaitGroup
	flusher.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, track := range []string{"a", "b", "c"} {
		l := must(s.Create("m", track))
		var tx sender
		sent := append(tx.coded(5000, 120), tx.end(audio.ReasonLeft))
		for from := range uint64(4) {
			wg.Go(func() {
				l := must(s.Open("m", track))
				defer closeLog(t, l)
				next := from * 1200
				for p, err := range l.Read(ctx, next) {
					if err != nil || !same(p, sent[next]) {
						t.Errorf("got %+v, %v where %d has to be", p, err, next)
						return
					}
					if next++; from == 0 && next%16 == 0 {
						l.SeqAt(p.Start / 2)
					}
				}
				if next != uint64(len(sent)) {
					t.Errorf("reader ended at %d of %d", next, len(sent))
				}
			})
		}
		wg.Go(func() {
			defer closeLog(t, l)
			for i := 0; i < len(sent); i += 3 {
				appendAll(t, l, sent[i:min(i+3, len(sent))]...)
			}
		})
	}
	wg.Wait()
	cancel()
	flusher.Wait()
	if s.Shed() != 0 {
		t.Errorf("%d ticks were shed", s.Shed())
	}
}
