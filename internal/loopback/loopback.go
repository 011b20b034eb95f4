// Package loopback tells this machine's own name from those of others.
package loopback

import (
	"net"
	"strings"
)

// Name reports whether the host of a URL or the Host of a request is this machine's own
// name: localhost or a loopback address, with or without a port.
func Name(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
