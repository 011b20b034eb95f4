//go:build libopus

package codec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gopkg.in/hraban/opus.v2"

	"verbatim/internal/speech"
)

// nearness is how far the difference of a and b lies below b, in decibels.
func nearness(a, b []int16) float64 {
	var e, s float64
	for i := range b {
		d := float64(a[i]) - float64(b[i])
		e += d * d
		s += float64(b[i]) * float64(b[i])
	}
	return 10 * math.Log10(max(s, 1)/max(e, 1))
}

// decodeBoth decodes packets by pion/opus and by libopus.
func decodeBoth(t *testing.T, packets [][]byte) (pion, lib []int16) {
	t.Helper()
	var p pionDecoder
	var l libopusDecoder
	var f fade
	p.reset()
	l.reset()
	for i, packet := range packets {
		ticks, err := OpusTicks(packet)
		if err != nil {
			t.Fatal(err)
		}
		var pcm [2][MaxSamples]int16
		n := int(ticks / 3)
		if a, b := p.decode(packet, pcm[0][:n], &f), l.decode(packet, pcm[1][:n], nil); a != n || b != n {
			t.Fatalf("packet %d, TOC %#x, of %d samples decodes to %d by pion, %d by libopus", i, packet[0], n, a, b)
		}
		pion, lib = append(pion, pcm[0][:n]...), append(lib, pcm[1][:n]...)
	}
	return pion, lib
}

// pion/opus decodes as libopus does: every configuration, in every packing. Only
// that it makes mono of stereo as a listener would: libopus leaves out the phase
// inversion of CELT then (RFC 8251, 10), which costs some bands their level when
// channels are added. Against libopus's two channels, added, it is right.
func TestPionDecodesAsLibopusDoes(t *testing.T) {
	for _, v := range vectors() {
		celt, stereo := v.toc>>3 >= 16, v.toc&4 != 0
		worst, mono := math.Inf(1), math.Inf(1)
		for _, c := range codes {
			packets, _ := c.packets(v)
			a, b := decodeBoth(t, packets)
			mono = min(mono, nearness(a, b))
			if celt && stereo {
				b = addChannels(t, packets)
			}
			worst = min(worst, nearness(a, b))
		}
		t.Logf("%s: %.1f dB (%.1f dB against libopus's mono)", v.name, worst, mono)
		want := 45.0 // dB; SILK is resampled by another filter
		if celt {
			want = 70
		}
		if worst < want {
			t.Errorf("%s: %.1f dB, want %.0f", v.name, worst, want)
		}
	}
}

// addChannels decodes to two channels by libopus, and gives their mean.
func addChannels(t *testing.T, packets [][]byte) (pcm []int16) {
	t.Helper()
	d, err := opus.NewDecoder(16000, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, packet := range packets {
		var both [2 * MaxSamples]int16
		n, err := d.Decode(packet, both[:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			pcm = append(pcm, int16((int(both[2*i])+int(both[2*i+1]))/2))
		}
	}
	return pcm
}

// changing is what an encoder makes of speech while its settings change every
// 120 ms: browsers do that when the network gets worse. It returns how often the
// mode (SILK, hybrid, CELT) changed.
func changing(t *testing.T, channels int, seed uint64) (packets [][]byte, changes int) {
	t.Helper()
	e, err := opus.NewEncoder(48000, channels, opus.AppVoIP)
	if err != nil {
		t.Fatal(err)
	}
	up := newResampler(t, 16000, 48000)
	mono := up.Resample(nil, speech.PCM(speech.Names[0]))
	pcm := make([]int16, 0, channels*len(mono))
	for _, v := range mono {
		for c := range channels {
			pcm = append(pcm, v/int16(c+1))
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	before := -1
	for {
		kbps := []int{8, 12, 16, 24, 32, 48, 64, 96, 128}[r.IntN(9)]
		widths := []opus.Bandwidth{opus.Narrowband, opus.Mediumband, opus.Wideband, opus.SuperWideband, opus.Fullband}
		if err := e.SetBitrate(1000 * kbps); err != nil {
			t.Fatal(err)
		}
		if err := e.SetMaxBandwidth(widths[r.IntN(len(widths))]); err != nil {
			t.Fatal(err)
		}
		ms := []int{10, 20, 40, 60}[r.IntN(4)]
		for range 120 / ms {
			n := 48 * ms * channels
			if len(pcm) < n {
				return packets, changes
			}
			var packet [4000]byte
			size, err := e.Encode(pcm[:n], packet[:])
			if err != nil {
				t.Fatal(err)
			}
			pcm = pcm[n:]
			packets = append(packets, packet[:size:size])
			config := int(packet[0] >> 3)
			mode := min(config/12+config/16, 2)
			if before >= 0 && mode != before {
				changes++
			}
			before = mode
		}
	}
}

func TestPionChangesModesAsLibopusDoes(t *testing.T) {
	for channels := 1; channels <= 2; channels++ {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%d channels, seed %d", channels, seed), func(t *testing.T) {
				packets, changes := changing(t, channels, seed)
				a, b := decodeBoth(t, packets)
				got := nearness(a, b)
				t.Logf("%d packets, %d changes of mode: %.1f dB", len(packets), changes, got)
				if got < 45 || changes < 10 {
					t.Errorf("%d changes of mode: %.1f dB, want 10 and 45", changes, got)
				}
			})
		}
	}
}
