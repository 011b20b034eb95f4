package tracklog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"verbatim/media/audio"
)

// secret is in every payload, so that the disk can be searched for it.
var secret = []byte("what was said")

func secrets(tx *sender, n int) (packets []audio.Packet) {
	for range n {
		packets = append(packets, tx.packet(audio.Coded, 960, append(bytes.Repeat([]byte{'.'}, 60), secret...)))
	}
	return packets
}

func onDisk(t testing.TB, dir string, what []byte) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, what) {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// spoken is a track of audio, silence, loss and what was shed before.
func spoken(tx *sender) []audio.Packet {
	sent := secrets(tx, 2000)
	sent = append(sent, tx.packet(audio.Lost, 1920, nil), tx.packet(audio.Silence, 48000, nil), tx.packet(audio.Shed, 960, nil))
	red := tx.packet(audio.Coded, 2880, bytes.Clone(secret))
	red.Origin = audio.RED
	tx.acct.Received, tx.acct.Recovered = tx.acct.Received-2880, 2880
	return append(append(append(sent, red), secrets(tx, 500)...), tx.end(audio.ReasonTimeout))
}

func TestExpire(t *testing.T) {
	for name, state := range map[string]string{"just ended": "ended", "on disk": "flushed", "opened again": "reopened"} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			l := must(s.Create("m", "t"))
			var tx sender
			sent := spoken(&tx)
			appendAll(t, l, sent...)
			switch state {
			case "flushed":
				s.flush(true)
			case "reopened":
				closeLog(t, l)
				l = must(s.Open("m", "t"))
			}
			ends := l.EndsAt()
			if err := l.Expire(); err != nil {
				t.Fatal(err)
			}
			want := audio.Account{Concealed: 1920, Silence: 48000, Shed: tx.acct.Received + tx.acct.Recovered + 960}
			check := func() {
				t.Helper()
				got := readN(t, l, 0, len(sent))
				compare(t, got, sent, sameOrShed)
				for _, p := range got {
					if p.Kind == audio.Coded {
						t.Fatalf("packet %d has its audio", p.Seq)
					}
				}
				info, err := got[len(got)-1].EndInfo()
				next, start, acct, ended := l.State()
				if err != nil || info.Totals != want || acct != want || next != tx.seq || start != tx.start || !ended {
					t.Errorf("the end says %+v, the state is %d, %d, %+v, %v; want %d, %d, %+v", info, next, start, acct, ended, tx.seq, tx.start, want)
				}
				if !l.EndsAt().Equal(ends) || l.SeqAt(1000*960) != 1000 {
					t.Errorf("it ends at %v, the packet of 20 s is %d", l.EndsAt(), l.SeqAt(1000*960))
				}
				if size := must(os.Stat(l.path)).Size(); size > 500 || onDisk(t, s.o.Dir, secret) > 0 {
					t.Errorf("%d bytes are left; with audio: %d files", size, onDisk(t, s.o.Dir, secret))
				}
				if entries := must(os.ReadDir(filepath.Dir(l.path))); len(entries) != 1 {
					t.Errorf("%d files are left", len(entries))
				}
			}
			check()
			if err := l.Expire(); err != nil {
				t.Errorf("once more: %v", err)
			}
			closeLog(t, l)
			if m := s.memory.Load(); m != 0 {
				t.Errorf("%d bytes are in use", m)
			}
			l = must(s.Open("m", "t"))
			check()
			closeLog(t, l)
			if err := l.Expire(); !errors.Is(err, ErrClosed) {
				t.Errorf("expire of a closed log: %v", err)
			}
		})
	}
}

// Whoever reads gets the whole or an error, wherever it is in the log.
func TestExpireWhileRead(t *testing.T) {
	for name, tail := range map[string]time.Duration{"in memory": time.Hour, "in the file": 1} {
		for _, at := range []int{0, 10, 2000, 2503} {
			s := newStore(t, Options{Tail: tail})
			l := must(s.Create("m", "t"))
			var tx sender
			sent := spoken(&tx)
			appendAll(t, l, sent...)
			s.flush(true)
			packets := l.Read(t.Context(), 0)
			if at == 0 { // it was asked for before, and begins after
				if err := l.Expire(); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			var last error
			for p, err := range packets {
				if last = err; err != nil {
					break
				}
				if !same(p, sent[n]) {
					t.Fatalf("%s, %d: packet %d is %+v", name, at, n, p)
				}
				if n++; n == at {
					if err := l.Expire(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !errors.Is(last, ErrExpired) {
				t.Errorf("%s: expired at %d, the reader got %d packets and %v", name, at, n, last)
			}
			closeLog(t, l)
		}
	}
}

func TestExpireNot(t *testing.T) {
	s := newStore(t, Options{})
	d := (&disk{}).into(s)
	l := must(s.Create("m", "t"))
	var tx sender
	sent := secrets(&tx, 300)
	appendAll(t, l, sent...)
	if err := l.Expire(); err == nil {
		t.Error("a log that has not ended has expired")
	}
	sent = append(sent, tx.end(audio.ReasonLeft))
	appendAll(t, l, sent[300])
	for _, part := range []int{0, 5, 30} {
		d.set(true, part)
		if err := l.Expire(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a full disk: %v", err)
		}
		s.flush(true)
		compare(t, readN(t, l, 0, len(sent)), sent, same)
	}
	d.set(false, 0)
	s.flush(true)
	d.set(true, 20) // all is written, and there is no room for what takes its place
	if err := l.Expire(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	d.set(false, 0)
	d.fsync = syscall.EIO
	if err := l.Expire(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync: %v", err)
	}
	d.fsync = nil
	closeLog(t, l)
	l = must(s.Open("m", "t"))
	compare(t, readN(t, l, 0, len(sent)), sent, same)
	if entries := must(os.ReadDir(filepath.Dir(l.path))); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
	if err := s.Remove("m", "t"); err != nil {
		t.Fatal(err)
	}
	if err := l.Expire(); !errors.Is(err, ErrRemoved) {
		t.Errorf("expire of a removed log: %v", err)
	}
	_ = l.Close()
}

// Expiry and erasure meet: in the end nothing is there, and nobody fails in other
// ways than those that are documented.
func TestExpireAndErase(t *testing.T) {
	s := newStore(t, Options{})
	for range 50 {
		l := must(s.Create("m", "t"))
		var tx sender
		appendAll(t, l, append(secrets(&tx, 200), tx.end(audio.ReasonLeft))...)
		s.flush(true)
		expired, read := make(chan error), make(chan error)
		go func() { expired <- l.Expire() }()
		go func() {
			var last error
			for _, err := range l.Read(context.Background(), 0) {
				last = err
			}
			read <- last
		}()
		if err := s.RemoveMeeting("m"); err != nil {
			t.Fatal(err)
		}
		if err := <-expired; err != nil && !errors.Is(err, ErrRemoved) {
			t.Errorf("expire: %v", err)
		}
		if err := <-read; err != nil && !errors.Is(err, ErrRemoved) && !errors.Is(err, ErrExpired) {
			t.Errorf("read: %v", err)
		}
		closeLog(t, l)
		if _, err := os.Stat(filepath.Join(s.o.Dir, "m")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("something is left: %v", err)
		}
	}
}

func TestStrays(t *testing.T) {
	s := newStore(t, Options{})
	for _, track := range []string{"known", "unknown", "empty", "open"} {
		l := must(s.Create("m", track))
		if track == "known" || track == "unknown" {
			appendAll(t, l, (&sender{}).coded(1, 10)...)
		}
		if track == "open" {
			t.Cleanup(func() { closeLog(t, l) })
		} else {
			closeLog(t, l)
		}
	}
	dir := filepath.Join(s.o.Dir, "m")
	for _, name := range []string{"known.log.tmp", "notes.txt", "open.log.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), secret, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.o.Dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	known := func() ([]string, error) { return []string{"known"}, nil }
	var got []string
	for _, m := range must(s.Meetings()) {
		for _, stray := range must(s.Strays(m, known)) {
			got = append(got, stray.Meeting+" "+stray.Track)
			if stray.Empty != (stray.Track == "empty") {
				t.Errorf("%+v", stray)
			}
		}
	}
	if len(got) != 2 || got[0] != "m empty" || got[1] != "m unknown" {
		t.Errorf("strays: %q", got)
	}
	if n := onDisk(t, s.o.Dir, secret); n != 2 {
		t.Errorf("%d files are left of two that are not its own", n)
	}
	if meetings := must(s.Meetings()); len(meetings) != 1 {
		t.Errorf("folders %q", meetings)
	}
	if strays, err := s.Strays("none", known); err != nil || len(strays) > 0 {
		t.Errorf("a meeting without a folder: %v, %v", strays, err)
	}
	failed := errors.New("the database is away")
	if _, err := s.Strays("m", func() ([]string, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}
