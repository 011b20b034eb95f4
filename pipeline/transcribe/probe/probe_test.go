package probe

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan Record, 1000)
	go func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		for r, err := range Read(c) {
			if err != nil {
				t.Error(err)
			}
			got <- r
		}
	}()

	s, err := spec.Parse("probe:" + path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(s, transcribe.Host{Dial: new(net.Dialer).DialContext})
	if err != nil {
		t.Fatal(err)
	}
	id := ulid.Make()
	st, err := e.Open(t.Context(), transcribe.Options{Track: id.String()})
	if err != nil {
		t.Fatal(err)
	}
	const frame = audio.FrameRate / 10
	pcm := make([]int16, frame)
	for i := range 110 {
		pcm[0] = int16(i)
		if i < 50 || i >= 100 { // five seconds are quiet
			pcm[0] += loud
		}
		if err := st.Write(t.Context(), audio.Frame{Start: int64(i) * frame, PCM: pcm, Kind: audio.Coded}); err != nil {
			t.Fatal(err)
		}
		if i == 49 {
			checkResult(t, <-st.Results(), 0, 50*frame)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := st.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	checkResult(t, <-st.Results(), 100*frame, 110*frame)
	for i := range 110 {
		r := <-got
		pcm[0] = int16(i)
		if i < 50 || i >= 100 {
			pcm[0] += loud
		}
		if r.Stream != [16]byte(id) || r.End != int64(i+1)*frame || r.Sum != Sum(pcm) || time.Since(r.At).Abs() > time.Hour {
			t.Fatalf("record %d is %+v", i, r)
		}
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Recognizer.(*recognizer).conn.Close(); err != nil {
		t.Error(err)
	}
	if r, open := <-got; open {
		t.Errorf("one record too many: %+v", r)
	}
}

func checkResult(t *testing.T, got transcribe.Result, start, end int64) {
	t.Helper()
	if !got.Final || got.Text != "probe" || got.Start != start || got.End != end {
		t.Errorf("the result is %+v, want one from %d to %d", got, start, end)
	}
}
