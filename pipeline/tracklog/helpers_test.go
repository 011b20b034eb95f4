package tracklog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"verbatim/media/audio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// sender makes the packets of one track.
type sender struct {
	seq   uint64
	start int64
	acct  audio.Account
}

func (s *sender) packet(kind audio.Kind, samples int64, payload []byte) audio.Packet {
	p := audio.Packet{
		Seq: s.seq, Start: s.start, Samples: samples, Kind: kind, Payload: payload,
		At: epoch.Add(time.Duration(s.start) * time.Second / audio.TickRate).Truncate(time.Microsecond),
	}
	if kind == audio.Coded {
		p.Format = audio.FormatOpus
	}
	s.add(p)
	return p
}

func (s *sender) add(p audio.Packet) {
	s.seq, s.start = p.Seq+1, p.Next()
	s.acct.Add(p)
}

// coded makes n packets of 20 ms with payloads of the given length that differ.
func (s *sender) coded(n, length int) []audio.Packet {
	packets := make([]audio.Packet, n)
	for i := range packets {
		b := bytes.Repeat([]byte{byte(s.seq)}, length)
		copy(b, fmt.Sprint(s.seq))
		packets[i] = s.packet(audio.Coded, 960, b)
	}
	return packets
}

func (s *sender) end(reason audio.Reason) audio.Packet {
	p := audio.NewEnd(s.seq, s.start, epoch.Add(time.Hour), audio.EndInfo{Reason: reason, Totals: s.acct})
	s.add(p)
	return p
}

func same(a, b audio.Packet) bool {
	at := a.At.Equal(b.At)
	a.At, b.At = time.Time{}, time.Time{}
	payload := bytes.Equal(a.Payload, b.Payload)
	a.Payload, b.Payload = nil, nil
	return at && payload && fmt.Sprint(a) == fmt.Sprint(b)
}

// sameOrShed accepts what may become of a packet while the disk is away.
func sameOrShed(got, sent audio.Packet) bool {
	switch {
	case same(got, sent):
		return true
	case got.Seq != sent.Seq || got.Start != sent.Start || got.Samples != sent.Samples:
		return false
	case sent.Kind == audio.End:
		a, err := got.EndInfo()
		b, _ := sent.EndInfo()
		return err == nil && a.Reason == b.Reason && sameButShed(a.Totals, b.Totals)
	}
	return (sent.Kind == audio.Coded || sent.Kind == audio.Shed) && got.Kind == audio.Shed && len(got.Payload) == 0
}

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func appendAll(t testing.TB, l *Log, packets ...audio.Packet) {
	t.Helper()
	if err := l.Append(context.Background(), packets...); err != nil {
		t.Fatal(err)
	}
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// readN reads n packets, which must be there.
func readN(t testing.TB, l *Log, from uint64, n int) []audio.Packet {
	t.Helper()
	var got []audio.Packet
	if n == 0 {
		return got
	}
	for p, err := range l.Read(context.Background(), from) {
		if err != nil {
			t.Fatal(err)
		}
		p.Payload = bytes.Clone(p.Payload)
		if got = append(got, p); len(got) == n {
			break
		}
	}
	return got
}

func compare(t testing.TB, got, want []audio.Packet, equal func(got, want audio.Packet) bool) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range got {
		if !equal(got[i], want[i]) {
			t.Fatalf("packet %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

// disk puts faults into the files of a store and counts what is done to them.
type disk struct {
	mu    sync.Mutex
	full  bool // writes and syncs fail
	part  int  // how many bytes of a failing write get through
	fsync error
	syncs int
}

func (d *disk) into(s *Store) *disk {
	s.open = func(path string, flag int) (file, error) {
		f, err := os.OpenFile(path, flag, 0o600)
		return diskFile{f, d}, err
	}
	return d
}

func (d *disk) set(full bool, part int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.part = full, part
}

func (d *disk) synced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

type diskFile struct {
	*os.File
	d *disk
}

func (f diskFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.d.full {
		return f.File.WriteAt(b, off)
	}
	n, _ := f.File.WriteAt(b[:min(f.d.part, len(b))], off)
	return n, syscall.ENOSPC
}

func (f diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	return f.d.fsync
}

// logLines collects what a store logs.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
