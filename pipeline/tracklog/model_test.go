package tracklog

import (
	"bytes"
	"context"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
)

// model drives one log at random and holds it to the list of what was sent.
type model struct {
	s       *Store
	d       *disk
	l       *Log
	tx      sender
	sent    []audio.Packet
	readers []*modelReader

	other   *Log // takes memory, too
	otherTx sender
}

type modelReader struct {
	seq  uint64
	next func() (audio.Packet, error, bool)
	stop func()
}

func TestModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{s: must(New(Options{
			Dir:         must(os.MkdirTemp(dir, "")),
			MemoryBytes: int64(rapid.IntRange(16, 200).Draw(t, "memory")) << 10,
			Tail:        time.Duration(rapid.Int64Range(1, int64(6*time.Second)).Draw(t, "tail")),
			Logger:      (&logLines{}).logger(),
		}))}
		m.d = (&disk{}).into(m.s)
		m.l, m.other = must(m.s.Create("m", "t")), must(m.s.Create("m", "other"))
		defer func() {
			m.stopReaders()
			m.d.set(false, 0)
			m.l.Close()
			m.other.Close()
		}()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"end":    m.end,
			"flush":  func(t *rapid.T) { m.s.flush(rapid.Bool().Draw(t, "sync")) },
			"disk": func(t *rapid.T) {
				m.d.set(rapid.Bool().Draw(t, "full"), rapid.IntRange(0, 20<<10).Draw(t, "part"))
			},
			"reader": m.newReader,
			"read":   m.read,
			"other":  func(t *rapid.T) { m.crowd(t, rapid.IntRange(1, 400).Draw(t, "packets")) },
			"seqAt":  m.seqAt,
			"reopen": m.reopen,
			"cut":    m.cut,
			"":       m.check,
		})
	})
}

func (m *model) append(t *rapid.T) {
	if _, _, _, ended := m.l.State(); ended {
		return
	}
	var batch []audio.Packet
	if rapid.IntRange(0, 3).Draw(t, "kind of batch") > 0 {
		batch = m.tx.coded(rapid.IntRange(1, 300).Draw(t, "packets"), rapid.IntRange(0, 300).Draw(t, "length"))
	}
	for range rapid.IntRange(0, 5).Draw(t, "others") {
		kind := rapid.SampledFrom([]audio.Kind{audio.Coded, audio.Lost, audio.Silence, audio.Discontinuity, audio.Shed}).Draw(t, "kind")
		var payload []byte
		if kind == audio.Coded {
			payload = bytes.Repeat([]byte{'x'}, rapid.SampledFrom([]int{0, 1, 8, 100, 20 << 10, maxPayload}).Draw(t, "payload"))
		}
		p := m.tx.packet(kind, int64(rapid.SampledFrom([]int{0, 120, 960, 48000}).Draw(t, "samples")), payload)
		if kind == audio.Coded && rapid.Bool().Draw(t, "red") {
			p.Origin = audio.RED
			m.tx.acct.Received -= p.Samples
			m.tx.acct.Recovered += p.Samples
		}
		batch = append(batch, p)
	}
	m.add(t, batch...)
}

func (m *model) add(t *rapid.T, batch ...audio.Packet) {
	if err := m.l.Append(context.Background(), batch...); err != nil {
		t.Fatal(err)
	}
	m.sent = append(m.sent, batch...)
}

func (m *model) end(t *rapid.T) {
	if _, _, _, ended := m.l.State(); !ended && rapid.IntRange(0, 4).Draw(t, "end") == 0 {
		m.add(t, m.tx.end(audio.ReasonLeft))
	}
}

// crowd makes the other log need memory.
func (m *model) crowd(t *rapid.T, packets int) {
	if err := m.other.Append(context.Background(), m.otherTx.coded(packets, 200)...); err != nil {
		t.Fatal(err)
	}
}

func (m *model) newReader(t *rapid.T) {
	if len(m.readers) == 5 {
		return
	}
	r := &modelReader{seq: rapid.Uint64Range(0, uint64(len(m.sent))).Draw(t, "from")}
	r.next, r.stop = iter.Pull2(m.l.Read(context.Background(), r.seq))
	m.readers = append(m.readers, r)
}

// read lets one reader go on, never into waiting.
func (m *model) read(t *rapid.T) {
	if len(m.readers) == 0 {
		return
	}
	r := m.readers[rapid.IntRange(0, len(m.readers)-1).Draw(t, "reader")]
	for range rapid.IntRange(1, 2000).Draw(t, "packets") {
		if r.seq == uint64(len(m.sent)) {
			if _, _, _, ended := m.l.State(); ended {
				if p, err, more := r.next(); more {
					t.Fatalf("after the end: %+v, %v", p, err)
				}
			}
			return
		}
		p, err, _ := r.next()
		if err != nil || !sameOrShed(p, m.sent[r.seq]) {
			t.Fatalf("packet %d: got %+v, %v, want %+v", r.seq, p, err, m.sent[r.seq])
		}
		r.seq++
	}
}

func (m *model) seqAt(t *rapid.T) {
	next, start, _, ended := m.l.State()
	if next == 0 || start == 0 {
		return
	}
	tick := rapid.Int64Range(0, start+start/8).Draw(t, "tick")
	got := m.l.SeqAt(tick)
	switch {
	case tick >= start && !ended && got != next, tick >= start && ended && got != next-1:
		t.Fatalf("SeqAt(%d) = %d at the end, next is %d", tick, got, next)
	case tick < start && (m.sent[got].Start > tick || m.sent[got].Next() <= tick):
		t.Fatalf("SeqAt(%d) = %d, which is from %d to %d", tick, got, m.sent[got].Start, m.sent[got].Next())
	}
}

func (m *model) stopReaders() {
	for _, r := range m.readers {
		r.stop()
	}
	m.readers = nil
}

// close ends the log in good order.
func (m *model) close(t *rapid.T) {
	m.stopReaders()
	m.d.set(false, 0)
	if err := m.l.Close(); err != nil {
		t.Fatal(err)
	}
}

func (m *model) open() { m.l = must(m.s.Open("m", "t")) }

func (m *model) reopen(t *rapid.T) {
	m.close(t)
	m.open()
	if next, _, _, _ := m.l.State(); next != uint64(len(m.sent)) {
		t.Fatalf("%d packets of %d are left", next, len(m.sent))
	}
}

// cut is what a crash leaves: everything up to some byte of the file.
func (m *model) cut(t *rapid.T) {
	m.close(t)
	path := filepath.Join(m.s.o.Dir, "m", "t.log")
	whole := must(os.ReadFile(path))
	at := rapid.IntRange(0, len(whole)).Draw(t, "cut")
	// The frames that are whole in front of the cut are what has to be left.
	left := uint64(0)
	for pos := headerLen; pos < at; {
		f, n, err := decode(whole[pos:])
		if pos += n; err != nil || pos > at {
			break
		}
		left = f.nextSeq()
	}
	if err := os.Truncate(path, int64(at)); err != nil {
		t.Fatal(err)
	}
	m.open()
	next, start, acct, _ := m.l.State()
	if next != left {
		t.Fatalf("%d packets are left of %d bytes, want %d", next, at, left)
	}
	m.sent = m.sent[:next]
	m.tx = sender{seq: next, start: start, acct: acct}
}

// check holds after every step.
func (m *model) check(t *rapid.T) {
	next, start, acct, _ := m.l.State()
	if next != m.tx.seq || start != m.tx.start || acct.Total() != start || !sameButShed(acct, m.tx.acct) {
		t.Fatalf("state %d, %d, %+v; want %d, %d, %+v", next, start, acct, m.tx.seq, m.tx.start, m.tx.acct)
	}
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	memory, seq := int64(0), uint64(0)
	for i, c := range m.l.chunks {
		memory += int64(cap(c.buf) + chunkCost)
		if i > 0 && c.seq != seq {
			t.Fatalf("chunk %d begins with %d where %d has to be", i, c.seq, seq)
		}
		for b := c.buf; len(b) > 0; {
			f, n, err := decode(b)
			if err != nil {
				t.Fatal(err)
			}
			b, seq = b[n:], f.nextSeq()
		}
	}
	if len(m.l.chunks) > 0 && seq != next {
		t.Fatalf("memory ends before %d, the log before %d", seq, next)
	}
	m.other.mu.Lock()
	defer m.other.mu.Unlock()
	if memory != m.l.memory || memory+m.other.memory != m.s.memory.Load() {
		t.Fatalf("%d bytes in chunks, %d counted for the log, %d for the other, %d for the store",
			memory, m.l.memory, m.other.memory, m.s.memory.Load())
	}
}

// Whatever a file holds, opening it does not fail in other ways than those that
// are documented, takes memory in proportion, and what is left is a track.
func FuzzOpen(f *testing.F) {
	var tx sender
	b := append([]byte(nil), header[:]...)
	for _, p := range append(tx.coded(4, 20), tx.packet(audio.Shed, 960, nil), tx.packet(audio.Lost, 960, nil), tx.end(audio.ReasonLeft)) {
		b = appendFrame(b, &frame{p: p, n: 1})
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add(appendFrame(header[:headerLen:headerLen], &frame{n: 1 << 31, span: 5, p: audio.Packet{Samples: 1 << 30, Kind: audio.Shed, At: time.Unix(0, 0)}}))
	s := must(New(Options{Dir: f.TempDir(), SyncEvery: -1, Logger: (&logLines{}).logger()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := filepath.Join(s.o.Dir, "m")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "t.log"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := s.Open("m", "t")
		if err != nil {
			return
		}
		defer closeLog(t, l)
		next, start, acct, ended := l.State()
		if acct.Total() != start {
			t.Fatalf("account %+v, start %d", acct, start)
		}
		if !ended {
			appendAll(t, l, audio.NewEnd(next, start, epoch, audio.EndInfo{Totals: acct}))
			next++
		}
		want := sender{}
		for p, err := range l.Read(t.Context(), 0) {
			if want.seq == 1000 {
				break
			}
			if err != nil || p.Seq != want.seq || p.Start != want.start {
				t.Fatalf("got %+v, %v where %d at %d has to be", p, err, want.seq, want.start)
			}
			want.add(p)
		}
		if want.seq != min(next, 1000) {
			t.Fatalf("%d packets, want %d", want.seq, next)
		}
		l.SeqAt(start / 2)
	})
}
