//go:build linux

package main

import (
	"context"
	"fmt"

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
	if err := netem.Hub(ctx); err != nil {
		return nil, err
	}
	if n.client, err = netem.NewNamespace(); err != nil {
		return nil, err
	}
	if n.server, err = netem.NewNamespace(); err != nil {
		return nil, err
	}
	if err := n.client.Link(ctx, "client", "192.168.7.1", clientIP); err != nil {
		return nil, err
	}
	return n, n.server.Link(ctx, "server", "10.0.0.1", serverIP)
}

func (n *network) close() {
	for _, ns := range []*netem.Namespace{n.client, n.server} {
		if ns != nil {
			ns.Close()
		}
	}
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
	return netem.Command(ctx, "flush ruleset\n"+fmt.Sprintf(nat, rules), "nft", "-f", "-")
}
