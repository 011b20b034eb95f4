// Compare sets what `verbatim bench --json` wrote about several servers side by
// side, as a table in Markdown: compare NAME FILE SETTINGS [NAME FILE SETTINGS]...
// The first is what the others are compared with. Of several with the same name,
// the one counts that took the least CPU. With -cpu, the numbers of streams were
// given, and are no result.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// server is one that was measured.
type server struct {
	Name     string
	Settings string

	Profile        string  `json:"profile"`
	StreamsPerVCPU float64 `json:"streams_per_vcpu"`
	CPUMS          float64 `json:"cpu_ms_per_stream_second"`
	RSSPerStream   float64 `json:"rss_mb_per_stream"`
	Delay          struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"delay_ms"`
}

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, args []string) error {
	onlyCPU := len(args) > 0 && args[0] == "-cpu"
	if onlyCPU {
		args = args[1:]
	}
	if len(args) == 0 || len(args)%3 != 0 {
		return errors.New("usage: compare [-cpu] NAME FILE SETTINGS [NAME FILE SETTINGS] and so on")
	}
	var all []server
	for ; len(args) > 0; args = args[3:] {
		s, err := read(args[1])
		if err != nil {
			return err
		}
		s.Name, s.Settings = args[0], args[2]
		if len(all) > 0 && s.Profile != all[0].Profile {
			return fmt.Errorf("%s got the profile %s, and %s got %s", s.Name, s.Profile, all[0].Name, all[0].Profile)
		}
		switch i := slices.IndexFunc(all, func(o server) bool { return o.Name == s.Name }); {
		case i < 0:
			all = append(all, s)
		case s.CPUMS < all[i].CPUMS:
			all[i] = s
		}
	}
	if onlyCPU {
		return cpuTable(w, all)
	}
	return table(w, all)
}

// cpuTable prints how much more CPU time the others take for a stream than the
// first.
func cpuTable(w io.Writer, all []server) error {
	first := all[0]
	_, err := fmt.Fprintf(w, "| %s | CPU ms per stream-second | takes | RSS MB per stream | settings |\n| --- | ---: | ---: | ---: | --- |\n", first.Profile)
	for _, s := range all {
		_, perr := fmt.Fprintf(w, "| %s | %.2f | %.2f × | %.2f | %s |\n", s.Name, s.CPUMS, s.CPUMS/first.CPUMS, s.RSSPerStream, s.Settings)
		err = errors.Join(err, perr)
	}
	return err
}

func read(path string) (s server, err error) {
	b, err := os.ReadFile(path) // #nosec G703 -- the caller's file
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	if s.StreamsPerVCPU <= 0 || s.CPUMS <= 0 {
		return s, fmt.Errorf("%s: no step held", path)
	}
	return s, nil
}

// table prints how much more the first carries, and how much more CPU time the
// others take for a stream.
func table(w io.Writer, all []server) error {
	first := all[0]
	_, err := fmt.Fprintf(w, "| %s | streams per vCPU | %s carries | CPU ms per stream-second | takes | RSS MB per stream | p50 ms | p99 ms | settings |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n", first.Profile, first.Name)
	for _, s := range all {
		_, perr := fmt.Fprintf(w, "| %s | %.0f | %.1f × | %.2f | %.1f × | %.2f | %.0f | %.0f | %s |\n",
			s.Name, s.StreamsPerVCPU, first.StreamsPerVCPU/s.StreamsPerVCPU, s.CPUMS, s.CPUMS/first.CPUMS, s.RSSPerStream, s.Delay.P50, s.Delay.P99, s.Settings)
		err = errors.Join(err, perr)
	}
	return err
}
