// Package vad tells speech from silence in 16 kHz mono PCM, and so where an
// utterance begins and ends. It is pure: no goroutine, no lock, no clock. Time
// is the number of samples written.
//
// The flow of one hop of 10 ms:
//
//	samples → four band-passes → energy per band
//	        → level: how far the bands stand above their noise floors, in dB
//	        → median of five levels (the click guard)
//	        → onset and hangover → speech or not
//
// A band's noise floor is the least energy of the last 5 s in which the
// microphone gave anything at all: muted and not transmitted audio (exact
// zeros) says nothing about the room and leaves the floor where it was.
//
// What it cannot do: it tells a voice from steady noise, not from music,
// laughter or another voice; a noise that begins suddenly counts as speech
// until it is 5 s old, and one that is there from the first sample on until it
// is half a second old. A noise that sounds all the time is learned as the
// room, and so would a soft voice be that never paused for 5 s; a loud noise
// never is.
package vad

import (
	"time"

	"verbatim/media/audio"
)

// hop is what is judged at a time: 10 ms.
const hop = audio.FrameRate / 100

// bands are the centres of the band-passes in Hz, from the first formants of
// vowels to the edge of telephony. Hum lies below, hiss above.
var bands = [...]float64{400, 800, 1600, 2800}

const (
	numBands = len(bands)

	// bandQ makes each band-pass about an octave wide.
	bandQ = 1.41

	// medianHops is the length of the median. A click that touches two hops is
	// a minority of five and vanishes; a longer one must still last the onset.
	medianHops = 5
	// medianLag is how far, in hops, the median's centre lies behind the newest.
	medianLag = medianHops / 2

	// The floor is a minimum over ten blocks of half a second, and the one
	// that is being filled.
	blockHops  = 50
	floorTurns = 10

	// quietDB, per band and below full scale, is the least that a noise floor
	// can be. A hop that lies below it in all bands is no noise of a room but
	// a mute, a gap in the transmission or a noise gate.
	quietDB = -70
	// firstDB is taken for the floor until firstHops of noise or speech were
	// heard, so that who speaks with the first sample is heard at once.
	firstDB   = -58
	firstHops = 50
	// loudDB is the most that a noise floor can be. Something louder is taken for
	// speech however long it lasts, so that no voice is ever learned as the room:
	// to hear a machine costs time, to be deaf to someone costs words.
	loudDB = -37
)

// Config holds the thresholds; what is zero gets its default.
type Config struct {
	OnDB     float64       // above the noise floor: speech begins (7)
	OffDB    float64       // above the noise floor: speech goes on (4.5)
	Onset    time.Duration // how long OnDB must hold (60 ms)
	Hangover time.Duration // how long after OffDB speech goes on (400 ms)
}

func (c Config) withDefaults() Config {
	if c.OnDB == 0 {
		c.OnDB = 7
	}
	if c.OffDB == 0 {
		c.OffDB = 4.5
	}
	if c.Onset == 0 {
		c.Onset = 60 * time.Millisecond
	}
	if c.Hangover == 0 {
		c.Hangover = 400 * time.Millisecond
	}
	return c
}

// hops rounds d up to whole hops.
func hops(d time.Duration) int64 {
	const one = time.Second * hop / audio.FrameRate
	return int64((d + one - 1) / one)
}

// Detector follows one track. The zero value has the default thresholds; New
// sets others. It needs no closing and is for one goroutine at a time.
type Detector struct {
	ready           bool
	on, off         float64 // dB
	onset, hangover int64   // hops

	partial [hop]int16 // the samples of a hop that is not yet full
	filled  int

	filters filters
	last    [numBands]float64 // the energies of the hop before
	floor   [numBands]minimum
	heard   int // hops that told about the room, up to firstHops

	levels [medianHops]float64 // dB, in turn
	hops   int64               // judged so far

	run         int64 // hops in a row above the threshold
	speech      bool
	speechStart int64 // hops
	lastSpeech  int64 // hops
}

// New makes a Detector that has heard nothing yet.
func New(c Config) *Detector {
	d := new(Detector)
	d.init(c.withDefaults())
	return d
}

func (d *Detector) init(c Config) {
	d.ready = true
	d.on, d.off = c.OnDB, c.OffDB
	d.onset, d.hangover = hops(c.Onset), hops(c.Hangover)
	for i, f := range bands {
		d.filters.bands[i] = newBandPass(f, bandQ)
		d.floor[i] = newMinimum()
	}
}

// Write takes the samples that follow. It judges whole hops of 10 ms and keeps
// the rest for the next call, so it does not matter how the audio is cut.
func (d *Detector) Write(pcm []int16) {
	if !d.ready {
		d.init(Config{}.withDefaults())
	}
	if d.filled > 0 {
		n := copy(d.partial[d.filled:], pcm)
		d.filled += n
		pcm = pcm[n:]
		if d.filled < hop {
			return
		}
		d.judge(&d.partial)
		d.filled = 0
	}
	for ; len(pcm) >= hop; pcm = pcm[hop:] {
		d.judge((*[hop]int16)(pcm))
	}
	d.filled = copy(d.partial[:], pcm)
}

// Speech reports whether someone speaks, the hangover included.
func (d *Detector) Speech() bool { return d.speech }

// Stirs reports whether the newest 20 ms are as loud as speech that begins: it may
// be a word, or a click.
func (d *Detector) Stirs() bool {
	return d.hops > 1 && d.levels[(d.hops-1)%medianHops] >= d.on && d.levels[(d.hops-2)%medianHops] >= d.on
}

// Position is the number of samples that were judged: all that were written,
// down to whole hops.
func (d *Detector) Position() int64 { return d.hops * hop }

// SpeechStart is the position at which the latest speech began: the onset
// that had to be waited for is part of it. It is 0 if there was none yet.
func (d *Detector) SpeechStart() int64 { return d.speechStart * hop }

// LastSpeech is the position up to which there was speech, without the
// hangover, and 0 if there was none yet.
func (d *Detector) LastSpeech() int64 { return d.lastSpeech * hop }

// Silence is how many samples came after LastSpeech. It grows during the
// hangover too, while Speech still holds.
func (d *Detector) Silence() int64 { return d.Position() - d.LastSpeech() }

// judge takes one hop through the steps of the package comment.
func (d *Detector) judge(pcm *[hop]int16) {
	energy := d.filters.energies(pcm)
	d.levels[d.hops%medianHops] = d.level(&energy)
	d.learn(&energy)
	d.hops++
	d.decide(d.median())
}

// decide moves the state by one hop, whose level is that of medianLag ago.
func (d *Detector) decide(level float64) {
	threshold := d.on
	if d.speech {
		threshold = d.off
	}
	if level < threshold {
		d.run = 0
		if d.speech && d.hops-medianLag-d.lastSpeech >= d.hangover {
			d.speech = false
		}
		return
	}
	d.run++
	if d.run < d.onset {
		return
	}
	if !d.speech {
		d.speech = true
		d.speechStart = max(d.hops-medianLag-d.run, 0)
	}
	d.lastSpeech = d.hops - medianLag
}
