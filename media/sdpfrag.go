package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/ice/v4"
	"github.com/pion/sdp/v3"
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ErrMalformedFragment is a body that is no SDP fragment of use to us.
var ErrMalformedFragment = errors.New("not an SDP fragment with ICE credentials or candidates")

// Fragment is what a client says about its ICE after the offer (RFC 8840, 9):
// candidates that it found since, or the credentials of a restart. Make it with
// ParseFragment.
type Fragment struct {
	sections []section // the first is what stands before any m= line
}

// section is what a fragment says under one m= line.
type section struct {
	mid        string
	ufrag, pwd string
	candidates []string // values of a=candidate
	end        bool     // a=end-of-candidates
}

// ParseFragment reads an application/trickle-ice-sdpfrag body. Lines and
// attributes that are not about ICE are passed over, as SDP wants it (RFC 8866,
// 5).
func ParseFragment(text string) (Fragment, error) {
	f := Fragment{sections: make([]section, 1)}
	useful := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
			return Fragment{}, fmt.Errorf("%w: %.40q is not a line of SDP", ErrMalformedFragment, line)
		}
		if line[0] == 'm' {
			f.sections = append(f.sections, section{})
			continue
		}
		if line[0] != 'a' {
			continue
		}
		s := &f.sections[len(f.sections)-1]
		key, value, _ := strings.Cut(line[2:], ":")
		switch key {
		case "mid":
			s.mid = value
			continue
		case "ice-ufrag":
			s.ufrag = value
		case "ice-pwd":
			s.pwd = value
		case "candidate":
			if _, err := usable(value); err != nil {
				return Fragment{}, fmt.Errorf("%w: %w", ErrMalformedFragment, err)
			}
			s.candidates = append(s.candidates, value)
		case "end-of-candidates":
			s.end = true
		default:
			continue
		}
		useful = true
	}
	if !useful {
		return Fragment{}, fmt.Errorf("%w: it says nothing about ICE", ErrMalformedFragment)
	}
	for _, s := range f.sections {
		if err := s.checkCredentials(); err != nil {
			return Fragment{}, err
		}
	}
	return f, nil
}

// checkCredentials holds them to their form.
func (s *section) checkCredentials() error {
	if s.pwd != "" && s.ufrag == "" {
		return fmt.Errorf("%w: it has an ice-pwd without an ice-ufrag", ErrMalformedFragment)
	}
	for key, value := range map[string]string{"ice-ufrag": s.ufrag, "ice-pwd": s.pwd} {
		if err := checkCredential(key, value); value != "" && err != nil {
			return fmt.Errorf("%w: %w", ErrMalformedFragment, err)
		}
	}
	return nil
}

// checkCredential holds the value of an attribute to RFC 8839, 5.4, if it is a
// credential of ICE: what we put into STUN messages, to wherever a client says, is then
// of a bounded size and nobody else's protocol.
func checkCredential(key, value string) error {
	least := map[string]int{"ice-ufrag": 4, "ice-pwd": 22}[key]
	if least > 0 && !iceChars(value, least) {
		return fmt.Errorf("an %s is %d to 256 letters, digits, + and /", key, least)
	}
	return nil
}

func iceChars(s string, least int) bool {
	return len(s) >= least && len(s) <= 256 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/'
	}) < 0
}

// about is what the fragment says about the media section with that mid, and
// how many candidates it has for others. Everything stands before the first m=
// line or in the section with the mid; a section without a mid, which only some
// clients send, can only mean the one that there is.
func (f Fragment) about(mid string) (s section, foreign int) {
	s = f.sections[0]
	for _, o := range f.sections[1:] {
		if o.mid != mid && o.mid != "" {
			foreign += len(o.candidates)
			continue
		}
		if o.ufrag != "" {
			s.ufrag, s.pwd = o.ufrag, o.pwd
		}
		s.candidates = append(s.candidates[:len(s.candidates):len(s.candidates)], o.candidates...)
		s.end = s.end || o.end
	}
	return s, foreign
}

// usable tells whether we take a candidate: one for UDP, for RTP (RTCP shares
// its port), with the address of one host. Names are never resolved, since
// anybody could make us look up any name; RFC 9725, 4.3.2, has what cannot be
// resolved ignored. The error is about what is no candidate at all.
func usable(candidate string) (bool, error) {
	f := strings.Fields(candidate)
	if len(f) < 8 || f[6] != "typ" {
		return false, fmt.Errorf("%.60q is not a candidate", candidate)
	}
	component, err := strconv.ParseUint(f[1], 10, 16)
	if err != nil {
		return false, fmt.Errorf("the component of candidate %.60q is no number", candidate)
	}
	if _, err := strconv.ParseUint(f[3], 10, 32); err != nil {
		return false, fmt.Errorf("the priority of candidate %.60q is no number", candidate)
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil {
		return false, fmt.Errorf("the port of candidate %.60q is no number", candidate)
	}
	if component != 1 || port == 0 || !strings.EqualFold(f[2], "udp") {
		return false, nil
	}
	_, err = ice.UnmarshalCandidate(candidate)
	return err == nil && oneHost(f[4]), nil
}

// oneHost tells whether text is the address of one host.
func oneHost(text string) bool {
	addr, err := netip.ParseAddr(text)
	addr = addr.Unmap()
	return err == nil && addr.Zone() == "" && !addr.IsUnspecified() && !addr.IsMulticast() && addr != broadcast
}

// normalize takes from an offer the candidates that are of no use to us, and
// puts in what pion needs: a name for the one media section, and a BUNDLE group
// of it. It refuses clients that want to be the DTLS server, which we are (RFC
// 9725, 4.4.4).
func (o *Offer) normalize(d *sdp.SessionDescription) error {
	m := d.MediaDescriptions[0]
	setup, ok := m.Attribute("setup")
	if !ok {
		setup, ok = d.Attribute("setup")
	}
	if ok && setup != "actpass" && setup != "active" {
		return fmt.Errorf("its a=setup is %.20q, not actpass or active", setup)
	}
	for _, attrs := range []*[]sdp.Attribute{&d.Attributes, &m.Attributes} {
		var kept []sdp.Attribute
		for _, a := range *attrs {
			if a.Key == "candidate" {
				ok, err := usable(a.Value)
				if err != nil {
					return err
				}
				if !ok || o.room == 0 {
					o.ignored++
					continue
				}
				o.room--
			}
			kept = append(kept, a)
		}
		*attrs = kept
	}
	mid, _ := m.Attribute("mid")
	if mid == "" {
		mid = "0"
		o.added = append(o.added, "mid")
		m.Attributes = append(without(m.Attributes, "mid"), sdp.NewAttribute("mid", mid))
	}
	if group, _ := d.Attribute("group"); !slices.Contains(strings.Fields(group), mid) {
		o.added = append(o.added, "group")
		d.Attributes = append(without(d.Attributes, "group"), sdp.NewAttribute("group", "BUNDLE "+mid))
	}
	return nil
}

// without is a list of attributes less those with these keys.
func without(attrs []sdp.Attribute, keys ...string) (kept []sdp.Attribute) {
	for _, a := range attrs {
		if !slices.Contains(keys, a.Key) {
			kept = append(kept, a)
		}
	}
	return kept
}
