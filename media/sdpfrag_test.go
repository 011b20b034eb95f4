package media

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"
	"pgregory.net/rapid"

	"verbatim/media/audio"
)

func TestParseFragment(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"RFC 8840 and 9725", "a=ice-options:trickle ice2\r\na=group:BUNDLE mic\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:mic\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\na=end-of-candidates\r\n", true},
		{"newlines alone, no last one", "a=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", true},
		{"a whole description", head + chromium, true},
		{"nothing", "", false},
		{"nothing about ICE", "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n", false},
		{"no SDP", "hello", false},
		{"JSON", `{"candidate":""}`, false},
		{"a password alone", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", false},
		{"a short ufrag", "a=ice-ufrag:abc\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", false},
		{"a short password", "a=ice-ufrag:abcd\r\na=ice-pwd:P2uY\r\n", false},
		{"a long ufrag", "a=ice-ufrag:" + strings.Repeat("a", 257) + "\r\n", false},
		{"a ufrag with a space", "a=ice-ufrag:ab cd\r\n", false},
		{"half a candidate", "a=candidate:1 1 udp 1 10.0.0.1\r\n", false},
		{"a candidate's port", "a=candidate:1 1 udp 1 10.0.0.1 70000 typ host\r\n", false},
		{"a candidate's priority", "a=candidate:1 1 udp high 10.0.0.1 7000 typ host\r\n", false},
		{"a candidate's component", "a=candidate:1 a udp 1 10.0.0.1 7000 typ host\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseFragment(c.text); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrMalformedFragment) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// An offer's own candidates are bounded like those that come later.
func TestCandidatesOfAnOfferAreBounded(t *testing.T) {
	offer := head + chromium + strings.Repeat("a=candidate:1 1 udp 1 10.0.0.9 61764 typ host\r\n", 100) + "a=candidate:1 1 udp 1 a.example 1 typ host\r\n"
	o, err := ParseOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(o.sdp, "a=candidate"); n != maxCandidates || o.ignored != 101-maxCandidates || o.room != 0 {
		t.Errorf("%d candidates, %d ignored, room for %d", n, o.ignored, o.room)
	}
	if _, err := ParseOffer(head + chromium + "a=candidate:1 1 udp\r\n"); !errors.Is(err, ErrMalformedOffer) {
		t.Errorf("half a candidate: %v", err)
	}
}

func FuzzParseFragment(f *testing.F) {
	f.Add(credentialsOf(1)+"m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 10.0.0.1 7000 typ host generation 0\r\n", "0")
	f.Add(head+chromium, "mic")
	f.Fuzz(func(t *testing.T, text, mid string) {
		fragment, err := ParseFragment(text)
		if err != nil {
			return
		}
		said, foreign := fragment.about(mid)
		all := foreign + len(said.candidates)
		if n := strings.Count(text, "candidate:"); all > n {
			t.Errorf("%d candidates out of %d", all, n)
		}
		if said.pwd != "" && (len(said.ufrag) < 4 || len(said.pwd) < 22) {
			t.Errorf("credentials %q and %q", said.ufrag, said.pwd)
		}
	})
}

// What ParseOffer makes is an offer that it takes again, and what tuneAnswer
// makes is SDP.
func FuzzTuneAnswer(f *testing.F) {
	f.Add(head + chromium)
	f.Add(head + firefox)
	f.Fuzz(func(t *testing.T, text string) {
		if o, err := ParseOffer(text); err == nil {
			if _, err := ParseOffer(o.sdp); err != nil {
				t.Errorf("not taken again: %v: %q", err, o.sdp)
			}
		}
		if tuned, _, err := tuneAnswer(text, len(text)%2 == 0); err == nil {
			var d sdp.SessionDescription
			if err := d.UnmarshalString(tuned); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever an offer holds that ParseOffer takes, pion neither panics on it nor
// leaves anything behind. (Its goroutines make a fuzzer believe that everything
// is new.)
func TestMutatedOffers(t *testing.T) {
	e, err := Listen(Config{Listen: "127.0.0.1:0", Sink: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	restart, err := ParseFragment(credentialsOf(1))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(head+chromium+firefox, "\n")
	rapid.Check(t, func(t *rapid.T) {
		offer := strings.SplitAfter(head+rapid.SampledFrom([]string{chromium, firefox}).Draw(t, "offer"), "\n")
		for range rapid.IntRange(0, 4).Draw(t, "mutations") {
			i := rapid.IntRange(0, len(offer)-1).Draw(t, "line")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				offer = slices.Delete(offer, i, i+1)
			case 1:
				offer = slices.Insert(offer, i, rapid.SampledFrom(lines).Draw(t, "more"))
			case 2:
				key, _, _ := strings.Cut(offer[i], ":")
				offer[i] = key + ":" + rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "value") + "\r\n"
			case 3:
				cut := rapid.IntRange(0, len(offer[i])).Draw(t, "cut")
				offer[i] = offer[i][:cut] + "\r\n"
			}
		}
		o, err := ParseOffer(strings.Join(offer, ""))
		if err != nil {
			return
		}
		a, err := e.Accept(context.Background(), o, func() (string, error) { return "session", nil })
		if err != nil {
			return
		}
		if !strings.Contains(a.SDP, "a=candidate:") || len(a.Tag) < 4 {
			t.Errorf("tag %q, answer %s", a.Tag, a.SDP)
		}
		if a, err := e.Patch(context.Background(), "session", restart, anyTag); err != nil || a.Tag == "" {
			t.Errorf("restart: %v", err)
		}
		e.CloseSession("session", audio.ReasonLeft)
		for e.Sessions() > 0 {
			runtime.Gosched()
		}
	})
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
