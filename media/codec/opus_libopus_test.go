//go:build libopus

package codec

import (
	"testing"

	"gopkg.in/hraban/opus.v2"

	"verbatim/internal/speech"
	"verbatim/media/audio"
)

// redundantly codes a sentence with in-band FEC, as browsers do when packets
// are lost.
func redundantly(t *testing.T, ms, channels int) (packets [][]byte) {
	t.Helper()
	e, err := opus.NewEncoder(16000, channels, opus.AppVoIP)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{e.SetInBandFEC(true), e.SetPacketLossPerc(20), e.SetBitrate(32000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	pcm := speech.PCM("sas-0870")
	for len(pcm) >= 16*ms {
		in := make([]int16, 0, 16*ms*channels)
		for _, v := range pcm[:16*ms] {
			for range channels {
				in = append(in, v)
			}
		}
		var packet [1500]byte
		n, err := e.Encode(in, packet[:])
		if err != nil {
			t.Fatal(err)
		}
		packets, pcm = append(packets, packet[:n:n]), pcm[16*ms:]
	}
	return packets
}

// Every fifth packet is lost; the one after it brings back most of it, in its
// place: the last one's worth of a longer loss, too.
func TestFECBringsBackWhatWasLost(t *testing.T) {
	for _, ms := range []int{10, 20, 40, 60} {
		for channels := 1; channels <= 2; channels++ {
			for extra := range 2 { // more packets that are lost before it
				packets := redundantly(t, ms, channels)
				want := decodeAll(t, packets)
				with, without := make([]int16, 0, len(want)), make([]int16, 0, len(want))
				n := 16 * ms
				var lost, plc, sent []int16
				for _, fec := range []bool{true, false} {
					d := NewDecoder()
					out := &without
					if fec {
						out = &with
					}
					for i := 0; i < len(packets); i++ {
						var pcm [MaxSamples]int16
						if i%10 == 4 && i+extra+1 < len(packets) {
							next := packets[i+extra+1]
							if !fec {
								next = nil
							}
							d.Conceal(pcm[:(1+extra)*n], audio.FormatOpus, next)
							*out = append(*out, pcm[:(1+extra)*n]...)
							if fec {
								from := len(*out) - n
								lost = append(lost, (*out)[from:]...)
								sent = append(sent, want[from:from+n]...)
							} else {
								plc = append(plc, (*out)[len(*out)-n:]...)
							}
							i += extra
							continue
						}
						d.Decode(audio.FormatOpus, packets[i], pcm[:n])
						*out = append(*out, pcm[:n]...)
					}
					if len(*out) != len(want) || d.Failed() != 0 {
						t.Fatalf("%d ms: %d samples, want %d; %d failed", ms, len(*out), len(want), d.Failed())
					}
				}
				fec, guess := likeness(lost, sent), likeness(plc, sent)
				t.Logf("%d ms, %d channels, %d lost: correlation with what was sent %.2f, without FEC %.2f", ms, channels, 1+extra, fec, guess)
				if fec < 0.95-0.25*float64(extra) || fec < guess+0.1 {
					t.Errorf("%d ms, %d channels, %d lost: correlation with what was sent %.2f, without FEC %.2f", ms, channels, 1+extra, fec, guess)
				}
			}
		}
	}
}

// A long loss costs nothing, and the end of it comes back all the same.
func TestFECAfterALongLoss(t *testing.T) {
	packets := redundantly(t, 20, 1)
	want := decodeAll(t, packets)
	d := NewDecoder()
	var pcm [1600]int16
	for _, p := range packets[:50] {
		d.Decode(audio.FormatOpus, p, pcm[:320])
	}
	for range 9 {
		d.Conceal(pcm[:], audio.FormatNone, nil)
	}
	d.Conceal(pcm[:], audio.FormatOpus, packets[100])
	if got := level(pcm[:1280]); got != 0 {
		t.Errorf("level %.0f in the middle of a loss of one second", got)
	}
	if got := likeness(pcm[1280:], want[99*320:100*320]); got < 0.7 {
		t.Errorf("correlation %.2f with the end of what was lost", got)
	}
}
