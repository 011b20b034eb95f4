package netem

import (
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
