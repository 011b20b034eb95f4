//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"verbatim/internal/netem"
)

const (
	clientIP = "192.168.7.2"
	serverIP = "10.0.0.5"
	publicIP = "203.0.113.5" // of the server
)

// network is the two namespaces at the ends; this one is between them.
type network struct{ client, server *netem.Namespace }

func newNetwork(ctx context.Context) (n *network, err error) {
	n = &network{}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return nil, fmt.Errorf("forward packets: %w", err)
	}
	if err := command(ctx, nil, "ip", "link", "set", "lo", "up"); err != nil {
		return nil, err
	}
	if n.client, err = netem.NewNamespace(); err != nil {
		return nil, err
	}
	if n.server, err = netem.NewNamespace(); err != nil {
		return nil, err
	}
	if err := join(ctx, n.client, "client", "192.168.7.1", clientIP); err != nil {
		return nil, err
	}
	return n, join(ctx, n.server, "server", "10.0.0.1", serverIP)
}

func (n *network) close() {
	for _, ns := range []*netem.Namespace{n.client, n.server} {
		if ns != nil {
			ns.Close()
		}
	}
}

// join connects a namespace with this one, by an interface of that name here.
func join(ctx context.Context, ns *netem.Namespace, name, here, there string) error {
	thread := 0
	if err := ns.Do(func() error { thread = unix.Gettid(); return nil }); err != nil {
		return err
	}
	in := fmt.Sprintf("link add %s type veth peer name net0\nlink set net0 netns %d\naddress add %s/24 dev %s\nlink set %s up\n", name, thread, here, name, name)
	if err := command(ctx, strings.NewReader(in), "ip", "-batch", "-"); err != nil {
		return err
	}
	in = fmt.Sprintf("link set lo up\naddress add %s/24 dev net0\nlink set net0 up\nroute add default via %s\n", there, here)
	return ns.Do(func() error { return command(ctx, strings.NewReader(in), "ip", "-batch", "-") })
}

// nat is the client's NAT and the server's. Neither end reaches the other by its
// private address.
const nat = `
table ip reach {
	chain inside {
		type filter hook prerouting priority raw
		iifname "client" ip daddr != { 203.0.113.5, 192.168.7.1 } drop
		iifname "server" ip daddr 192.168.7.0/24 drop
	}
	chain in {
		type nat hook prerouting priority dstnat
		iifname "client" ip daddr 203.0.113.5 dnat to 10.0.0.5
	}
	chain out {
		type nat hook postrouting priority srcnat
		oifname "server" ip saddr 192.168.7.0/24 snat to 198.51.100.1
		oifname "client" ip saddr 10.0.0.5 snat to 203.0.113.5
	}
	chain firewall {
		type filter hook forward priority filter
		%s
	}
}
`

// filter lets through what the rules do not drop; it begins anew each time.
func (n *network) filter(ctx context.Context, rules string) error {
	return command(ctx, strings.NewReader("flush ruleset\n"+fmt.Sprintf(nat, rules)), "nft", "-f", "-")
}

func command(ctx context.Context, in *strings.Reader, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	if in != nil {
		cmd.Stdin = in
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out), context.Cause(ctx))
	}
	return nil
}
