package media

import (
	"strings"
	"testing"

	"verbatim/media/audio"
)

// Offers of clients that are not browsers, less what is in head.
const (
	// aiortc 1.4 names no msid, no group and no fmtp.
	aiortc = "m=audio 38475 UDP/TLS/RTP/SAVPF 96 0 8\r\nc=IN IP4 192.0.2.2\r\na=sendonly\r\na=mid:0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" +
		"a=rtcp-mux\r\na=ssrc:1828550386 cname:x\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=setup:actpass\r\n"
	// GStreamer 1.22 writes OPUS (names of encodings know no case: RFC 8866,
	// 6.6), and offers to send again on an SSRC of its own.
	gstreamer = "m=audio 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=sendonly\r\n" +
		"a=rtpmap:96 OPUS/48000/2\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 transport-cc\r\na=fmtp:96 sprop-stereo=0;sprop-maxcapturerate=16000\r\n" +
		"a=rtpmap:97 rtx/48000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 366035194 3427326041\r\n" +
		"a=ssrc:366035194 msid:u t\r\na=ssrc:366035194 cname:u\r\na=ssrc:3427326041 msid:u t\r\na=ssrc:3427326041 cname:u\r\n" +
		"a=mid:0\r\na=rtcp-mux-only\r\n"
)

// Their payload types mean what they offered.
func TestOffersOfOtherClients(t *testing.T) {
	for _, c := range []struct {
		name, offer, formats string
		wants                map[uint8]audio.Format
	}{
		{"aiortc", aiortc, "96 0 8", map[uint8]audio.Format{96: audio.FormatOpus, 0: audio.FormatPCMU, 8: audio.FormatPCMA}},
		{"GStreamer", gstreamer, "96", map[uint8]audio.Format{96: audio.FormatOpus}},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, pts := answerTo(t, Config{}, head+c.offer)
			if want := "m=audio 9 UDP/TLS/RTP/SAVPF " + c.formats + "\r\n"; !strings.Contains(answer, want) {
				t.Errorf("the answer lacks %q:\n%s", want, answer)
			}
			for pt, e := range pts {
				got := audio.FormatNone
				if e != nil {
					got = e.format
				}
				if got != c.wants[uint8(pt)] {
					t.Errorf("payload type %d is %v, want %v", pt, got, c.wants[uint8(pt)])
				}
			}
		})
	}
}
