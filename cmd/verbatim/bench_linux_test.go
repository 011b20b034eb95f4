package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The driver measures a real server with real participants, each of whose frames
// is compared with what it has to be.
func TestBench(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	var cpus []string
	for i := range 1024 {
		if allowed.IsSet(i) {
			cpus = append(cpus, strconv.Itoa(i))
		}
	}
	file := filepath.Join(t.TempDir(), "bench.json")
	out, err := verbatim(t.Context(), "bench", "--streams", "3", "--settle", "1s", "--window", "2s", "--slo", "1s", "--json", file,
		"--server-cpus", cpus[0], "--load-cpus", cpus[len(cpus)-1], "--server-env", beVerbatim+"=1").CombinedOutput()
	b, rerr := os.ReadFile(file)
	if rerr != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var r struct {
		Delay struct{ P50 float64 } `json:"delay_ms"`
		CPU   float64               `json:"cpu_ms_per_stream_second"`
		Split map[string]float64    `json:"split"`
		Steps []struct {
			Failed     string `json:"failed"`
			Goroutines int    `json:"goroutines"`
			Lost       int    `json:"lost"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	switch s := r.Steps[0]; {
	case len(r.Steps) != 1 || s.Lost != 0 || s.Goroutines == 0:
		t.Errorf("%s\n%s", b, out)
	case strings.HasPrefix(s.Failed, "p99 is above"): // the machine is that busy; nothing was lost all the same
	case err != nil || s.Failed != "" || r.Delay.P50 <= 0 || r.CPU <= 0 || len(r.Split) == 0:
		t.Errorf("%v: %s\n%s", err, b, out)
	}
}
