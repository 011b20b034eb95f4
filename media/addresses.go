package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pion/ice/v4"
	"github.com/pion/sdp/v3"
)

// PublicIP is an address at which this machine is reached from outside, though
// none of its interfaces has it (1:1 NAT): all ports must come through as they
// are.
type PublicIP struct {
	Public netip.Addr
	// Local is the address that it leads to; the zero value for any.
	Local netip.Addr
}

func (p PublicIP) String() string {
	if p.Local.IsValid() {
		return p.Local.String() + "/" + p.Public.String()
	}
	return p.Public.String()
}

// ParsePublicIP reads PUBLIC or LOCAL/PUBLIC.
func ParsePublicIP(text string) (p PublicIP, err error) {
	local, public, both := strings.Cut(text, "/")
	if !both {
		local, public = "", text
	}
	if p.Public, err = netip.ParseAddr(public); err != nil || !oneHost(public) {
		return PublicIP{}, fmt.Errorf("%q is not the address of one host", public)
	}
	if both {
		if p.Local, err = netip.ParseAddr(local); err != nil {
			return PublicIP{}, fmt.Errorf("%q is not an IP address", local)
		}
	}
	p.Public, p.Local = p.Public.Unmap(), p.Local.Unmap()
	if both && p.Local.Is4() != p.Public.Is4() {
		return PublicIP{}, errors.New("both addresses must be of IPv4, or both of IPv6")
	}
	return p, nil
}

// address is where clients are told that a socket of ours is.
type address struct{ shown, socket netip.AddrPort }

// addresses are what clients are told of our sockets. Without public addresses
// that is where they are. With some, it is those; beside them nothing that makes
// sense on this side of a NAT only, unless a public address says so. vain are the
// public addresses that lead to none of the sockets.
func addresses(sockets []netip.AddrPort, public []PublicIP) (all []address, vain []PublicIP) {
	for _, p := range public {
		ours := func(s netip.AddrPort) bool {
			return s.Addr() == p.Local || !p.Local.IsValid() && s.Addr().Is4() == p.Public.Is4()
		}
		i := slices.IndexFunc(sockets, func(s netip.AddrPort) bool {
			return ours(s) && !s.Addr().IsLoopback() && !s.Addr().IsLinkLocalUnicast()
		})
		if i < 0 {
			i = slices.IndexFunc(sockets, ours)
		}
		if i < 0 {
			vain = append(vain, p)
			continue
		}
		all = append(all, address{netip.AddrPortFrom(p.Public, sockets[i].Port()), sockets[i]})
	}
	for _, s := range sockets {
		a := s.Addr()
		inside := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
		replaced := slices.ContainsFunc(public, func(p PublicIP) bool { return p.Public.Is4() == a.Is4() })
		switch {
		case a.Is6() && a.IsLinkLocalUnicast(): // RFC 8445, 5.1.1.1
		case len(public) > 0 && (inside || replaced):
		default:
			all = append(all, address{s, s})
		}
	}
	return all, vain
}

// candidates are our lines about addresses in an answer.
func candidates(udp, tcp []address) (lines []sdp.Attribute, err error) {
	for _, a := range udp {
		lines, err = appendCandidate(lines, &ice.CandidateHostConfig{Network: "udp", Address: a.shown.Addr().String(), Port: int(a.shown.Port())})
		if err != nil {
			return nil, err
		}
	}
	for _, a := range tcp {
		lines, err = appendCandidate(lines, &ice.CandidateHostConfig{
			Network: "tcp", Address: a.shown.Addr().String(), Port: int(a.shown.Port()), TCPType: ice.TCPTypePassive,
		})
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func appendCandidate(lines []sdp.Attribute, c *ice.CandidateHostConfig) ([]sdp.Attribute, error) {
	c.Component = ice.ComponentRTP
	host, err := ice.NewCandidateHost(c)
	if err != nil {
		return nil, fmt.Errorf("make a candidate of %s: %w", c.Address, err)
	}
	return append(lines, sdp.NewAttribute("candidate", host.Marshal())), nil
}

// show puts our candidates in place of those that pion knows, which are the
// sockets.
func (e *Engine) show(m *sdp.MediaDescription) {
	i := slices.IndexFunc(m.Attributes, func(a sdp.Attribute) bool { return a.Key == "candidate" })
	if i < 0 {
		return // it is being closed
	}
	before, rest := m.Attributes[:i:i], without(m.Attributes[i:], "candidate")
	m.Attributes = slices.Concat(before, e.candidates, rest)
}

// Peers are the addresses that clients are told of for UDP, and the local
// address of the socket that each is for: all that a relay for our clients has to
// reach.
func (e *Engine) Peers() map[netip.AddrPort]netip.AddrPort {
	peers := map[netip.AddrPort]netip.AddrPort{}
	for _, a := range e.udp {
		peers[a.shown] = a.socket
	}
	return peers
}
