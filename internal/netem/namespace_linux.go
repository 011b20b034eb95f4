package netem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name: it is gone when the last
// process in it is.
type Namespace struct {
	calls chan func()
	done  chan struct{}
}

// NewNamespace makes one, with a thread in it. It needs root.
func NewNamespace() (*Namespace, error) {
	n := &Namespace{calls: make(chan func()), done: make(chan struct{})}
	failed := make(chan error)
	go n.run(failed)
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return n, nil
}

func (n *Namespace) run(failed chan<- error) {
	runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
	defer close(n.done)
	err := unix.Unshare(unix.CLONE_NEWNET)
	failed <- err
	if err != nil {
		return
	}
	for f := range n.calls {
		f()
	}
}

// Do calls f inside. A socket that it opens, and a process that it starts,
// stays inside; what other goroutines do on its behalf does not happen there.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error)
	n.calls <- func() { result <- f() }
	return <-result
}

// Close ends the thread. Processes that were started with Pdeathsig die with it.
func (n *Namespace) Close() {
	close(n.calls)
	<-n.done
}

// Link connects the namespace with the calling thread's, where the interface is
// called name; both ends have an address of one /24, and all that the namespace
// does not know goes to here.
func (n *Namespace) Link(ctx context.Context, name, here, there string) error {
	thread := 0
	if err := n.Do(func() error { thread = unix.Gettid(); return nil }); err != nil {
		return err
	}
	in := fmt.Sprintf("link add %s type veth peer name net0\nlink set net0 netns %d\naddress add %s/24 dev %s\nlink set %s up\n", name, thread, here, name, name)
	if err := Command(ctx, in, "ip", "-batch", "-"); err != nil {
		return err
	}
	in = fmt.Sprintf("link set lo up\naddress add %s/24 dev net0\nlink set net0 up\nroute add default via %s\n", there, here)
	return n.Do(func() error { return Command(ctx, in, "ip", "-batch", "-") })
}

// Hub makes the calling thread's namespace pass packets on between others that
// are linked with it.
func Hub(ctx context.Context) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return fmt.Errorf("forward packets: %w", err)
	}
	return Command(ctx, "", "ip", "link", "set", "lo", "up")
}

// Command runs a program with that standard input; what it printed stands in the
// error.
func Command(ctx context.Context, in, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out), context.Cause(ctx))
	}
	return nil
}

// OpenTUN makes a TUN device in the namespace of the calling thread, which goes
// away when it is closed, and gives it addresses.
func OpenTUN(name string, addresses []string) (_ *os.File, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make the device %s: %w", name, err), unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), name)
	var script strings.Builder
	fmt.Fprintf(&script, "link set dev lo up\nlink set dev %s mtu %d up\n", name, mtu)
	for _, a := range addresses {
		fmt.Fprintf(&script, "address add %s dev %s\n", a, name)
	}
	ip := exec.Command("ip", "-batch", "-") //nolint:noctx // it ends at once
	ip.Stdin = strings.NewReader(script.String())
	if out, err := ip.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("ip -batch: %w: %s", err, out), f.Close())
	}
	return f, nil
}
