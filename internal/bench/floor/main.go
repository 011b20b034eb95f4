//go:build linux

// Command floor measures the least CPU that a packet costs: a small C program
// (c/floor.c, built by the first step of each run) receives, decrypts and
// decodes what this one sends it in real time, and nothing else. What a server
// costs above that is what its other work costs.
//
//	go run ./internal/bench/floor -file speech.opus
//
// It needs a C compiler, pkg-config, libsrtp2 and libopus: `make floor` installs
// them. The three things that the C program does are measured in turns, so that
// a machine that others use as well slows all of them.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	"verbatim/signaling/whipclient"
)

//go:embed c/floor.c
var source []byte

// profiles are those that pion negotiates. As a server it takes aes256-gcm from
// whoever offers it.
var profiles = map[string]srtp.ProtectionProfile{
	"aes256-gcm":  srtp.ProtectionProfileAeadAes256Gcm,
	"aes128-gcm":  srtp.ProtectionProfileAeadAes128Gcm,
	"aes128-sha1": srtp.ProtectionProfileAes128CmHmacSha1_80,
}

// maxStreams is what floor.c has room for.
const maxStreams = 10000

// modes are what the C program can do, each all of the one before as well.
var modes = [...]string{"receive", "decrypt", "decode"}

type options struct {
	file              string
	streams, rounds   int
	seconds, pause    time.Duration
	profile           string
	json              string
	floorCPU, loadCPU int
}

// result is what the C program says in the end.
type result struct {
	Packets, Samples, Lost, Failed, Batches uint64
	Micros                                  float64 `json:"cpu_us_per_packet"` // of CPU, user and system
	RSS                                     int64   `json:"rss_kb"`
}

func main() {
	var o options
	var seconds, pause int
	flag.StringVar(&o.file, "file", "", "Ogg Opus `file` whose packets are sent")
	flag.IntVar(&o.streams, "streams", 400, "how many streams")
	flag.IntVar(&seconds, "seconds", 3, "how long each measurement takes")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is made; the best counts")
	flag.StringVar(&o.profile, "profile", "aes256-gcm", "SRTP profile: aes256-gcm, which pion prefers, aes128-gcm or aes128-sha1")
	flag.IntVar(&pause, "pause", 2, "`milliseconds` between two batches of packets, 0 for none")
	flag.StringVar(&o.json, "json", "", "`file` for the results of decode, as `verbatim bench --json` writes them")
	flag.IntVar(&o.floorCPU, "floor-cpu", 0, "CPU of the C program")
	flag.IntVar(&o.loadCPU, "load-cpu", 1, "CPU of the load")
	flag.Parse()
	o.seconds, o.pause = time.Duration(seconds)*time.Second, time.Duration(pause)*time.Millisecond
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		cancel()
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1) //nolint:gocritic // cancel has been called
	}
}

func run(ctx context.Context, o options) error {
	profile, ok := profiles[o.profile]
	switch {
	case !ok:
		return fmt.Errorf("there is no profile %q; -help lists them", o.profile)
	case o.streams < 1 || o.streams > maxStreams:
		return fmt.Errorf("want 1 to %d streams", maxStreams)
	case o.rounds < 1 || o.seconds <= 0:
		return errors.New("want a second and a round at least")
	case o.pause < 0 || o.pause > time.Second:
		return errors.New("want a pause of 0 to 1000 milliseconds")
	}
	packets, err := read(o.file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "floor")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := build(ctx, dir)
	if err != nil {
		return err
	}
	// What follows is about this thread: which CPU it runs on, and the C
	// program, which starts on the same CPU and ends with it.
	runtime.LockOSThread()
	var best [len(modes)]result
	for round := range o.rounds {
		for i, mode := range modes {
			r, err := measure(ctx, o, program, mode, profile, packets)
			if err != nil {
				return fmt.Errorf("%s: %w", mode, err)
			}
			if round == 0 || r.Micros < best[i].Micros {
				best[i] = r
			}
		}
	}
	return report(o, profile, packets, best)
}

// read is the file's packets that are as long as its first, as all are but the
// last.
func read(file string) (packets []whipclient.Packet, err error) {
	if file == "" {
		return nil, errors.New("name an Ogg Opus file with -file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for p, err := range whipclient.ReadOgg(f) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(packets) == 0 || p.Ticks == packets[0].Ticks {
			packets = append(packets, p)
		}
	}
	if len(packets) == 0 {
		return nil, fmt.Errorf("%s: there is nothing in it", file)
	}
	return packets, nil
}

// build compiles the C program.
func build(ctx context.Context, dir string) (program string, err error) {
	libraries, err := output(exec.CommandContext(ctx, "pkg-config", "--cflags", "--libs", "libsrtp2", "opus"))
	if err != nil {
		return "", fmt.Errorf("find libsrtp2 and libopus: %w", err)
	}
	c, program := filepath.Join(dir, "floor.c"), filepath.Join(dir, "floor")
	if err := os.WriteFile(c, source, 0o600); err != nil {
		return "", err
	}
	args := append([]string{"-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, c}, strings.Fields(libraries)...)
	if _, err := output(exec.CommandContext(ctx, "cc", args...)); err != nil {
		return "", fmt.Errorf("compile floor.c: %w", err)
	}
	return program, nil
}

// output is what a command prints; its error has what it complains about.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return string(out), err
}

// pin binds the calling thread, and what it starts, to one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("use CPU %d: %w", cpu, err)
	}
	return nil
}

// measure has the C program take the streams' packets for o.seconds.
func measure(ctx context.Context, o options, program, mode string, profile srtp.ProtectionProfile, packets []whipclient.Packet) (r result, err error) {
	l, keys, err := newLoad(o.streams, profile, packets)
	if err != nil {
		return r, err
	}
	defer l.close()

	if err := pin(o.floorCPU); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, program, mode, fmt.Sprint(uint16(profile)), fmt.Sprint(o.streams), fmt.Sprint(o.pause.Microseconds()))
	cmd.Stdin, cmd.Stderr = keys, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, cmd.Wait()) }()
	if err := pin(o.loadCPU); err != nil {
		return r, errors.Join(err, cmd.Process.Kill())
	}

	var port int
	if _, err := fmt.Fscanln(stdout, &port); err != nil {
		return r, fmt.Errorf("it did not start: %w", err)
	}
	sent, err := l.send(ctx, port, o.seconds)
	time.Sleep(100 * time.Millisecond) // what is under way arrives
	if err := errors.Join(err, cmd.Process.Signal(syscall.SIGTERM)); err != nil {
		return r, err
	}
	said, err := io.ReadAll(stdout)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(said, &r); err != nil {
		return r, fmt.Errorf("it said %q: %w", said, err)
	}
	return r, r.check(mode, sent, uint64(packets[0].Ticks))
}

// check refuses numbers of a run in which something was left out.
func (r result) check(mode string, sent, ticks uint64) error {
	want := uint64(0)
	if mode == "decode" {
		want = sent * ticks / 3 // 48 kHz to 16 kHz
	}
	if r.Packets != sent || r.Lost > 0 || r.Failed > 0 || r.Samples != want {
		return fmt.Errorf("of %d packets %d arrived, %d were lost, %d were refused; %d of %d samples were decoded; are there fewer CPUs, or too many streams?",
			sent, r.Packets, r.Lost, r.Failed, r.Samples, want)
	}
	return nil
}

func report(o options, profile srtp.ProtectionProfile, packets []whipclient.Packet, best [len(modes)]result) error {
	bytes := 0
	for _, p := range packets {
		bytes += len(p.Payload)
	}
	long := time.Duration(packets[0].Ticks) * time.Second / clockRate
	fmt.Printf("%d streams of %v packets, %d bytes each, %v, %v between batches; best of %d\n\n",
		o.streams, long, bytes/len(packets), profile, o.pause, o.rounds)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\tµs per packet\tpackets per batch\tstreams per vCPU\tRSS MB\t")
	for i, r := range best {
		what := modes[i]
		if i > 0 {
			what = "+ " + what
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.0f\t%.1f\t\n", what, r.Micros, float64(r.Packets)/float64(r.Batches),
			float64(long.Microseconds())/r.Micros, float64(r.RSS)/1024)
	}
	err := w.Flush()
	if o.json != "" {
		last := best[len(best)-1]
		b := fmt.Appendf(nil, `{"profile":"browser","streams_per_vcpu":%f,"cpu_ms_per_stream_second":%f,"rss_mb_per_stream":%f}`,
			float64(long.Microseconds())/last.Micros, last.Micros*1000/float64(long.Microseconds()), float64(last.RSS)/1024/float64(o.streams))
		err = errors.Join(err, os.WriteFile(o.json, append(b, '\n'), 0o600))
	}
	return err
}
