//go:build linux

package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"
)

// stack is a sample with its functions, the innermost first.
func stack(value int64, functions ...string) *profile.Sample {
	s := &profile.Sample{Value: []int64{1, value}}
	for _, f := range functions {
		s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: f}}}})
	}
	return s
}

func TestSplit(t *testing.T) {
	const (
		srtp    = "github.com/pion/srtp/v3.(*Context).decryptRTP"
		track   = "verbatim/media.(*track).run"
		session = "verbatim/media.(*Session).read"
		feed    = "verbatim/pipeline/transcribe.(*feed).run"
		server  = "net/http.(*conn).serve"
	)
	for _, c := range []struct {
		name      string
		functions []string
		want      string
	}{
		{"decrypts", []string{"crypto/internal/fips140/aes/gcm.gcmAesDec", srtp, session}, "crypto"},
		{"allocates for it", []string{"runtime.mallocgc", "runtime.makeslice", srtp, session}, "crypto"},
		{"a lock of it", []string{"internal/runtime/atomic.(*Int32).Add", "sync.(*Mutex).Lock", srtp}, "crypto"},
		{"receives", []string{"internal/runtime/syscall.Syscall6", "syscall.recvfrom", "internal/poll.(*FD).ReadFromInet4", "net.(*UDPConn).ReadFrom", "verbatim/media.(*mux).run"}, "network"},
		{"orders", []string{"verbatim/media/reorder.(*Buffer[go.shape.struct { verbatim/media.x int }]).Pop", track, session}, "reorder"},
		{"places", []string{"verbatim/media/audio.(*Timeline).Push", track}, "reorder"},
		{"appends", []string{"runtime.memmove", "verbatim/pipeline/tracklog.(*Log).Append", track}, "log"},
		{"writes files", []string{"syscall.Syscall", "internal/poll.(*FD).Write", "os.(*File).Write", "verbatim/pipeline/tracklog.(*Store).Run"}, "log"},
		{"decodes", []string{"github.com/pion/opus/internal/silk.decode", "verbatim/media/codec.(*Decoder).Decode", "verbatim/pipeline/decode.(*Decoder).Packet", feed}, "decode"},
		{"detects voice", []string{"verbatim/pipeline/vad.(*Detector).Write", feed}, "stages"},
		{"tells the probe", []string{"syscall.write", "net.(*conn).Write", "verbatim/pipeline/transcribe/probe.(*recognizer).write", feed}, "stages"},
		{"stores", []string{"modernc.org/sqlite/lib._sqlite3Step", "database/sql.(*Tx).Exec"}, "stages"},
		{"negotiates", []string{"runtime.mapassign", "github.com/pion/webrtc/v4.(*PeerConnection).CreateAnswer", "verbatim/media.(*Session).negotiate", server}, "signaling"},
		{"handshakes", []string{"crypto/internal/fips140/nistec.p256", "github.com/pion/dtls/v3.(*handshakeFSM).Run"}, "signaling"},
		{"collects garbage", []string{"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}, "runtime"},
		{"schedules", []string{"internal/runtime/syscall.EpollWait", "runtime.netpoll", "runtime.findRunnable", "runtime.mcall"}, "runtime"},
		{"is unknown", []string{"runtime.mallocgc", "example.org/unknown.f"}, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &profile.Profile{
				SampleType: []*profile.ValueType{{Type: "samples"}, {Type: "cpu"}},
				Sample:     []*profile.Sample{stack(30, c.functions...), stack(10, "runtime.gcBgMarkWorker")},
			}
			got := split(p)
			want := map[string]float64{"runtime": 0.25}
			want[c.want] += 0.75
			for _, part := range parts {
				if math.Abs(got[part]-want[part]) > 1e-9 {
					t.Errorf("%s has %v, want %v", part, got[part], want[part])
				}
			}
		})
	}
	if got := split(&profile.Profile{SampleType: []*profile.ValueType{{}, {}}}); len(got) != 0 {
		t.Errorf("of nothing there is %v", got)
	}
}

// A profile that the runtime has written is read.
func TestSplitOfRealProfile(t *testing.T) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		t.Fatal(err)
	}
	r := rotationsOf(t, "browser")[0]
	for begun, n := used(t), 0; used(t)-begun < 300*time.Millisecond; n += 10 {
		r.frame(n)
	}
	pprof.StopCPUProfile()
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	if got := split(p); got["decode"] < 0.1 { // the race detector has no owner
		t.Errorf("decoding is %v", got)
	}
}

// used is the CPU time of this process.
func used(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}

func TestDelays(t *testing.T) {
	var d delays
	if d.quantile(0.99) != 0 {
		t.Error("nothing took time")
	}
	for i := range 1000 {
		d.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := d.quantile(q); got < want || got > want+bin {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	d.add(-time.Second)
	for range 20 {
		d.add(time.Hour)
	}
	if got := d.quantile(0.99); got != time.Hour || d.max != time.Hour || d.n != 1021 {
		t.Errorf("with hours in it %v, at most %v, of %d", got, d.max, d.n)
	}
}

// What is due in a window and has not come is in its delays.
func TestOutstandingCounts(t *testing.T) {
	l := &load{cfg: &Config{}}
	p := &publisher{l: l, r: rotationsOf(t, "browser")[0], sent: 100, start: time.Now().Add(-3 * time.Second)}
	l.joined = append(l.joined, p)
	l.window = &window{from: p.start, to: p.start.Add(600 * time.Millisecond)}
	for _, rec := range told(p.r, 4) {
		rec.At = p.due(p.next).Add(5 * time.Millisecond)
		p.take(rec)
	}
	w := l.measured()
	if got := w.delay.quantile(0.4); w.delay.n != 10 || got < 5*time.Millisecond || got > 6*time.Millisecond {
		t.Errorf("%d delays, those of the first four are %v", w.delay.n, got)
	}
	if got := w.delay.quantile(0.5); got < 2*time.Second {
		t.Errorf("those that have not come count with %v", got)
	}
}

func TestCPUs(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	set, err := cpus("--server-cpus", names(&allowed))
	if err != nil || set != allowed {
		t.Errorf("%s is read as %s (%v)", names(&allowed), names(&set), err)
	}
	for _, list := range []string{"", "a", "1-", "3-1", "-1", "0;1", "4000"} {
		if _, err := cpus("--server-cpus", list); err == nil || !strings.Contains(err.Error(), "--server-cpus") {
			t.Errorf("%q: %v", list, err)
		}
	}
}

func TestGrowth(t *testing.T) {
	var soak []Minute
	for i := range 60 {
		rss := 100 + float64(i)/60*3 + float64(i%2) // 3 MB an hour, and noise
		if i < 15 {
			rss = float64(i) // the warm-up
		}
		soak = append(soak, Minute{Minutes: float64(i + 1), RSS: rss})
	}
	for _, warm := range []int{15, 30} {
		if got := growth(soak, warm); got == nil || math.Abs(*got-3) > 0.3 {
			t.Errorf("%v MB an hour without %d minutes, want 3", *got, warm)
		}
	}
	if growth(soak[:2], 0) != nil {
		t.Error("two minutes tell nothing")
	}
}

func TestChart(t *testing.T) {
	r := &report{Profile: "browser", Machine: machine{count: 1}, StreamsPerVCPU: 150}
	for i, p99 := range []float64{3, 5, 4000} {
		r.Steps = append(r.Steps, Step{Streams: 100 + 50*i, CPUPercent: float64(30 * (i + 1)), RSS: 1, Delay: quantiles{1, p99, p99}})
	}
	r.Steps[2].Why = "p99"
	r.Steps = append(r.Steps, Step{Streams: 250, Why: "nobody could join"})
	var b bytes.Buffer
	if err := r.chart(&b, 250*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	elements := map[string]int{}
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
	if elements["polyline"] != 3 || elements["circle"] != 9 {
		t.Errorf("the chart has %v", elements)
	}
}
