//go:build linux

package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"verbatim/internal/netem"
)

var zero = time.Unix(1000, 0)

// after is the time so many milliseconds after zero.
func after(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

// stream is 100 packets over a network that takes 50 ms, and a recognizer that
// gets each 2 ms later.
func stream() (trace []netem.RTP, tap []reading) {
	for i := range 100 {
		trace = append(trace, netem.RTP{
			SSRC: 7, Seq: uint16(65500 + i), Timestamp: uint32(1<<32 - 50*2880 + i*2880),
			Sent: after(60 * i), Due: after(60*i + 50),
		})
		tap = append(tap, reading{int64(i+1) * 960, after(60*i + 52)})
	}
	return trace, tap
}

// again is packet i sent again.
func again(trace []netem.RTP, i, sent, due int, lost bool) []netem.RTP {
	r := trace[i]
	r.Sent, r.Due, r.Lost = after(sent), after(due), lost
	return append(trace, r)
}

// late makes the recognizer get packets from to to no earlier than that.
func late(tap []reading, from, to, ms int) {
	for i := from; i <= to; i++ {
		tap[i].at = after(ms)
	}
}

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading)
		want   measure
		extra  float64 // at most
	}{
		{"clean", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			return trace, tap
		}, measure{Sent: 100, ExtraP50: 2, ExtraP99: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 2},
		{"recovered: the wait is for what was missing", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[40].Lost = true
			trace = again(trace, 40, 2560, 2610, false)
			late(tap, 40, 42, 2612) // packet 41 came at 2510, 42 at 2570
			return trace, tap
		}, measure{Sent: 100, Lost: 1, Resent: 1, ExtraP50: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 162},
		{"the copy is lost, too, and the next one is not", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[40].Lost = true
			trace = again(trace, 40, 2560, 2610, true)
			trace = again(trace, 40, 2660, 2710, false)
			late(tap, 40, 44, 2712)
			return trace, tap
		}, measure{Sent: 100, Lost: 1, Resent: 2, ResentLost: 1, ExtraP50: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 262},
		{"given up", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[40].Lost = true
			late(tap, 40, 46, 2910)
			return trace, tap
		}, measure{Sent: 100, Lost: 1, Never: 1, ExtraP50: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 460},
		{"held up for nothing", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			late(tap, 40, 41, 2550) // which were there at 2450 and 2510
			return trace, tap
		}, measure{Sent: 100, ExtraP50: 2, IdleP50: 2, IdleP99: 100, IdleMax: 100}, 100},
		{"a long wait that goes on after the copy came", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[40].Lost = true
			trace = again(trace, 40, 2560, 2610, false)
			late(tap, 40, 46, 2910)
			return trace, tap
		}, measure{Sent: 100, Lost: 1, Resent: 1, ExtraP50: 2, IdleP50: 2, IdleP99: 300, IdleMax: 300}, 460},
		{"reordered", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[40].Due = after(2540) // 41 is due at 2510
			late(tap, 40, 41, 2542)
			return trace, tap
		}, measure{Sent: 100, Reordered: 1, ExtraP50: 2, ExtraP99: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 2},
		{"the first and the last are lost", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			trace[0].Lost, trace[99].Lost = true, true
			for i := range tap {
				tap[i].samples -= 960
			}
			return trace, tap[1:99]
		}, measure{Sent: 100, Lost: 2, Never: 2, ExtraP50: 2, ExtraP99: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2}, 2},
		{"a track that is too long", func(trace []netem.RTP, tap []reading) ([]netem.RTP, []reading) {
			tap[99].samples += 16
			return trace, tap
		}, measure{Sent: 100, ExtraP50: 2, ExtraP99: 2, IdleP50: 2, IdleP99: 2, IdleMax: 2, Off: 1}, 2},
	} {
		got, err := newMeasure(c.change(stream()))
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got.ExtraP99-c.extra) > 0.01 {
			t.Errorf("%s: extra delay %.2f ms, want %.2f", c.name, got.ExtraP99, c.extra)
		}
		got.ExtraP99, c.want.ExtraP99 = 0, 0
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestNothingArrived(t *testing.T) {
	trace, tap := stream()
	for i := range trace {
		trace[i].Lost = true
	}
	if _, err := newMeasure(trace, nil); err == nil {
		t.Error("no error without any audio")
	}
	if _, err := newMeasure(trace, tap); err == nil {
		t.Error("no error without any packet")
	}
}

func TestTap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tap")
	before := time.Now()
	if err := tap(strings.NewReader(strings.Repeat("s", 100_000)), file); err != nil {
		t.Fatal(err)
	}
	all, err := readTap(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || all[len(all)-1].samples != 50_000 {
		t.Errorf("readings %v, want 50000 samples in the end", all)
	}
	for _, r := range all {
		if r.at.Before(before.Add(-time.Millisecond)) || r.at.After(time.Now()) {
			t.Errorf("a reading at %v", r.at)
		}
	}
	if err := tap(strings.NewReader("ss"), file); err == nil {
		t.Error("a second stream of the same track was taken")
	}
}

func TestCells(t *testing.T) {
	all, err := cells("0,10,burst", "20,100", "0,30")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 12 {
		t.Fatalf("%d cells", len(all))
	}
	if c := all[7]; !c.is(10, 100) || c.Jitter != 30*time.Millisecond || c.String() != "10 %, 100 ms, jitter 30 ms" {
		t.Errorf("cell 7 is %v", c)
	}
	if c := all[8]; c.Loss != 0.05 || c.Burst != 4 || c.is(5, 20) {
		t.Errorf("cell 8 is %v", c)
	}
	for _, bad := range [][3]string{{"x", "1", "1"}, {"100", "1", "1"}, {"1", "", "1"}, {"1", "1", "-1"}} {
		if _, err := cells(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestMisses(t *testing.T) {
	all, err := cells("0,10,20", "100,300", "0")
	if err != nil {
		t.Fatal(err)
	}
	rs := make([]result, len(all))
	for i, c := range all {
		rs[i] = result{Sender: "pion", Cell: c.String(), cell: c}
		rs[i].Coverage.DurationMS = 100_000
	}
	o := options{tolerance: 20 * time.Millisecond}
	if m := misses(o, rs); len(m) != 0 {
		t.Errorf("missed without a reason: %q", m)
	}
	rs[0].Coverage.ConcealedMS = 1      // 0 %, 100 ms
	rs[1].Measure.Off = -20             // 0 %, 300 ms
	rs[2].Coverage.ConcealedMS = 21     // 10 %, 100 ms
	rs[3].Coverage.ConcealedMS = 50_000 // 10 %, 300 ms: no bar
	rs[4].Measure.IdleP99 = 21          // 20 %, 100 ms
	rs[5].Coverage.ConcealedMS = 500    // 20 %, 300 ms
	for i, want := range []string{"nothing was lost", "longer", "at most 0.02 %", "where nothing was missing", "less than 0.5 %"} {
		if m := misses(o, rs); len(m) != 5 || !strings.Contains(m[i], want) {
			t.Errorf("missed %d of %q, want %q", i, m, want)
		}
	}
	rs[2].Coverage.ConcealedMS = 20
	rs[5].Coverage.ConcealedMS = 499
	if m := misses(o, rs); len(m) != 3 {
		t.Errorf("missed %q", m)
	}
	rs[3].Measure.PaceP99 = 251
	if m := misses(o, rs); len(m) != 4 || !strings.Contains(m[2], "too busy") {
		t.Errorf("missed %q", m)
	}
	rs[5].Err = "lost"
	if m := misses(o, rs); len(m) != 5 {
		t.Errorf("missed %q", m)
	}
}
