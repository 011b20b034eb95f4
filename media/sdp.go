package media

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"verbatim/media/audio"
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
	ErrNoCodec = errors.New("the offer has neither Opus nor G.711")
)

// tuning is what we ask senders for, instead of what they would send by
// default: speech as recognizers hear it (wideband, mono), nothing during
// silence, and three times fewer packets. Below 24 kb/s Opus falls to
// mediumband under loss (measured in Chromium 156 and Firefox 153).
const (
	tunedFmtp  = "minptime=10;useinbandfec=0;usedtx=1;maxplaybackrate=16000;maxaveragebitrate=24000;stereo=0"
	tunedPtime = "60"
)

// encoding is what the payloads of an RTP payload type are.
type encoding struct {
	name   string // as in SDP, with the clock rate and, for Opus and RED, the channels
	mime   string // as pion calls it
	number uint8  // payload type that pion has it registered under
	format audio.Format
	rate   int // clock rate in Hz
	red    bool
}

// encodings are all that we answer with, in the order of our liking. Those
// without a format carry nothing that we decode, but clients send them beside
// others: comfort noise (RFC 3389) and telephone events (RFC 4733) are known
// so that their packets count as time without audio. RED comes behind Opus,
// unless it is preferred: Chromium sends it only if it stands before.
var encodings = [...]encoding{
	{name: "opus/48000/2", mime: webrtc.MimeTypeOpus, number: 111, format: audio.FormatOpus, rate: 48000},
	{name: "red/48000/2", mime: "audio/red", number: 63, rate: 48000, red: true},
	{name: "PCMU/8000", mime: webrtc.MimeTypePCMU, number: 0, format: audio.FormatPCMU, rate: 8000},
	{name: "PCMA/8000", mime: webrtc.MimeTypePCMA, number: 8, format: audio.FormatPCMA, rate: 8000},
	{name: "CN/8000", mime: "audio/CN", number: 13, rate: 8000},
	{name: "telephone-event/48000", mime: "audio/telephone-event", number: 110, rate: 48000},
	{name: "telephone-event/8000", mime: "audio/telephone-event", number: 126, rate: 8000},
}

// payloadTypes are the encodings by the payload types of one session, nil for
// those that were not agreed on.
type payloadTypes [128]*encoding

// register tells pion of all encodings. Opus has no parameters here: with any
// that an offer contradicts, it would be left out of the answer as soon as
// another encoding matches better.
func register(m *webrtc.MediaEngine) error {
	for _, e := range encodings {
		c := webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: e.mime, ClockRate: uint32(e.rate)},
			PayloadType:        webrtc.PayloadType(e.number),
		}
		if strings.HasSuffix(e.name, "/2") {
			c.Channels = 2
		}
		if err := m.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
			return err
		}
	}
	return nil
}

// encodingsOf are the encodings that a media section names, by payload type.
func encodingsOf(m *sdp.MediaDescription) (pts payloadTypes) {
	names := map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "13": "CN/8000"} // RFC 3551, table 4
	for _, a := range m.Attributes {
		if pt, name, ok := strings.Cut(a.Value, " "); ok && a.Key == "rtpmap" {
			names[pt] = strings.TrimSuffix(strings.TrimSpace(name), "/1") // RFC 8866, 6.6: may be left out
		}
	}
	for _, f := range m.MediaName.Formats {
		n, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(encodings[:], func(e encoding) bool { return strings.EqualFold(e.name, names[f]) })
		if i >= 0 {
			pts[n] = &encodings[i]
		}
	}
	return pts
}

func (p *payloadTypes) audible() bool {
	return slices.ContainsFunc(p[:], func(e *encoding) bool { return e != nil && e.format != audio.FormatNone })
}

// Offer is a client's offer that we can answer; make it with ParseOffer.
type Offer struct {
	sdp string
	// room is how many candidates more the client may name, ignored how many of
	// its own are of no use.
	room, ignored int
	added         []string // attributes that it lacked, and that no answer may have
}

// ParseOffer checks an SDP offer as WHIP clients send it (RFC 9725, 4.2): it
// must send exactly one audio track in Opus or G.711 and nothing else.
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
	for _, a := range slices.Concat(d.Attributes, m.Attributes) {
		if err := checkCredential(a.Key, a.Value); err != nil {
			return Offer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
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
	if pts := encodingsOf(m); !pts.audible() {
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

// senders counts the tracks of one media section by their msid. There may be thousands.
func senders(m *sdp.MediaDescription) int {
	ids := map[string]bool{}
	for _, a := range m.Attributes {
		if a.Key == "msid" {
			ids[a.Value] = true
		}
	}
	return len(ids)
}

// tuneAnswer rewrites the answer that pion made, and says what its payload types
// mean. pion echoes the format parameters of the offer, whatever was registered
// (Firefox then sends 64 kb/s of stereo), repeats each candidate for RTCP, which
// shares the port, and does not say that it must (RFC 8858). The order of the
// formats is ours: a sender takes the first.
func tuneAnswer(text string, preferRED bool) (string, payloadTypes, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return "", payloadTypes{}, fmt.Errorf("read our own answer: %w", err)
	}
	if len(d.MediaDescriptions) != 1 || d.MediaDescriptions[0].MediaName.Port.Value == 0 {
		return "", payloadTypes{}, ErrNoCodec
	}
	m := d.MediaDescriptions[0]
	pts := encodingsOf(m)
	if !pts.audible() {
		return "", payloadTypes{}, ErrNoCodec
	}
	m.MediaName.Formats = nil
	var attrs []sdp.Attribute
	for _, a := range m.Attributes {
		switch {
		case a.Key == "rtpmap", a.Key == "fmtp", a.Key == "rtcp-fb", a.Key == "ptime", a.Key == "maxptime":
			continue
		case a.Key == "candidate" && component(a.Value) != 1:
			continue
		}
		attrs = append(attrs, a)
		if a.Key == "rtcp-mux" {
			attrs = append(attrs, sdp.NewPropertyAttribute("rtcp-mux-only"))
		}
	}
	for _, n := range pts.ordered(preferRED) {
		pt := strconv.Itoa(n)
		m.MediaName.Formats = append(m.MediaName.Formats, pt)
		attrs = append(attrs, sdp.NewAttribute("rtpmap", pt+" "+pts[n].name))
		switch {
		case pts[n].format == audio.FormatOpus:
			attrs = append(attrs, sdp.NewAttribute("fmtp", pt+" "+tunedFmtp))
		case pts[n].red:
			opus := strconv.Itoa(pts.opus())
			attrs = append(attrs, sdp.NewAttribute("fmtp", pt+" "+opus+"/"+opus))
		}
	}
	attrs = append(attrs, sdp.NewAttribute("ptime", tunedPtime))
	m.Attributes = attrs
	b, err := d.Marshal()
	if err != nil {
		return "", payloadTypes{}, fmt.Errorf("write our own answer: %w", err)
	}
	return string(b), pts, nil
}

// opus is the first payload type of Opus, -1 if there is none.
func (p *payloadTypes) opus() int {
	return slices.IndexFunc(p[:], func(e *encoding) bool { return e != nil && e.format == audio.FormatOpus })
}

// ordered are the payload types in the order of our liking. Without Opus, RED
// holds nothing for us.
func (p *payloadTypes) ordered(preferRED bool) (numbers []int) {
	if preferRED && p.opus() >= 0 {
		for n, e := range p {
			if e != nil && e.red {
				numbers = append(numbers, n)
			}
		}
	}
	for i := range encodings {
		for n, e := range p {
			if e == &encodings[i] && !slices.Contains(numbers, n) && (!e.red || p.opus() >= 0) {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
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
