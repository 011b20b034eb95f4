//go:build linux

package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
)

const (
	// settleRest is how long is waited after a window for what was due in it,
	// besides the SLO: the probe writes every 50 ms.
	settleRest = 200 * time.Millisecond
	// profileFor is how much of a window is profiled at most.
	profileFor = 30 * time.Second
	// A window of more than soakFrom is looked at every soakEvery.
	soakFrom  = 2 * time.Minute
	soakEvery = time.Minute
	// leaveWithin is how long participants have to leave.
	leaveWithin = time.Minute
)

// Run measures, and prints what came of it, also of a part after ctx has ended.
// It is an error if not even the first step held.
func Run(ctx context.Context, c Config) (err error) {
	all, err := prepare(&c)
	if err != nil {
		return err
	}
	serverCPUs, err := cpus("--server-cpus", c.ServerCPUs)
	if err != nil {
		return err
	}
	loadCPUs, err := cpus("--load-cpus", c.LoadCPUs)
	if err != nil {
		return err
	}
	if err := enoughFiles(cmp.Or(c.Streams, c.Max)); err != nil {
		return err
	}
	if shared(&serverCPUs, &loadCPUs) {
		fmt.Fprintln(os.Stderr, "Server and load share a CPU: what is measured is both of them.")
	}
	if err := pin(&loadCPUs); err != nil {
		return err
	}
	b := &bench{cfg: &c, report: newReport(&c, &serverCPUs, &loadCPUs)}
	merr := b.run(ctx, all, &serverCPUs, &loadCPUs)
	switch stopped := ctx.Err() != nil; {
	case len(b.report.Steps) == 0 && stopped:
		return errors.New("stopped before anything was measured")
	case len(b.report.Steps) == 0:
		return merr
	case stopped:
		fmt.Fprintln(os.Stderr, "Stopped. This was measured until then:")
	}
	return errors.Join(merr, b.report.write(&c))
}

// prepare checks c, fills in what is not given, and reads what is to be sent.
func prepare(c *Config) ([]*rotation, error) {
	p, ok := profiles[c.Profile]
	if !ok {
		return nil, fmt.Errorf("there is no profile %q: browser, default and meeting are there", c.Profile)
	}
	c.Start, c.Step, c.Max = cmp.Or(c.Start, p.start), cmp.Or(c.Step, p.step), cmp.Or(c.Max, p.max)
	if c.Streams < 0 || c.Start < 1 || c.Step < 1 || c.RoomSize < 1 || c.JoinParallel < 1 || c.Joins < 0 || c.Window < time.Second || c.Settle < time.Second {
		return nil, errors.New("--start, --step, --max, --room-size and --join-parallel are positive numbers, --streams and --joins are not negative, and --window and --settle are at least 1s")
	}
	for _, file := range []string{c.JSON, c.SVG} { // not when it has been measured for an hour
		if file == "" {
			continue
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return rotations(c)
}

// bench is one run.
type bench struct {
	cfg    *Config
	server *server
	load   *load
	report *report
	empty  float64 // the server's RSS before anyone had joined, MB
}

// run has a server and participants for as long as the ramp goes on.
func (b *bench) run(ctx context.Context, all []*rotation, serverCPUs, loadCPUs *unix.CPUSet) (err error) {
	dir, err := os.MkdirTemp("", "verbatim-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, "probe.sock"))
	if err != nil {
		return err
	}
	var listening errgroup.Group
	defer func() { err = errors.Join(err, l.Close(), listening.Wait()) }()
	if b.server, err = startServer(ctx, b.cfg, dir, serverCPUs, loadCPUs); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.Stop()) }()
	b.load = newLoad(context.WithoutCancel(ctx), b.cfg, b.server.Client.URL, all)
	listening.Go(func() error { return b.load.listen(l) })
	if b.empty, err = b.server.rss(); err != nil {
		return err
	}
	err = b.ramp(ctx)
	lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	missing, lerr := b.load.leave(lctx)
	b.report.tail(missing)
	if err = errors.Join(err, lerr); err != nil && ctx.Err() == nil {
		err = errors.Join(err, b.server.lastWords())
	}
	return err
}

// ramp adds participants until a step does not hold.
func (b *bench) ramp(ctx context.Context) error {
	n, last := b.cfg.Start, b.cfg.Max
	if b.cfg.Streams > 0 {
		n, last = b.cfg.Streams, b.cfg.Streams
	}
	for ; n <= last; n += b.cfg.Step {
		s, err := b.step(ctx, n)
		if err != nil {
			return err
		}
		b.report.Steps = append(b.report.Steps, s)
		harness.Progress("%s", s.line())
		if s.Why != "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// step measures with n participants.
func (b *bench) step(ctx context.Context, n int) (s Step, err error) {
	s.Streams = n
	transient("%d streams: joining", n)
	if s.JoinsPerSecond, err = b.load.grow(ctx, n); err != nil {
		if ctx.Err() == nil {
			s.Why, err = err.Error(), nil
		}
		return s, err
	}
	if err := harness.Sleep(ctx, b.cfg.Settle); err != nil {
		return s, err
	}
	transient("%d streams: measuring for %v", n, b.cfg.Window)
	begun := time.Now()
	before, err := b.server.cpu()
	if err != nil {
		return s, err
	}
	b.load.measure(b.cfg.Window)
	var profiling errgroup.Group
	if b.server.admin != "" && !b.cfg.NoProfile {
		profiling.Go(func() error {
			p, err := b.server.profile(ctx, int(min(b.cfg.Window, profileFor)/time.Second))
			if err == nil {
				s.Split = split(p)
			}
			return err
		})
	}
	err = b.wait(ctx, begun.Add(b.cfg.Window), &s)
	if ctx.Err() != nil && len(s.Soak) > 0 { // what there is of a soak counts
		err, ctx = nil, context.WithoutCancel(ctx)
		b.load.cut()
	}
	after, cerr := b.server.cpu()
	took := time.Since(begun)
	if perr := profiling.Wait(); err == nil {
		err = errors.Join(perr, cerr)
	}
	if err != nil {
		return s, err
	}
	if err := harness.Sleep(ctx, b.cfg.SLO+settleRest); err != nil {
		return s, err
	}
	s.CPUPercent = 100 * float64(after-before) / float64(took)
	s.CPUMS = float64(after-before) / float64(time.Millisecond) / (float64(n) * took.Seconds())
	return s, b.results(ctx, &s)
}

// results completes a step with what there is after its window.
func (b *bench) results(ctx context.Context, s *Step) (err error) {
	w := b.load.measured()
	s.Delay = quantiles{ms(w.delay.quantile(0.5)), ms(w.delay.quantile(0.99)), ms(w.delay.max)}
	s.LateMS = ms(w.late.quantile(0.99))
	if s.RSS, err = b.server.rss(); err != nil {
		return err
	}
	s.RSSPerStream = (s.RSS - b.empty) / float64(s.Streams)
	if s.Goroutines, err = b.server.goroutines(ctx); err != nil {
		return err
	}
	lost, lerr := b.load.lost()
	s.Lost = lost
	slo := ms(b.cfg.SLO)
	switch {
	case lerr != nil:
		s.Why = lerr.Error()
	case w.delay.n == 0:
		s.Why = "nothing came to the recognizer"
	case s.Delay.P99 > slo && s.LateMS > slo/2:
		s.Why = fmt.Sprintf("p99 is above %v, and the load itself was late: its CPUs (--load-cpus) were the limit, not the server", b.cfg.SLO)
	case s.Delay.P99 > slo:
		s.Why = fmt.Sprintf("p99 is above %v", b.cfg.SLO)
	}
	return nil
}

// wait is over at that time; in a soak it looks at the server every minute.
func (b *bench) wait(ctx context.Context, until time.Time, s *Step) error {
	if b.cfg.Window <= soakFrom {
		return harness.Sleep(ctx, time.Until(until))
	}
	begun := time.Now()
	for time.Until(until) > 0 {
		if err := harness.Sleep(ctx, min(soakEvery, time.Until(until))); err != nil {
			return err
		}
		rss, err := b.server.rss()
		if err != nil {
			return err
		}
		recent := b.load.look()
		m := Minute{Minutes: time.Since(begun).Minutes(), RSS: rss, P99: ms(recent.quantile(0.99))}
		if m.Goroutines, err = b.server.goroutines(ctx); err != nil {
			return err
		}
		lost, _ := b.load.lost()
		s.Soak = append(s.Soak, m)
		harness.Progress("%d streams, %.0f min: RSS %.1f MB, %d goroutines, p99 %.1f ms, %d lost", s.Streams, m.Minutes, m.RSS, m.Goroutines, m.P99, lost)
	}
	return nil
}

// transient says what is going on, where it is written over later.
func transient(format string, args ...any) {
	if harness.OnTerminal() {
		harness.Progress(format, args...)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
