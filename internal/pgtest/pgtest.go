// Package pgtest runs a PostgreSQL for tests: a cluster of its own in a temporary
// folder, reached by a socket there, which has nothing to do with the machine's own
// and is gone when the test is over. It needs Debian's package postgresql, so tests
// that use it have the build tag postgres (make test).
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	owner        = "nobody" // runs it if the tests are run by root, as whom it refuses to
	role         = "verbatim"
)

// Cluster is a PostgreSQL that runs. Its methods fail the test that started it.
type Cluster struct {
	t     testing.TB
	bin   string
	dir   string
	cred  *syscall.Credential // nil: the tests' own
	cmd   *exec.Cmd           // nil while it is stopped
	log   *os.File
	count atomic.Int64
}

// Start makes a cluster and starts it. It is stopped when the test is over.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	c.must(err)
	if len(bins) == 0 {
		t.Fatal("no PostgreSQL here: scripts/install-deps.sh test installs it")
	}
	c.bin = filepath.Dir(slices.Max(bins))
	// Not t.TempDir: the path of a socket has 107 bytes at most.
	c.dir, err = os.MkdirTemp("", "pgtest")
	c.must(err)
	t.Cleanup(func() { c.must(os.RemoveAll(c.dir)) })
	if os.Getuid() == 0 {
		u, err := user.Lookup(owner)
		c.must(err)
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		c.must(err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		c.must(err)
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		c.must(os.Chown(c.dir, int(uid), int(gid)))
	}
	c.log, err = os.Create(filepath.Join(c.dir, "log"))
	c.must(err)
	t.Cleanup(func() { c.must(c.log.Close()) })
	c.do("initdb", "-D", c.data(), "-U", role, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	c.Up()
	t.Cleanup(c.Down)
	return c
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "PGHOST=" + c.dir, "PGUSER=" + role}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	return cmd
}

// do runs one of PostgreSQL's programs to its end.
func (c *Cluster) do(name string, args ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if out, err := c.command(ctx, name, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Up starts it, if it is stopped, and waits until it answers.
func (c *Cluster) Up() {
	c.t.Helper()
	if c.cmd != nil {
		return
	}
	cmd := c.command(context.Background(), "postgres", "-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", //nolint:contextcheck // it outlives the call
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB")
	cmd.Stdout, cmd.Stderr = c.log, c.log
	c.must(cmd.Start())
	c.cmd = cmd
	for began := time.Now(); ; {
		ready := c.command(context.Background(), "pg_isready", "-q", "-d", "postgres")
		if ready.Run() == nil {
			return
		}
		if time.Since(began) > startTimeout {
			text, _ := os.ReadFile(c.log.Name()) // that it failed is said
			c.t.Fatalf("PostgreSQL does not start:\n%s", text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Down stops it as an operator does; who is connected is cut off.
func (c *Cluster) Down() { c.stop(syscall.SIGINT) }

// Crash ends it at once, as if the machine had lost power but kept its disk.
func (c *Cluster) Crash() { c.stop(syscall.SIGQUIT) }

func (c *Cluster) stop(s syscall.Signal) {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	cmd := c.cmd
	c.cmd = nil
	c.must(cmd.Process.Signal(s))
	late := time.AfterFunc(stopTimeout, func() { _ = cmd.Process.Kill() }) // Wait says what came of it
	defer late.Stop()
	_ = cmd.Wait() // after SIGQUIT its status is not 0
}

// Database makes a database, a copy of another if that is not "", and returns its
// name. Nobody may be connected to that.
func (c *Cluster) Database(like string) string {
	c.t.Helper()
	name := fmt.Sprintf("test%d", c.count.Add(1))
	if like == "" {
		like = "template0"
	}
	c.do("createdb", "-T", like, name)
	return name
}

// URL of a database. It has a password, which PostgreSQL does not ask for, so that
// tests see whether somebody tells it.
func (c *Cluster) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, Password), Path: "/" + database,
		RawQuery: url.Values{"host": {c.dir}}.Encode(),
	}
	return u.String()
}

// Password is in every URL.
const Password = "pgtest-secret"
