package signaling

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded believes what trusted proxies say of the client before them, and
// makes the request look as if it had come without them: RemoteAddr, Host and
// secure are then about the client. Nobody else is
// believed. The header Forwarded (RFC 7239) is not read: most proxies hand on
// what a client wrote there.
func (s *Server) forwarded(next http.Handler) http.Handler {
	if len(s.cfg.TrustedProxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.trusted(clientIP(r)) {
			next.ServeHTTP(w, r)
			return
		}
		proto := strings.ToLower(last(r.Header.Values("X-Forwarded-Proto")))
		r = r.Clone(context.WithValue(r.Context(), overTLS{}, proto == "https"))
		if ip := s.farthest(clientIP(r), r.Header.Values("X-Forwarded-For")); ip.IsValid() {
			r.RemoteAddr = netip.AddrPortFrom(ip, 0).String()
		}
		if host := last(r.Header.Values("X-Forwarded-Host")); validHost(host) {
			r.Host = host
		}
		next.ServeHTTP(w, r)
	})
}

// overTLS is the key of a request's context under which it is noted whether the
// client calls its proxy by https.
type overTLS struct{}

// clientIP is the address that a request comes from, without a zone; the zero
// value if it has none. Behind trusted proxies it is the client's, not theirs.
func clientIP(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

func (s *Server) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// farthest is the first address, from the end of the list to its beginning, that
// is no trusted proxy's: each of them adds the one before it, and what stands
// further left is the client's own word. What is no address ends the list. So does a
// machine's own address before what is none: that machine is not this one, whose own
// address is not limited.
func (s *Server) farthest(from netip.Addr, values []string) (ip netip.Addr) {
	hops := strings.Split(strings.Join(values, ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, ok := parseHop(strings.TrimSpace(hop))
		if !ok || next.IsLoopback() && !from.IsLoopback() {
			return ip
		}
		if ip, from = next, next; !s.trusted(ip) {
			return ip
		}
	}
	return ip
}

// parseHop reads an address with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		ip = a.Addr()
	}
	return ip.Unmap().WithZone(""), true
}

// last is the last element of a list in header fields: the nearest proxy's.
func last(values []string) string {
	text := strings.Join(values, ",")
	return strings.TrimSpace(text[strings.LastIndexByte(text, ',')+1:])
}

// validHost tells whether text is a name or an address, with or without a port,
// that can stand in a URL.
func validHost(text string) bool {
	host, port := text, ""
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(port, func(c rune) bool { return c < '0' || c > '9' }) {
		return false
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.Zone() == ""
	}
	return !strings.ContainsFunc(host, func(c rune) bool {
		return c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// calledURL is how the client calls this server.
func calledURL(r *http.Request) string {
	if secure(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// secure tells whether the client came over TLS, to us or to a trusted proxy.
func secure(r *http.Request) bool {
	said, _ := r.Context().Value(overTLS{}).(bool)
	return said || r.TLS != nil
}
