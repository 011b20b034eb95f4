//go:build linux

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"verbatim/media/codec"
)

// report is what a run found, as --json writes it.
type report struct {
	Profile        string             `json:"profile"`
	File           string             `json:"file,omitempty"`
	Peer           string             `json:"peer,omitempty"`
	Held           int                `json:"streams"` // of the last step that held
	StreamsPerVCPU float64            `json:"streams_per_vcpu"`
	CPUMS          float64            `json:"cpu_ms_per_stream_second"`
	RSSPerStream   float64            `json:"rss_mb_per_stream"`
	Delay          quantiles          `json:"delay_ms"`
	Split          map[string]float64 `json:"split,omitempty"` // shares of the CPU time
	RSSSlope       *float64           `json:"rss_mb_per_hour,omitempty"`
	RSSSlopeLate   *float64           `json:"rss_mb_per_hour_second_half,omitempty"`
	Machine        machine            `json:"machine"`
	Steps          []Step             `json:"steps"`
}

type machine struct {
	CPU        string   `json:"cpu"`
	Go         string   `json:"go"`
	Codec      string   `json:"codec"`
	ServerCPUs string   `json:"server_cpus"`
	LoadCPUs   string   `json:"load_cpus"`
	Flags      []string `json:"server_flags,omitempty"`
	Env        []string `json:"server_env,omitempty"`

	count int // of the server's CPUs
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Step is what was measured with a number of participants.
type Step struct {
	Streams        int                `json:"streams"`
	Why            string             `json:"failed,omitempty"` // it did not hold
	CPUPercent     float64            `json:"cpu_percent"`      // of one CPU
	CPUMS          float64            `json:"cpu_ms_per_stream_second"`
	RSS            float64            `json:"rss_mb"`
	RSSPerStream   float64            `json:"rss_mb_per_stream"` // without what the server had before anyone joined
	Goroutines     int                `json:"goroutines,omitempty"`
	Delay          quantiles          `json:"delay_ms"`
	LateMS         float64            `json:"load_late_p99_ms"`
	JoinsPerSecond float64            `json:"joins_per_second"`
	Lost           int                `json:"lost"` // frames, since the beginning
	Split          map[string]float64 `json:"split,omitempty"`
	Soak           []Minute           `json:"soak,omitempty"`
}

// Minute is a look at the server within a long window.
type Minute struct {
	Minutes    float64 `json:"minutes"`
	RSS        float64 `json:"rss_mb"`
	Goroutines int     `json:"goroutines,omitempty"`
	P99        float64 `json:"p99_ms"` // since the look before
}

func newReport(c *Config, serverCPUs, loadCPUs *unix.CPUSet) *report {
	r := &report{Profile: c.Profile, File: c.File, Peer: c.Peer, Machine: machine{
		CPU: cpuModel(), Go: runtime.Version(), Codec: codec.OpusBy, ServerCPUs: names(serverCPUs), LoadCPUs: names(loadCPUs),
		Flags: c.ServerFlags, Env: c.ServerEnv, count: serverCPUs.Count(),
	}}
	if c.Peer != "" {
		r.Machine.Codec = "its own"
	}
	return r
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // "" says that it is not known
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return ""
}

// tail takes what was missing in the end; it fails the last step.
func (r *report) tail(missing int) {
	if missing == 0 || len(r.Steps) == 0 {
		return
	}
	last := &r.Steps[len(r.Steps)-1]
	last.Lost += missing
	if last.Why == "" {
		last.Why = "what was sent last did not come"
	}
}

// held is the last step that held, nil if there is none.
func (r *report) held() *Step {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if r.Steps[i].Why == "" {
			return &r.Steps[i]
		}
	}
	return nil
}

// write prints the report and writes its files.
func (r *report) write(c *Config) error {
	var failed error
	if s := r.held(); s != nil {
		r.Held, r.StreamsPerVCPU = s.Streams, float64(s.Streams)/float64(r.Machine.count)
		r.CPUMS, r.RSSPerStream, r.Delay, r.Split = s.CPUMS, s.RSSPerStream, s.Delay, s.Split
		r.RSSSlope, r.RSSSlopeLate = growth(s.Soak, len(s.Soak)/4), growth(s.Soak, len(s.Soak)/2)
	} else {
		s := r.Steps[len(r.Steps)-1]
		failed = fmt.Errorf("%d streams did not hold: %s", s.Streams, s.Why)
	}
	err := r.print(c.Out)
	if c.JSON != "" {
		b, merr := json.MarshalIndent(r, "", "  ")
		err = errors.Join(err, merr, os.WriteFile(c.JSON, append(b, '\n'), 0o600))
	}
	if c.SVG != "" {
		var b bytes.Buffer
		err = errors.Join(err, r.chart(&b, c.SLO), os.WriteFile(c.SVG, b.Bytes(), 0o600))
	}
	return errors.Join(failed, err)
}

// measured says whether the step came as far as to be measured.
func (s *Step) measured() bool { return s.RSS > 0 }

func (r *report) print(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "\nProfile %s%s, server on CPU %s, load on CPU %s (%s), %s, Opus by %s\n\n",
		r.Profile, parenthesis(r.File), m.ServerCPUs, m.LoadCPUs, m.CPU, m.Go, m.Codec)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "streams\tCPU %\tms/stream-s\tRSS MB\tper stream\tgoroutines\tp50 ms\tp99\tmax\tload late p99\tjoins/s\tlost\t")
	for _, s := range r.Steps {
		if !s.measured() {
			continue
		}
		fmt.Fprintf(t, "%d\t%.1f\t%.2f\t%.1f\t%.3f\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t\n", s.Streams, s.CPUPercent, s.CPUMS,
			s.RSS, s.RSSPerStream, s.Goroutines, s.Delay.P50, s.Delay.P99, s.Delay.Max, s.LateMS, s.JoinsPerSecond, s.Lost)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s := r.Steps[len(r.Steps)-1]; s.Why != "" {
		fmt.Fprintf(w, "\n%d streams did not hold: %s\n", s.Streams, s.Why)
	}
	if r.Held == 0 {
		return nil
	}
	if r.Split != nil {
		fmt.Fprintf(w, "\nCPU of %d streams (%.2f ms per stream-second):\n", r.Held, r.CPUMS)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, part := range parts {
			fmt.Fprintf(t, "%s\t%.1f %%\t%.3f ms\t\n", part, 100*r.Split[part], r.Split[part]*r.CPUMS)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if r.RSSSlope != nil {
		fmt.Fprintf(w, "\nRSS grew by %.2f MB an hour after the first quarter, by %.2f in the second half\n", *r.RSSSlope, *r.RSSSlopeLate)
	}
	least, more := "", ""
	if r.Steps[len(r.Steps)-1].Why == "" { // what it does not carry was not found
		least, more = "at least ", " (no step failed; more streams were not tried)"
	}
	_, err := fmt.Fprintf(w, "\nStreams per vCPU: %s%.0f%s\n", least, r.StreamsPerVCPU, more)
	return err
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// line is a step in words.
func (s *Step) line() string {
	if s.Why != "" {
		return fmt.Sprintf("%d streams: did not hold: %s", s.Streams, s.Why)
	}
	return fmt.Sprintf("%d streams: CPU %.0f %%, p99 %.1f ms, RSS %.0f MB", s.Streams, s.CPUPercent, s.Delay.P99, s.RSS)
}

// growth is the slope of RSS in MB an hour, by least squares, without as many looks
// at the beginning, the warm-up; nil if there are too few.
func growth(soak []Minute, warm int) *float64 {
	soak = soak[warm:]
	if len(soak) < 3 {
		return nil
	}
	var x, y float64
	for _, m := range soak {
		x += m.Minutes / float64(len(soak))
		y += m.RSS / float64(len(soak))
	}
	var xy, xx float64
	for _, m := range soak {
		xy += (m.Minutes - x) * (m.RSS - y)
		xx += (m.Minutes - x) * (m.Minutes - x)
	}
	perHour := 60 * xy / xx
	return &perHour
}
