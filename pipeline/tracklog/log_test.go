package tracklog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"verbatim/media/audio"
)

func TestAppendChecks(t *testing.T) {
	s := newStore(t, Options{})
	var tx sender
	first := tx.coded(3, 50)
	for name, c := range map[string]struct {
		packets []audio.Packet
		want    error // nil: any
	}{
		"repeated":             {packets: first[2:3]},
		"hole":                 {packets: []audio.Packet{{Seq: 4, Start: 3 * 960, Samples: 960, Kind: audio.Lost}}},
		"start off":            {packets: []audio.Packet{{Seq: 3, Start: 3*960 + 1, Samples: 960, Kind: audio.Lost}}},
		"negative samples":     {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Samples: -1, Kind: audio.Lost}}},
		"no kind":              {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Samples: 960}}},
		"payload of lost":      {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Kind: audio.Lost, Payload: []byte{1}}}},
		"payload too large":    {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Kind: audio.Coded, Payload: make([]byte, maxPayload+1)}}},
		"end with other sums":  {packets: []audio.Packet{audio.NewEnd(3, 3*960, epoch, audio.EndInfo{})}},
		"end without an info":  {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Kind: audio.End}}},
		"second of two is bad": {packets: []audio.Packet{{Seq: 3, Start: 3 * 960, Samples: 960, Kind: audio.Lost}, {Seq: 4}}},
		"after end": {want: ErrEnded, packets: []audio.Packet{
			audio.NewEnd(3, 3*960, epoch, audio.EndInfo{Totals: tx.acct}), {Seq: 4, Start: 3 * 960, Kind: audio.Lost},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := must(s.Create("m", t.Name()[len("TestAppendChecks/"):]))
			defer closeLog(t, l)
			appendAll(t, l, first...)
			err := l.Append(t.Context(), c.packets...)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if next, start, acct, ended := l.State(); next != 3 || start != 3*960 || acct != tx.acct || ended {
				t.Errorf("the log took some of it: %d, %d, %+v, %v", next, start, acct, ended)
			}
			compare(t, readN(t, l, 0, 3), first, same)
		})
	}
}

func TestEnd(t *testing.T) {
	s := newStore(t, Options{})
	l := must(s.Create("m", "t"))
	var tx sender
	sent := append(tx.coded(5, 80), tx.packet(audio.Lost, 960, nil), tx.packet(audio.Discontinuity, 0, nil))
	sent = append(sent, tx.end(audio.ReasonTimeout))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, sent...); err != nil {
		t.Fatalf("a context that is over keeps packets out: %v", err)
	}
	if err := l.Append(t.Context(), audio.Packet{Seq: tx.seq, Start: tx.start, Kind: audio.Lost}); !errors.Is(err, ErrEnded) {
		t.Errorf("append after the end: %v", err)
	}
	check := func(l *Log) {
		t.Helper()
		var got []audio.Packet
		for p, err := range l.Read(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p)
		}
		compare(t, got, sent, same)
		for range l.Read(t.Context(), uint64(len(sent))) {
			t.Error("there is something after the end")
		}
		if next, start, acct, ended := l.State(); next != tx.seq || start != tx.start || acct != tx.acct || !ended {
			t.Errorf("state %d, %d, %+v, %v", next, start, acct, ended)
		}
	}
	check(l)
	closeLog(t, l)
	check(l) // what is there can still be read
	l = must(s.Open("m", "t"))
	check(l)
	closeLog(t, l)
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestSeqAt(t *testing.T) {
	s := newStore(t, Options{Tail: 1})
	l := must(s.Create("m", "t"))
	var tx sender
	sent := []audio.Packet{tx.packet(audio.Discontinuity, 0, nil)}
	for range 3000 {
		sent = append(sent, tx.coded(1, 90)...)
		sent = append(sent, tx.packet(audio.Silence, 0, nil), tx.packet(audio.Lost, 480, nil))
	}
	appendAll(t, l, sent...)
	check := func(l *Log, beyond uint64) {
		t.Helper()
		for i, p := range sent {
			if p.Samples > 0 && i%97 == 0 {
				if a, b := l.SeqAt(p.Start), l.SeqAt(p.Next()-1); a != p.Seq || b != p.Seq {
					t.Fatalf("packet %d is said to be %d and %d", p.Seq, a, b)
				}
			}
		}
		if a, b, c := l.SeqAt(-1), l.SeqAt(tx.start), l.SeqAt(1<<62); a != 1 || b != beyond || c != beyond {
			t.Errorf("before and behind the track: %d, %d, %d; want 1, %d", a, b, c, beyond)
		}
	}
	check(l, tx.seq)
	s.flush(false)
	if len(l.chunks) > 1 || len(l.index.marks) < 5 {
		t.Fatalf("%d chunks in memory, %d index entries", len(l.chunks), len(l.index.marks))
	}
	check(l, tx.seq)
	appendAll(t, l, tx.end(audio.ReasonLeft))
	check(l, tx.seq-1)
	closeLog(t, l)
	l = must(s.Open("m", "t"))
	check(l, tx.seq-1)
	closeLog(t, l)
}

// Readers at the tail end with the log, however that ends.
func TestTailReaders(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*Store, *Log, context.CancelFunc) error
		want error
	}{
		"cancelled":       {func(_ *Store, _ *Log, cancel context.CancelFunc) error { cancel(); return nil }, context.Canceled},
		"closed":          {func(_ *Store, l *Log, _ context.CancelFunc) error { return l.Close() }, ErrClosed},
		"removed":         {func(s *Store, _ *Log, _ context.CancelFunc) error { return s.Remove("m", "t") }, ErrRemoved},
		"meeting removed": {func(s *Store, _ *Log, _ context.CancelFunc) error { return s.RemoveMeeting("m") }, ErrRemoved},
		"ended": {func(_ *Store, l *Log, _ context.CancelFunc) error {
			next, start, acct, _ := l.State()
			return l.Append(context.Background(), audio.NewEnd(next, start, epoch, audio.EndInfo{Totals: acct}))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, Options{Dir: dir})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				l := must(s.Create("m", "t"))
				var tx sender
				appendAll(t, l, tx.coded(3, 10)...)
				results := make(chan error, 4)
				for from := range uint64(4) {
					go func() {
						var last error
						next := from
						for p, err := range l.Read(ctx, from) {
							if last = err; err == nil && p.Seq != next {
								t.Errorf("packet %d where %d has to be", p.Seq, next)
							}
							next++
						}
						results <- last
					}()
				}
				synctest.Wait()
				if err := c.end(s, l, cancel); err != nil {
					t.Fatal(err)
				}
				for range 4 {
					if err := <-results; !errors.Is(err, c.want) {
						t.Errorf("reader ended with %v, want %v", err, c.want)
					}
				}
				if len(l.readers) != 0 {
					t.Errorf("%d readers are left", len(l.readers))
				}
				l.Close()
			})
		})
	}
}

func TestRemove(t *testing.T) {
	s := newStore(t, Options{Tail: 1})
	dir := filepath.Join(s.o.Dir, "m")
	a, b := must(s.Create("m", "a")), must(s.Create("m", "b"))
	var tx sender
	appendAll(t, a, tx.coded(2000, 100)...)
	s.flush(true)

	// A reader in the middle of the file ends, too, and soon.
	n := 0
	var last error
	for _, err := range a.Read(t.Context(), 0) {
		if last = err; n == 10 {
			if err := s.Remove("m", "a"); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if !errors.Is(last, ErrRemoved) || n > 500 {
		t.Errorf("reader ended with %v after %d packets", last, n)
	}
	if err := a.Append(t.Context(), tx.coded(1, 1)...); !errors.Is(err, ErrRemoved) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Open("m", "a"); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if err := s.Remove("m", "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}

	// The name is free, and what is left of the old log does not touch the new one.
	again := must(s.Create("m", "a"))
	appendAll(t, again, (&sender{}).coded(1, 10)...)
	closeLog(t, a)
	closeLog(t, again)
	again = must(s.Open("m", "a"))
	if next, _, _, _ := again.State(); next != 1 {
		t.Errorf("next is %d", next)
	}
	closeLog(t, again)

	closeLog(t, b)
	if err := s.Remove("m", "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("m", "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the meeting's folder is still there: %v", err)
	}
	if err := s.RemoveMeeting("m"); err != nil {
		t.Errorf("a meeting without logs: %v", err)
	}
	if s.memory.Load() != 0 || len(s.logs) != 0 {
		t.Errorf("%d bytes and %d logs are left", s.memory.Load(), len(s.logs))
	}
}

func TestSharing(t *testing.T) {
	s := newStore(t, Options{})
	l := must(s.Create("m", "t"))
	if _, err := s.Create("m", "t"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if other := must(s.Open("m", "t")); other != l {
		t.Error("two logs of one track")
	}
	var tx sender
	appendAll(t, l, tx.coded(1, 10)...)
	closeLog(t, l)
	if l.synced != l.size || l.size == 0 {
		t.Errorf("%d bytes of %d are synced", l.synced, l.size)
	}
	appendAll(t, l, tx.coded(1, 10)...) // the other one has it open
	closeLog(t, l)
	if err := l.Append(t.Context(), tx.coded(1, 10)...); !errors.Is(err, ErrClosed) {
		t.Errorf("append after the last close: %v", err)
	}
	if _, err := s.Create("m", "t"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over a file: %v", err)
	}
	if len(s.logs) != 0 || s.memory.Load() != 0 {
		t.Errorf("%d logs and %d bytes are left", len(s.logs), s.memory.Load())
	}
}

func TestIDs(t *testing.T) {
	s := newStore(t, Options{})
	for _, id := range []string{"", ".", "..", "../m", "a/b", `a\b`, "/etc", "a\x00", "x..y"} {
		for _, ids := range [][2]string{{id, "t"}, {"m", id}} {
			_, err1 := s.Create(ids[0], ids[1])
			_, err2 := s.Open(ids[0], ids[1])
			if err := s.Remove(ids[0], ids[1]); err == nil || err1 == nil || err2 == nil {
				t.Errorf("%q is taken: %v, %v, %v", ids, err1, err2, err)
			}
		}
		if err := s.RemoveMeeting(id); err == nil {
			t.Errorf("meeting %q is taken", id)
		}
	}
}

// The index of a file has a bound, and finds the place at every time.
func TestIndexIsBounded(t *testing.T) {
	var x index
	const step = 1000
	for seq := range uint64(1_000_000) { // 1 GB
		off := headerLen + int64(seq)*step
		x.add(mark{seq, int64(seq), off})
		if len(x.marks) > maxMarks {
			t.Fatalf("%d entries", len(x.marks))
		}
		if seq%4999 != 0 {
			continue
		}
		for _, want := range []uint64{0, seq / 3, seq} {
			m := x.before(func(m mark) bool { return m.seq <= want })
			if vain := int64(want-m.seq) * step; m.seq > want || m.off != headerLen+int64(m.seq)*step || vain > max(off/16, 2*markEvery) {
				t.Fatalf("of %d, %d is looked for from %d on: %d bytes in vain", seq, want, m.seq, vain)
			}
		}
	}
}
