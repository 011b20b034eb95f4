package tracklog

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
)

// TestDamage: whatever falls over in a file, each frame that it spared is there
// again, at its place, and what is gone is counted.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := must(New(Options{Dir: must(os.MkdirTemp(dir, "")), SyncEvery: -1, Logger: (&logLines{}).logger()}))
		l := must(s.Create("m", "t"))
		var tx sender
		var sent []audio.Packet
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			kind := rapid.SampledFrom([]audio.Kind{audio.Coded, audio.Coded, audio.Coded, audio.Lost, audio.Silence, audio.Discontinuity}).Draw(t, "kind")
			var payload []byte
			if kind == audio.Coded {
				payload = bytes.Repeat([]byte{byte(tx.seq)}, rapid.SampledFrom([]int{0, 3, 60, 300}).Draw(t, "length"))
			}
			sent = append(sent, tx.packet(kind, rapid.SampledFrom([]int64{0, 960, 2880}).Draw(t, "samples"), payload))
		}
		ends := rapid.Bool().Draw(t, "ends")
		if ends {
			end := tx.end(audio.ReasonLeft)
			end.At = sent[len(sent)-1].At
			sent = append(sent, end)
		}
		if err := l.Append(context.Background(), sent...); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		file := must(os.ReadFile(l.path))
		spared := map[uint64]bool{}
		pos := headerLen
		var places [][2]int
		for _, p := range sent {
			end := pos + frameLen(file[pos:])
			places = append(places, [2]int{pos, end})
			spared[p.Seq] = true
			pos = end
		}
		for range rapid.IntRange(1, 4).Draw(t, "damages") {
			at := rapid.IntRange(headerLen, len(file)-1).Draw(t, "at")
			n := min(rapid.SampledFrom([]int{1, 1, 10, 200}).Draw(t, "bytes"), len(file)-at)
			for i := at; i < at+n; i++ {
				file[i] ^= 0x55
			}
			for seq, place := range places {
				if at < place[1] && place[0] < at+n {
					delete(spared, uint64(seq))
				}
			}
		}
		// Two damages may undo each other: then a frame is there that was written off.
		if err := os.WriteFile(l.path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		l = must(s.Open("m", "t"))
		next, start, acct, ended := l.State()
		least := uint64(0)
		if len(spared) > 0 {
			least = slices.Max(slices.Collect(maps.Keys(spared))) + 1
		}
		if next < least || next > uint64(len(sent)) || acct.Total() != start || ended && !ends {
			t.Fatalf("%d of %d packets are left, the last that was spared is before %d; start %d, %+v, ended %v", next, len(sent), least, start, acct, ended)
		}
		var seq uint64
		var at int64
		var sum audio.Account
		for p, err := range first(l, next) {
			if err != nil || p.Seq != seq || p.Start != at {
				t.Fatalf("packet %d at %d, want %d at %d (%v)", p.Seq, p.Start, seq, at, err)
			}
			switch {
			case p.Kind == audio.End: // its totals are those of what is left
				if info, err := p.EndInfo(); err != nil || info.Totals != acct || start != sent[seq].Start {
					t.Fatalf("the end says %+v, the account is %+v, %v", info, acct, err)
				}
			case spared[seq] && !same(p, sent[seq]):
				t.Fatalf("packet %d is %+v, was %+v", seq, p, sent[seq])
			case !spared[seq] && p.Kind != audio.Shed && !same(p, sent[seq]):
				t.Fatalf("packet %d is %+v, was %+v and is damaged", seq, p, sent[seq])
			}
			sum.Add(p)
			seq, at = seq+1, p.Next()
		}
		if sum != acct || at != start {
			t.Fatalf("packets add up to %+v, the account is %+v", sum, acct)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		healed := must(os.ReadFile(l.path))
		l = must(s.Open("m", "t"))
		if err := l.Close(); err != nil || !bytes.Equal(healed, must(os.ReadFile(l.path))) {
			t.Fatalf("a second look changes it again (%v)", err)
		}
	})
}

// first are the first n packets of a log, which must be there.
func first(l *Log, n uint64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		if n == 0 {
			return
		}
		for p, err := range l.Read(context.Background(), 0) {
			if !yield(p, err) || p.Seq+1 == n {
				return
			}
		}
	}
}

// unreliable is a disk whose files keep, when the power fails, what was synced,
// and of what was written since any part.
type unreliable struct {
	mu     sync.Mutex
	synced map[string][]byte
}

type unreliableFile struct {
	*os.File
	d *unreliable
}

func (d *unreliable) into(s *Store) *unreliable {
	d.synced = map[string][]byte{}
	s.open = func(path string, flag int) (file, error) {
		f, err := os.OpenFile(path, flag, 0o600)
		return unreliableFile{f, d}, err
	}
	return d
}

func (f unreliableFile) Sync() error {
	b, err := os.ReadFile(f.Name())
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.synced[f.Name()] = b
	return err
}

// fail is the loss of power: each page that was not synced is there or not.
func (d *unreliable) fail(t *rapid.T, path string) {
	const page = 512
	b := must(os.ReadFile(path))
	old := d.synced[path]
	for at := len(old) / page * page; at < len(b); at += page {
		end := min(at+page, len(b))
		if rapid.Bool().Draw(t, "page is lost") {
			clear(b[max(at, len(old)):end])
		}
	}
	b = b[:rapid.IntRange(len(old), len(b)).Draw(t, "size")]
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPowerLoss: what Durable said is there, to the bit.
func TestPowerLoss(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Dir: must(os.MkdirTemp(dir, "")), Logger: (&logLines{}).logger()}
		s := must(New(o))
		d := (&unreliable{}).into(s)
		l := must(s.Create("m", "t"))
		var tx sender
		var sent []audio.Packet
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			packets := tx.coded(rapid.IntRange(1, 40).Draw(t, "packets"), rapid.IntRange(1, 200).Draw(t, "length"))
			sent = append(sent, packets...)
			if err := l.Append(context.Background(), packets...); err != nil {
				t.Fatal(err)
			}
			s.flush(rapid.IntRange(0, 3).Draw(t, "sync") == 0)
		}
		durable := l.Durable()
		d.fail(t, l.path)

		l = must(must(New(o)).Open("m", "t")) // in another process
		next, start, acct, _ := l.State()
		if next < durable || acct.Total() != start || next > uint64(len(sent)) {
			t.Fatalf("%d packets are left, %d were durable; %d, %+v", next, durable, start, acct)
		}
		var seq uint64
		for p, err := range first(l, next) {
			if err != nil || p.Seq != seq || seq < durable && !same(p, sent[seq]) || p.Kind != audio.Shed && !same(p, sent[seq]) {
				t.Fatalf("packet %d of %d that were durable: %+v, %v", seq, durable, p, err)
			}
			seq++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A disk that is full from the first byte on: everything is there as long as
// memory lasts, and on the disk when that has room again.
func TestDiskFullFromTheFirstByte(t *testing.T) {
	for name, full := range map[string]func(s *Store) (free func()){
		"nothing fits": func(s *Store) func() {
			d := (&disk{}).into(s)
			d.set(true, 0)
			return func() { d.set(false, 0) }
		},
		"half a header fits": func(s *Store) func() {
			d := (&disk{}).into(s)
			d.set(true, 3)
			return func() { d.set(false, 0) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			free := full(s)
			l := must(s.Create("m", "t"))
			var tx sender
			sent := tx.coded(500, 100)
			appendAll(t, l, sent...)
			for range 3 {
				if s.flush(true) != 1 {
					t.Fatal("the disk is not full")
				}
			}
			compare(t, readN(t, l, 0, 500), sent, same)
			if l.Durable() != 0 {
				t.Errorf("durable up to %d", l.Durable())
			}
			free()
			end := tx.end(audio.ReasonLeft)
			appendAll(t, l, end)
			if n := s.flush(true); n > 0 || l.Durable() != 501 {
				t.Errorf("%d logs cannot be written, durable up to %d", n, l.Durable())
			}
			closeLog(t, l)
			l = must(s.Open("m", "t"))
			compare(t, readN(t, l, 0, 501), append(sent, end), same)
			closeLog(t, l)
		})
	}
}

// A reader anywhere in a log that is written, expires and is erased meanwhile
// gets packets in order and without a hole, and in the end everything or an error
// that says why not.
func TestReadWhileAllChanges(t *testing.T) {
	s := newStore(t, Options{Tail: time.Second / 4})
	for round := range 8 {
		l := must(s.Create("m", "t"))
		var tx sender
		sent := append(tx.coded(3000, 100), tx.end(audio.ReasonLeft))
		var readers, wg sync.WaitGroup
		for from := range 12 {
			next := uint64(from * 270)
			packets := l.Read(context.Background(), next)
			readers.Go(func() {
				var last error
				for p, err := range packets {
					if last = err; err != nil {
						break
					}
					if !same(p, sent[next]) {
						t.Errorf("packet %+v where %d has to be", p, next)
						return
					}
					next++
				}
				if last == nil && next != uint64(len(sent)) || last != nil && !errors.Is(last, ErrExpired) && !errors.Is(last, ErrRemoved) {
					t.Errorf("a reader ended at %d with %v", next, last)
				}
			})
		}
		wg.Go(func() {
			for i := 0; i < len(sent); i += 7 {
				if err := l.Append(context.Background(), sent[i:min(i+7, len(sent))]...); err != nil && !errors.Is(err, ErrRemoved) {
					t.Error(err)
				}
				if i%70 == 0 {
					s.flush(false)
				}
				if round%2 == 1 && i == 1400 {
					if err := s.Remove("m", "t"); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Wait()
		if err := l.Expire(); err != nil && !errors.Is(err, ErrRemoved) {
			t.Error(err)
		}
		if err := s.Remove("m", "t"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		readers.Wait()
		closeLog(t, l)
		if err := os.RemoveAll(filepath.Join(s.o.Dir, "m")); err != nil {
			t.Fatal(err)
		}
	}
}
