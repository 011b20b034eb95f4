//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
)

// cpus reads a list such as 0,2-3. All of them must be there for us.
func cpus(flag, list string) (set unix.CPUSet, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return set, fmt.Errorf("ask which CPUs there are: %w", err)
	}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a > b || a < 0 || b > 4096 {
			return set, fmt.Errorf("%s: a list of CPUs looks like 0,2-3, not %q", flag, list)
		}
		for cpu := a; cpu <= b; cpu++ {
			if !allowed.IsSet(cpu) {
				return set, fmt.Errorf("%s: there is no CPU %d for this process (there are %s); --server-cpus and --load-cpus say which are used, "+
					"and with only one, both may name it: then the load's work counts against the server", flag, cpu, names(&allowed))
			}
			set.Set(cpu)
		}
	}
	return set, nil
}

// names lists a set's CPUs.
func names(set *unix.CPUSet) string {
	var all []string
	for cpu := range 4096 {
		if set.IsSet(cpu) {
			all = append(all, strconv.Itoa(cpu))
		}
	}
	return strings.Join(all, ",")
}

// shared tells whether two sets have a CPU in common.
func shared(a, b *unix.CPUSet) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// pin has this process run on those CPUs only. Threads that begin later inherit
// that from those that begin them.
func pin(set *unix.CPUSet) error {
	for changed := true; changed; {
		changed = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			var is unix.CPUSet
			switch err := unix.SchedGetaffinity(id, &is); {
			case errors.Is(err, unix.ESRCH): // it has ended
				continue
			case err != nil:
				return fmt.Errorf("ask where a thread runs: %w", err)
			case is == *set:
				continue
			}
			if err := unix.SchedSetaffinity(id, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("pin the load to its CPUs: %w", err)
			}
			changed = true
		}
	}
	runtime.GOMAXPROCS(set.Count())
	return nil
}

// enoughFiles checks that n participants can have a socket each, and the server
// a file for each of them. Go has raised the limit as far as it may.
func enoughFiles(n int) error {
	const others = 200
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask how many files may be open: %w", err)
	}
	if need := uint64(n + others); limit.Max < need {
		return fmt.Errorf("%d participants need %d open files, and %d are allowed: raise the limit (`ulimit -Hn %d` as root), or give a lower --max", n, need, limit.Max, need)
	}
	return nil
}

// server is the process that is measured.
type server struct {
	*harness.Server
	admin string // HOST:PORT of --admin, "" for a peer
	log   string // file
}

// startServer starts Verbatim, or the peer, and waits until it serves.
func startServer(ctx context.Context, c *Config, dir string, on, back *unix.CPUSet) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	probeSocket := filepath.Join(dir, "probe.sock")
	s := &server{admin: ports[1], log: filepath.Join(dir, "server.log")}
	o := harness.ServerOptions{
		Binary: self, Listen: ports[0], Media: ports[2], Data: filepath.Join(dir, "data"), Log: s.log,
		Flags: append([]string{
			"--max-joins-per-second=-1", "--max-sessions-per-room=-1", // who joins is us
			"--recognizer", "probe:" + probeSocket, "--recordings", "none", "--drain", "10s", "--admin", s.admin,
		}, c.ServerFlags...),
		Env: c.ServerEnv, Health: "/healthz",
		Start: func(start func() error) error { return pinned(start, on, back) },
	}
	if c.Peer != "" {
		s.admin = ""
		o.Binary, o.Args = "/bin/sh", []string{"-c", "exec " + c.Peer}
		o.Env = append([]string{"BENCH_LISTEN=" + o.Listen, "BENCH_PROBE=" + probeSocket}, o.Env...)
	}
	if s.Server, err = harness.StartServer(o); err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		if ctx.Err() == nil {
			err = errors.Join(errors.New("the server did not start"), s.lastWords()) // the log itself goes
		}
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// pinned calls start on a thread that is on other CPUs than the rest, which the
// process inherits that it starts.
func pinned(start func() error, on, back *unix.CPUSet) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, on); err != nil {
		return fmt.Errorf("pin the server to its CPUs: %w", err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, back))
}

// freePorts are two for TCP and one for UDP, all on loopback. Nobody else is
// likely to take one before the server does.
func freePorts() (ports [3]string, err error) {
	var l [2]net.Listener
	for i := range l {
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // it does not wait
			return ports, err
		}
		ports[i] = l[i].Addr().String()
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return ports, err
	}
	ports[2] = c.LocalAddr().String()
	return ports, errors.Join(l[0].Close(), l[1].Close(), c.Close())
}

// lastWords are the end of the server's log, as an error; the log goes with the
// temporary folder.
func (s *server) lastWords() error {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	return fmt.Errorf("the server's last words:\n%s", b[max(0, len(b)-2000):])
}

// cpu is how much CPU time the server has used.
func (s *server) cpu() (time.Duration, error) {
	used, err := harness.CPUTime(s.PID())
	if err != nil {
		return 0, fmt.Errorf("the server's CPU time: %w", err)
	}
	return used, nil
}

// rss is the server's resident memory in MB.
func (s *server) rss() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, fmt.Errorf("the server has ended: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("/proc/PID/status has no VmRSS")
}

// goroutines is how many the server has, 0 for a peer.
func (s *server) goroutines(ctx context.Context) (int, error) {
	if s.admin == "" {
		return 0, nil
	}
	var b bytes.Buffer
	if err := s.operators().Download(ctx, "/metrics", &b); err != nil {
		return 0, fmt.Errorf("ask for the server's metrics: %w", err)
	}
	for lines := bufio.NewScanner(&b); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, errors.New("the server's metrics have no go_goroutines")
}

// profile takes a CPU profile.
func (s *server) profile(ctx context.Context, seconds int) (*profile.Profile, error) {
	var b bytes.Buffer
	if err := s.operators().Download(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), &b); err != nil {
		return nil, fmt.Errorf("take a CPU profile: %w", err)
	}
	return profile.Parse(&b)
}

// operators is the server as those see it who run it.
func (s *server) operators() *harness.Server {
	other := *s.Server
	other.Client.URL = "http://" + s.admin
	return &other
}
