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
	kind := audio.Coded
	for i := range 110 {
		if i == 51 {
			kind = audio.Silence
		}
		pcm[0] = int16(i)
		if err := st.Write(t.Context(), audio.Frame{Start: int64(i) * frame, PCM: pcm, Kind: kind}); err != nil {
			t.Fatal(err)
		}
		if n := i + 1; n == 50 || n == 100 {
			res := <-st.Results()
			want := transcribe.Result{Final: true, Start: int64(n-50) * frame, End: int64(n) * frame, Text: "probe"}
			if res.Final != want.Final || res.Start != want.Start || res.End != want.End || res.Text != want.Text {
				t.Errorf("after %d frames %+v, want %+v", n, res, want)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := st.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if res := <-st.Results(); res.Text != "" || res.End != 110*frame {
		t.Errorf("the last result is %+v", res)
	}
	for i := range 110 {
		r := <-got
		pcm[0] = int16(i)
		if r.Stream != [16]byte(id) || r.End != int64(i+1)*frame || r.Sum != Sum(pcm) || time.Since(r.At).Abs() > time.Minute {
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
