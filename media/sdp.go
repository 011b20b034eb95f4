package media

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// The ways in which an offer can be of no use to us. OfferError tells which.
var (
	// ErrMalformedOffer is an offer that is not SDP, or lacks what WebRTC needs.
	ErrMalformedOffer = errors.New("the offer is not a WebRTC session description")
	// ErrNotSending is an offer whose audio does not go from the client to us.
	ErrNotSending = errors.New("the offer does not send audio")
	// ErrUnsupportedMedia is an offer with media that we do not take.
	ErrUnsupportedMedia = errors.New("the offer is not for exactly one audio track")
	// ErrNoCodec is an offer without a codec that we decode.
	ErrNoCodec = errors.New("the offer has no Opus")
)

// tuning is what we ask senders for, instead of what they would send by
// default: speech as recognizers hear it (wideband, mono), nothing during
// silence, and three times fewer packets. Below 24 kb/s Opus falls to
// mediumband under loss (measured in Chromium 156 and Firefox 153).
const (
	tunedFmtp  = "minptime=10;useinbandfec=0;usedtx=1;maxplaybackrate=16000;maxaveragebitrate=24000;stereo=0"
	tunedPtime = "60"
)

// Offer is a client's offer that we can answer; make it with ParseOffer.
type Offer struct {
	sdp string
	// room is how many candidates more the client may name, ignored how many of
	// its own are of no use.
	room, ignored int
	added         []string // attributes that it lacked, and that no answer may have
}

// ParseOffer checks an SDP offer as WHIP clients send it (RFC 9725, 4.2): it
// must send exactly one audio track in Opus and nothing else.
func ParseOffer(text string) (Offer, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return Offer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	if len(d.MediaDescriptions) == 0 {
		return Offer{}, fmt.Errorf("%w: it has no media", ErrUnsupportedMedia)
	}
	if n := len(d.MediaDescriptions); n > 1 {
		return Offer{}, fmt.Errorf("%w: it has %d media sections", ErrUnsupportedMedia, n)
	}
	m := d.MediaDescriptions[0]
	if m.MediaName.Media != "audio" {
		return Offer{}, fmt.Errorf("%w: it has %.20q", ErrUnsupportedMedia, m.MediaName.Media)
	}
	if tracks := senders(m); tracks > 1 {
		return Offer{}, fmt.Errorf("%w: its audio section has %d tracks", ErrUnsupportedMedia, tracks)
	}
	for _, key := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		_, inMedia := m.Attribute(key)
		_, inSession := d.Attribute(key)
		if !inMedia && !inSession {
			return Offer{}, fmt.Errorf("%w: it has no a=%s", ErrMalformedOffer, key)
		}
	}
	for _, dir := range []string{"recvonly", "inactive"} {
		_, inMedia := m.Attribute(dir)
		_, inSession := d.Attribute(dir)
		if inMedia || inSession {
			return Offer{}, fmt.Errorf("%w: it is %s", ErrNotSending, dir)
		}
	}
	if m.MediaName.Port.Value == 0 {
		return Offer{}, fmt.Errorf("%w: its port is 0", ErrNotSending)
	}
	if !slices.ContainsFunc(m.Attributes, isOpus) {
		return Offer{}, ErrNoCodec
	}
	// A new SSRC on a section that declares its SSRCs never reaches us; on one
	// that declares none it does (pion's handling of undeclared SSRCs).
	m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool {
		return a.Key == "ssrc" || a.Key == "ssrc-group"
	})
	o := Offer{room: maxCandidates}
	if err := o.normalize(&d); err != nil {
		return Offer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	clean, err := d.Marshal()
	if err != nil {
		return Offer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	o.sdp = string(clean)
	return o, nil
}

// senders counts the tracks of one media section by their msid.
func senders(m *sdp.MediaDescription) int {
	var ids []string
	for _, a := range m.Attributes {
		if a.Key == "msid" && !slices.Contains(ids, a.Value) {
			ids = append(ids, a.Value)
		}
	}
	return len(ids)
}

func isOpus(a sdp.Attribute) bool {
	_, codec, ok := strings.Cut(a.Value, " ")
	return a.Key == "rtpmap" && ok && strings.EqualFold(codec, "opus/48000/2")
}

// tuneAnswer rewrites the answer that pion made. pion echoes the format
// parameters of the offer, whatever was registered (Firefox then sends 64 kb/s
// of stereo), repeats each candidate for RTCP, which shares the port, and does
// not say that it must (RFC 8858).
func tuneAnswer(text string) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return "", fmt.Errorf("read our own answer: %w", err)
	}
	if len(d.MediaDescriptions) != 1 || d.MediaDescriptions[0].MediaName.Port.Value == 0 {
		return "", ErrNoCodec
	}
	m := d.MediaDescriptions[0]
	var attrs []sdp.Attribute
	for _, a := range m.Attributes {
		switch {
		case a.Key == "fmtp", a.Key == "ptime":
			continue
		case a.Key == "candidate" && component(a.Value) != 1:
			continue
		}
		attrs = append(attrs, a)
		switch {
		case isOpus(a):
			pt, _, _ := strings.Cut(a.Value, " ")
			attrs = append(attrs,
				sdp.NewAttribute("fmtp", pt+" "+tunedFmtp),
				sdp.NewAttribute("ptime", tunedPtime))
		case a.Key == "rtcp-mux":
			attrs = append(attrs, sdp.NewPropertyAttribute("rtcp-mux-only"))
		}
	}
	m.Attributes = attrs
	b, err := d.Marshal()
	if err != nil {
		return "", fmt.Errorf("write our own answer: %w", err)
	}
	return string(b), nil
}

// component is the component id of a candidate attribute (RFC 8839, 5.1).
func component(candidate string) int {
	f := strings.Fields(candidate)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}
