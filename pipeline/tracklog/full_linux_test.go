package tracklog

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// The system's own full disk.
func TestDevFull(t *testing.T) {
	s := newStore(t, Options{MemoryBytes: 64 << 10})
	s.open = func(string, int) (file, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }
	l := must(s.Create("m", "t"))
	var tx sender
	for range 100 {
		appendAll(t, l, tx.coded(50, 100)...)
	}
	if s.flush(true) != 1 || s.memory.Load() > 64<<10 {
		t.Errorf("%d bytes are in use", s.memory.Load())
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v", err)
	}
	if _, _, acct, _ := l.State(); acct.Total() != tx.acct.Total() || acct.Shed != s.Shed() || acct.Shed == 0 {
		t.Errorf("account %+v after %+v", acct, tx.acct)
	}
}
