package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/sdp/v3"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"

	"verbatim/media/audio"
)

// What a client can make us send: to each address that it names, some STUN
// requests (pion: at most 7 from each of our addresses). So the addresses are
// bounded, and how often it may begin again with new ones.
const (
	// maxCandidates is how many candidates of a client are used per ICE session;
	// browsers have 2 to 10.
	maxCandidates = 32
	// maxRemotes is from how many addresses a client's own STUN requests may
	// come in one ICE session; each becomes a candidate. A NAT gives a new one
	// now and then.
	maxRemotes = 256
	// A client may restart ICE maxRestarts times in a row, then every
	// restartEvery.
	maxRestarts  = 4
	restartEvery = 5 * time.Second
	// restartTimeout bounds a restart's negotiation; gathering on an open port
	// takes milliseconds.
	restartTimeout = 5 * time.Second
)

// The ways in which a session can refuse a fragment; it goes on as it was.
var (
	// ErrNoSession is returned for a session that does not exist.
	ErrNoSession = errors.New("no such session")
	// ErrOtherICESession is a fragment that is about another ICE session than
	// the present one.
	ErrOtherICESession = errors.New("the session's ICE was restarted meanwhile")
	// ErrTooManyRestarts is a restart that comes too soon after others.
	ErrTooManyRestarts = errors.New("the session's ICE was restarted too often")
)

// Answer is what a client is told of our side.
type Answer struct {
	// SDP is an answer, or a fragment when ICE was restarted.
	SDP string
	// Tag names the ICE session: another one after each restart. It is made of
	// letters.
	Tag string
}

// iceSession is the ICE part of a Session.
type iceSession struct {
	ignored atomic.Uint64 // candidates that were not used
	ours    atomic.Pointer[login]

	leaf    sync.Mutex // guards what follows up to mu
	remotes map[netip.AddrPort]struct{}
	// giveUp ends the session unless a restart leads to a connection.
	giveUp *time.Timer

	mu    sync.Mutex // guards what follows; held while a restart is negotiated
	offer sdp.SessionDescription
	tag   string
	room  int      // how many candidates more we take
	added []string // Offer.added
	begun *rate.Limiter
}

// login is our user name and password in the present ICE session.
type login struct{ ufrag, pwd string }

// knows reports whether a check for the ICE session with that user name of ours is
// signed with the password that goes with it (RFC 8445, 7.3), which the client alone
// was told.
func (s *Session) knows(name string, check *stun.Message) bool {
	l := s.ice.ours.Load()
	return l != nil && l.ufrag == name && stun.NewShortTermIntegrity(l.pwd).Check(check) == nil
}

// Patch takes what a client says about its ICE after its offer (RFC 9725, 4.3).
// Candidates are added, and the answer is the zero value; credentials that are
// not the present ones restart ICE. match tells whether the client means the
// ICE session with that tag; nil if it did not say, which is enough for
// candidates. The media goes on as long as the client sends, on the same track.
func (e *Engine) Patch(ctx context.Context, id string, f Fragment, match func(tag string) bool) (Answer, error) {
	e.mu.Lock()
	s := e.sessions[id]
	e.mu.Unlock()
	if s == nil || s.endReason() != 0 {
		return Answer{}, ErrNoSession
	}
	return s.patch(ctx, f, match)
}

func (s *Session) patch(ctx context.Context, f Fragment, match func(tag string) bool) (Answer, error) {
	s.ice.mu.Lock()
	defer s.ice.mu.Unlock()
	if match != nil && !match(s.ice.tag) {
		return Answer{}, ErrOtherICESession
	}
	m := s.ice.offer.MediaDescriptions[0]
	mid, _ := m.Attribute("mid")
	said, foreign := f.about(mid)
	s.ice.ignored.Add(uint64(foreign))
	ufrag, pwd := credentials(&s.ice.offer)
	if (said.ufrag == "" || said.ufrag == ufrag) && (said.pwd == "" || said.pwd == pwd) {
		return Answer{}, s.trickle(said)
	}
	// Candidates of an ICE session before the present one look the same as a
	// restart unless the client says which it means.
	if match == nil {
		return Answer{}, fmt.Errorf("%w, or this is to restart it", ErrOtherICESession)
	}
	if said.pwd == "" {
		return Answer{}, fmt.Errorf("%w: a restart needs an ice-ufrag and an ice-pwd", ErrMalformedFragment)
	}
	if !s.ice.begun.Allow() {
		return Answer{}, ErrTooManyRestarts
	}
	return s.restart(ctx, said)
}

// credentials are those of an offer's one media section.
func credentials(d *sdp.SessionDescription) (ufrag, pwd string) {
	for key, v := range map[string]*string{"ice-ufrag": &ufrag, "ice-pwd": &pwd} {
		var ok bool
		if *v, ok = d.MediaDescriptions[0].Attribute(key); !ok {
			*v, _ = d.Attribute(key)
		}
	}
	return ufrag, pwd
}

// trickle adds candidates, with s.ice.mu held.
func (s *Session) trickle(said section) error {
	ufrag, _ := credentials(&s.ice.offer)
	for _, c := range s.admit(said.candidates, ufrag) {
		if err := s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c}); err != nil {
			return s.failed("add a candidate", err)
		}
	}
	if said.end {
		if err := s.pc.AddICECandidate(webrtc.ICECandidateInit{}); err != nil {
			return s.failed("add the last candidate", err)
		}
	}
	return nil
}

// admit chooses the candidates that are used, with s.ice.mu held: not those that
// say that they are of an ICE session before.
func (s *Session) admit(candidates []string, ufrag string) (use []string) {
	for _, c := range candidates {
		_, of, named := strings.Cut(c, " ufrag ")
		of, _, _ = strings.Cut(of, " ")
		if ok, _ := usable(c); !ok || s.ice.room == 0 || named && of != ufrag {
			s.ice.ignored.Add(1)
			continue
		}
		s.ice.room--
		use = append(use, c)
	}
	return use
}

// restart begins another ICE session (RFC 8445, 9) on the same DTLS, with
// s.ice.mu held. The client's offer is answered once more, with its new
// credentials in it.
func (s *Session) restart(ctx context.Context, said section) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartTimeout) // half a restart is of no use
	defer cancel()
	offer, old := s.ice.offer, s.ice.offer.MediaDescriptions[0]
	m := *old
	offer.MediaDescriptions = []*sdp.MediaDescription{&m}
	theirs := []string{"ice-ufrag", "ice-pwd", "candidate", "end-of-candidates"}
	offer.Attributes, m.Attributes = without(offer.Attributes, theirs...), without(old.Attributes, theirs...)
	s.ice.room = maxCandidates
	m.Attributes = append(m.Attributes, sdp.NewAttribute("ice-ufrag", said.ufrag), sdp.NewAttribute("ice-pwd", said.pwd))
	for _, c := range s.admit(said.candidates, said.ufrag) {
		m.Attributes = append(m.Attributes, sdp.NewAttribute("candidate", c))
	}
	text, err := offer.Marshal()
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrMalformedFragment, err)
	}
	answer, err := s.renew(ctx, string(text))
	if err != nil {
		return Answer{}, s.failed("restart ICE", err)
	}
	s.ice.offer = offer
	return s.answered(answer, fragment)
}

// renew makes pion restart ICE, and returns the answer, which is left pending:
// applying it would stop the receivers, since offers without SSRCs (ParseOffer
// takes them out) do not name what is being received. Before the next restart it
// must be applied, and then the offer that it is for gets the SSRCs.
func (s *Session) renew(ctx context.Context, offer string) (string, error) {
	if s.pc.SignalingState() == webrtc.SignalingStateHaveRemoteOffer {
		d, err := s.pc.RemoteDescription().Unmarshal() // pion's own, not a copy
		if err != nil {
			return "", err
		}
		m := d.MediaDescriptions[0]
		for _, r := range s.pc.GetReceivers() {
			for _, t := range r.Tracks() {
				m.Attributes = append(m.Attributes, sdp.NewAttribute("ssrc", fmt.Sprintf("%d cname:-", t.SSRC())))
			}
		}
		if err := s.pc.SetLocalDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer}); err != nil {
			return "", err
		}
	}
	s.awaitConnection()
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	if err := s.gathered(ctx); err != nil {
		return "", err
	}
	answer, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	tuned, _, err := tuneAnswer(answer.SDP, s.engine.cfg.PreferRED) // the payload types are as they were
	return tuned, err
}

// begin remembers the offer that was answered, before anybody else knows the
// session.
func (s *Session) begin(o Offer, answer string) (Answer, error) {
	if err := s.ice.offer.UnmarshalString(o.sdp); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrMalformedOffer, err)
	}
	s.ice.ignored.Store(uint64(o.ignored))
	s.ice.room, s.ice.added = o.room, o.added
	s.ice.begun = rate.NewLimiter(rate.Every(restartEvery), maxRestarts)
	return s.answered(answer, func(d *sdp.SessionDescription) (string, error) {
		b, err := d.Marshal()
		return string(b), err
	})
}

// answered names the ICE session by our user name in it, which is new each time.
func (s *Session) answered(answer string, say func(*sdp.SessionDescription) (string, error)) (Answer, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(answer); err != nil {
		return Answer{}, fmt.Errorf("read our own answer: %w", err)
	}
	m := d.MediaDescriptions[0]
	d.Attributes, m.Attributes = without(d.Attributes, s.ice.added...), without(m.Attributes, s.ice.added...)
	s.engine.show(m)
	var l login
	l.ufrag, l.pwd = credentials(&d)
	s.ice.ours.Store(&l)
	s.ice.tag = l.ufrag
	text, err := say(&d)
	return Answer{SDP: text, Tag: s.ice.tag}, err
}

// fragment is the part of our answer that is about ICE (RFC 9725, 4.3.3).
func fragment(d *sdp.SessionDescription) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	m := d.MediaDescriptions[0]
	if group, ok := d.Attribute("group"); ok {
		line("a=group:%s", group)
	}
	line("m=%s", m.MediaName.String())
	ufrag, pwd := credentials(d)
	if mid, ok := m.Attribute("mid"); ok {
		line("a=mid:%s", mid)
	}
	line("a=ice-ufrag:%s", ufrag)
	line("a=ice-pwd:%s", pwd)
	for _, a := range m.Attributes {
		if a.Key == "candidate" {
			line("a=candidate:%s", a.Value)
		}
	}
	line("a=end-of-candidates")
	return b.String(), nil
}

// failed tells an error from that of a session that has ended meanwhile.
func (s *Session) failed(what string, err error) error {
	if s.endReason() != 0 {
		return ErrNoSession
	}
	return fmt.Errorf("%s: %w", what, err)
}

// awaitConnection gives a restart as long as a transport may be silent. One
// restart after the other does not make it longer.
func (s *Session) awaitConnection() {
	s.ice.leaf.Lock()
	defer s.ice.leaf.Unlock()
	s.ice.remotes = nil
	if s.ice.giveUp == nil {
		cfg := s.engine.cfg
		s.ice.giveUp = time.AfterFunc(cfg.SilentAfter+cfg.FailedAfter, func() { s.end(audio.ReasonTimeout) })
	}
}

// restarted is called when the connection is up, or the session over.
func (s *Session) restarted() {
	s.ice.leaf.Lock()
	defer s.ice.leaf.Unlock()
	if s.ice.giveUp != nil {
		s.ice.giveUp.Stop()
		s.ice.giveUp = nil
	}
}

// seen bounds the addresses that a client sends from. It is pion's handler of
// STUN binding requests whose credentials are right, and leaves all else to it.
func (s *Session) seen(_ *stun.Message, _, remote ice.Candidate, _ *ice.CandidatePair) (selectPair bool) {
	addr, err := netip.ParseAddr(remote.Address())
	if err != nil {
		return false
	}
	s.ice.leaf.Lock()
	defer s.ice.leaf.Unlock()
	if s.ice.remotes == nil {
		s.ice.remotes = map[netip.AddrPort]struct{}{}
	}
	s.ice.remotes[netip.AddrPortFrom(addr, uint16(remote.Port()))] = struct{}{}
	if len(s.ice.remotes) > maxRemotes {
		s.refuse("it sends from too many addresses")
	}
	return false
}
