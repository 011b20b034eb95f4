package media

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"
)

// head is the session part of an offer with what WebRTC needs.
const head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n" +
	"a=fingerprint:sha-256 " + "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n"

// The audio sections are those of Chromium 156 and Firefox 153, shortened.
const (
	chromium = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" +
		"a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=msid:s t\r\na=rtcp-mux\r\na=rtcp-rsize\r\n" +
		"a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n" +
		"a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n" +
		"a=ssrc:1234 cname:x\r\na=ssrc:1234 msid:s t\r\n"
	firefox = "m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101\r\nc=IN IP4 0.0.0.0\r\n" +
		"a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=msid:- {t}\r\na=rtcp-mux\r\n" +
		"a=rtpmap:109 opus/48000/2\r\na=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\n" +
		"a=rtpmap:9 G722/8000/1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000/1\r\n" +
		"a=ssrc:99 cname:{y}\r\n"
)

func TestParseOffer(t *testing.T) {
	for _, c := range []struct {
		name, sdp string
		want      error
	}{
		{"chromium", head + chromium, nil},
		{"firefox", head + firefox, nil},
		{"sendrecv by default", head + strings.Replace(chromium, "a=sendonly\r\n", "", 1), nil},
		{"not SDP", "hello", ErrMalformedOffer},
		{"no fingerprint", strings.Replace(head, "a=fingerprint", "a=nothing", 1) + chromium, ErrMalformedOffer},
		{"a ufrag that is another protocol's", strings.Replace(head, "ufrag:abcd", "ufrag:GET / HTTP/1.0", 1) + chromium, ErrMalformedOffer},
		{"a ufrag that fills datagrams", strings.Replace(head, "ufrag:abcd", "ufrag:"+strings.Repeat("a", 257), 1) + chromium, ErrMalformedOffer},
		{"the same for the section", head + chromium + "a=ice-ufrag:" + strings.Repeat("a", 257) + "\r\n", ErrMalformedOffer},
		{"a short ufrag", strings.Replace(head, "ufrag:abcd", "ufrag:abc", 1) + chromium, ErrMalformedOffer},
		{"a short password", strings.Replace(head, "pwd:0123456789", "pwd:", 1) + chromium, ErrMalformedOffer},
		{"long credentials", strings.Replace(strings.Replace(head, "ufrag:abcd", "ufrag:"+strings.Repeat("a", 256), 1), "pwd:0", "pwd:"+strings.Repeat("0", 235), 1) + chromium, nil},
		{"no media", head, ErrUnsupportedMedia},
		{"video", head + strings.Replace(chromium, "m=audio", "m=video", 1), ErrUnsupportedMedia},
		{"audio and video", head + chromium + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n", ErrUnsupportedMedia},
		{"two tracks in one section", head + chromium + "a=msid:s other\r\n", ErrUnsupportedMedia},
		{"recvonly", head + strings.Replace(chromium, "sendonly", "recvonly", 1), ErrNotSending},
		{"inactive for the session", head + "a=inactive\r\n" + chromium, ErrNotSending},
		{"rejected", head + strings.Replace(chromium, "m=audio 9", "m=audio 0", 1), ErrNotSending},
		{"G.711 alone", head + strings.Replace(chromium, "opus/48000/2", "opus/16000", 1), nil},
		{"G.711 by its static number", head + "m=audio 9 UDP/TLS/RTP/SAVPF 8\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n", nil},
		{"nothing that we decode", head + "m=audio 9 UDP/TLS/RTP/SAVPF 9 13 126\r\na=rtpmap:126 telephone-event/8000\r\n", ErrNoCodec},
		{"RED of nothing", head + "m=audio 9 UDP/TLS/RTP/SAVPF 63\r\na=rtpmap:63 red/48000/2\r\n", ErrNoCodec},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOffer(c.sdp)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && strings.Contains(o.sdp, "a=ssrc") {
				t.Error("the SSRCs are still declared: a new one would never be heard")
			}
		})
	}
}

// Browsers are asked for the same, whatever they offered and whatever payload
// types they gave it; Opus stands first, RED only if that is preferred.
func TestAnswerIsTunedForSpeech(t *testing.T) {
	for _, c := range []struct {
		name, offer string
		preferRED   bool
		formats     string
		opus        string
	}{
		{"Chromium", chromium, false, "111 63 0 8 13 110 126", "111"},
		{"Chromium, RED preferred", chromium, true, "63 111 0 8 13 110 126", "111"},
		{"Firefox", firefox, true, "109 0 8 101", "109"},
		{"G.711 alone", "m=audio 9 UDP/TLS/RTP/SAVPF 9 8 0\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\na=rtcp-mux\r\n", false, "0 8", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, _ := answerTo(t, Config{PreferRED: c.preferRED}, head+c.offer)
			wants := []string{
				"m=audio 9 UDP/TLS/RTP/SAVPF " + c.formats + "\r\n", "a=ptime:60\r\n",
				"a=recvonly\r\n", "a=setup:passive\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n", "a=mid:0\r\n",
			}
			fmtps := 0
			if c.opus != "" {
				fmtps++
				wants = append(wants, "a=rtpmap:"+c.opus+" opus/48000/2\r\na=fmtp:"+c.opus+" "+tunedFmtp+"\r\n")
			}
			if strings.Contains(c.formats, "63") {
				fmtps++
				wants = append(wants, "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n")
			}
			for _, want := range wants {
				if !strings.Contains(answer, want) {
					t.Errorf("the answer lacks %q", want)
				}
			}
			if n := strings.Count(answer, "a=fmtp:"); n != fmtps {
				t.Errorf("%d fmtp lines, want our own %d alone", n, fmtps)
			}
			for line := range strings.Lines(answer) {
				if v, ok := strings.CutPrefix(line, "a=candidate:"); ok && component(v) != 1 {
					t.Errorf("a candidate for RTCP, which shares the port: %s", line)
				}
			}
			if t.Failed() {
				t.Log(answer)
			}
		})
	}
}

// answerTo is what an engine answers, and what it makes of the payload types.
func answerTo(t *testing.T, cfg Config, offer string) (answer string, pts payloadTypes) {
	t.Helper()
	cfg.Listen, cfg.Sink = "127.0.0.1:0", &memoryLog{}
	e, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(e)
	o, err := ParseOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.negotiate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.discard(), e.Close(t.Context())); err != nil {
		t.Error(err)
	}
	return a.SDP, s.payloads
}

// What it takes to count tracks grows with them, and not with their square: that would
// be two minutes here, and is less than a tenth of a second.
func TestCountingTracks(t *testing.T) {
	var m sdp.MediaDescription
	const n = 200_000
	for i := range n {
		m.Attributes = append(m.Attributes, sdp.NewAttribute("msid", strconv.Itoa(i%(n-1))))
	}
	began := time.Now()
	if got := senders(&m); got != n-1 {
		t.Errorf("%d tracks", got)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
}

func FuzzParseOffer(f *testing.F) {
	f.Add(head + chromium)
	f.Add(head + firefox)
	f.Fuzz(func(_ *testing.T, s string) { _, _ = ParseOffer(s) })
}
