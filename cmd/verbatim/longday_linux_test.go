package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"verbatim/internal/harness"
)

// Each export of a long day takes less than a second of a processor (at one of three
// times: others use the machine, too, which is why time itself tells nothing) and less
// than 100 MB of the server's memory: the most that was resident meanwhile, as the
// kernel counts it, above what was resident before.
func TestLongDay(t *testing.T) {
	data := t.TempDir()
	id := longDay(t, data)
	s := serve(t, data, "none:", "--recordings", "none")
	quick, small := time.Second, int64(100e6)
	if raced {
		quick, small = 30*quick, 10*small
	}
	for _, format := range []string{"json", "vtt", "srt", "txt"} {
		best, most, size := time.Hour, int64(0), 0
		for try := 0; try == 0 || best > quick && try < 3; try++ {
			s.resetPeak(t)
			before, used := s.memory(t, "VmRSS"), s.used(t)
			size = len(s.get("/v1/meetings/" + id + "/transcript." + format))
			best = min(best, s.used(t)-used)
			most = max(most, s.memory(t, "VmHWM")-before)
		}
		t.Logf("%s: %.1f MB in %v of a processor, memory grew by up to %.1f MB", format, float64(size)/1e6, best, float64(most)/1e6)
		if size < daySegments*100 || best > quick || most > small {
			t.Errorf("%s: %d bytes in %v of a processor, memory grew by up to %d bytes", format, size, best, most)
		}
	}
	s.stop()
}

// used is the time of processors that the process has had, to 10 ms.
func (s *process) used(t testing.TB) time.Duration {
	t.Helper()
	used, err := harness.CPUTime(s.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// resetPeak makes VmHWM count from now on.
func (s *process) resetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// memory is a line of the process's status in bytes.
func (s *process) memory(t testing.TB, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s", name)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb * 1024
}
