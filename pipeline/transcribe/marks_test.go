package transcribe

import (
	"testing"
	"time"
)

func TestMarks(t *testing.T) {
	at := func(n int64) time.Time { return time.Unix(n, 0) }
	r := &run{marks: &marks{}}
	check := func(end int64, want time.Time) {
		t.Helper()
		if got := r.heard(end); !got.Equal(want) {
			t.Errorf("%d was heard at %v, want %v", end, got, want)
		}
	}
	check(0, time.Time{})
	for i := range int64(10) {
		r.wroteAt(i*markEvery, at(i))
		r.wroteAt(i*markEvery+markEvery/2, at(100)) // too near
	}
	check(0, at(0))
	check(markEvery+1, at(2))
	check(9*markEvery, at(9))
	check(9*markEvery+1, at(100))
	check(9*markEvery+markEvery/2+1, time.Time{}) // not yet
	for i := int64(10); i < 600; i++ {
		r.wroteAt(i*markEvery, at(i))
	}
	check(markEvery, time.Time{}) // long ago
	check(599*markEvery, at(599))
	r.wroteAt(5*markEvery, at(1000)) // heard again by another stream
	check(5*markEvery, at(1000))
	check(7*markEvery, time.Time{})
	var off run
	if !off.heard(5).IsZero() || testing.AllocsPerRun(100, func() { off.wrote(5, 5); off.heard(5) }) != 0 {
		t.Error("it costs something when nobody wants to know")
	}
}

func (r *run) wroteAt(end int64, at time.Time) { r.marks.add(end, at) }
