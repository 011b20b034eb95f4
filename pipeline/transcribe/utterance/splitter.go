package utterance

import (
	"slices"

	"verbatim/media/audio"
	"verbatim/pipeline/vad"
)

// Lengths are in samples (16 kHz).
const (
	hop = audio.FrameRate / 100 // what is looked at at a time; the VAD's own

	// preroll is what an utterance has before its speech, and tail what it has
	// after it: words begin and end more softly than a VAD hears.
	preroll = 300 * audio.FrameRate / 1000
	tail    = 200 * audio.FrameRate / 1000
	// shortest is the shortest speech: what is shorter is a click.
	shortest = 80 * audio.FrameRate / 1000
	// keep is what of the newest silence is not spoken for: the VAD knows of
	// speech 80 ms after it began, and the pre-roll lies before that.
	keep = 500 * audio.FrameRate / 1000
	// report is the length of the pieces of a long silence.
	report = 10 * audio.FrameRate
	// An utterance that gets too long is cut in the middle of the quietest
	// stretch of its last cutWithin.
	cutWithin = 5 * audio.FrameRate
	quietest  = 100 * audio.FrameRate / 1000
)

// Kind says what a Piece is.
type Kind uint8

// The kinds.
const (
	// Silence is a stretch in which nobody speaks.
	Silence Kind = iota + 1
	// Begun tells that somebody speaks from Start on. It has no length: a piece
	// of Speech that begins there follows, or one of Silence, if it was nothing.
	Begun
	// Speech is an utterance, with what was said in PCM.
	Speech
)

// Piece is a part of a stream. Pieces follow each other without holes.
type Piece struct {
	Kind       Kind
	Start, End int64 // samples (16 kHz) since the stream's beginning
	// Of Speech. Whoever gets PCM owns it; Voice is where somebody was heard
	// first in it.
	PCM   []int16
	Voice int64
}

// Splitter cuts a stream of PCM into utterances and silence. It is pure: no
// goroutine, no lock, no clock. What comes out does not depend on how the
// samples are cut that go in. It is for one goroutine.
type Splitter struct {
	longest  int64
	detector vad.Detector
	spoken   int64 // up to here, pieces were given out
	talking  bool
	voice    int64   // where that began
	buf      []int16 // the newest samples that were judged, at least those from spoken on or the last keep
	partial  []int16 // less than a hop, not yet judged
}

// NewSplitter makes a splitter whose pieces begin at sample `from`: what lies
// before is heard for its context only. No utterance is longer than longest, in
// samples, a second at least.
func NewSplitter(from, longest int64) *Splitter {
	return &Splitter{
		spoken:  from,
		longest: max(longest/hop*hop, audio.FrameRate),
		partial: make([]int16, 0, hop),
	}
}

// Write takes the samples that follow and gives out the pieces that are known
// by now.
func (s *Splitter) Write(pcm []int16, give func(Piece)) {
	for len(pcm) > 0 {
		n := min(hop-len(s.partial), len(pcm))
		s.partial = append(s.partial, pcm[:n]...)
		pcm = pcm[n:]
		if len(s.partial) == hop {
			s.detector.Write(s.partial)
			s.buf = append(s.buf, s.partial...)
			s.partial = s.partial[:0]
			s.judge(give)
		}
	}
}

// judge looks at what the detector made of the newest hop.
func (s *Splitter) judge(give func(Piece)) {
	d, now := &s.detector, s.detector.Position()
	switch {
	case !s.talking && d.Speech() && d.LastSpeech() > s.spoken:
		s.silence(max(d.SpeechStart()-preroll, now-int64(len(s.buf))), give)
		s.begin(give)
	case s.talking && !d.Speech():
		s.end(now, give)
	case s.talking && now-s.spoken > s.longest-hop:
		s.speech(s.cut(), now, give)
		if s.talking = false; d.LastSpeech() > s.spoken {
			s.begin(give)
		}
	case !s.talking && now-keep-s.spoken >= report:
		s.silence(now-keep, give)
	}
	if n := len(s.buf) - keep; !s.talking && n >= report/10 {
		s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	}
}

// Flush gives out all that was written: a pause is a pause. What of the newest
// silence may be speech that just begins is kept.
func (s *Splitter) Flush(give func(Piece)) {
	now := s.detector.Position()
	if s.talking && (s.spoke() >= shortest || s.detector.Silence() >= shortest) {
		s.end(now, give)
	}
	if !s.talking {
		s.silence(now-keep, give)
	}
}

// Finish gives out all that was written, to the last sample. Nothing follows.
func (s *Splitter) Finish(give func(Piece)) {
	now := s.detector.Position() + int64(len(s.partial))
	s.buf = append(s.buf, s.partial...)
	if s.talking {
		s.end(now, give)
	}
	s.silence(now, give)
	s.buf = nil
}

// begin begins an utterance at spoken.
func (s *Splitter) begin(give func(Piece)) {
	s.talking, s.voice = true, max(s.detector.SpeechStart(), s.spoken)
	give(Piece{Kind: Begun, Start: s.spoken, End: s.spoken})
}

// spoke is how much speech there is in the utterance under way.
func (s *Splitter) spoke() int64 {
	return s.detector.LastSpeech() - s.voice
}

// end ends the utterance under way. now is the position behind buf.
func (s *Splitter) end(now int64, give func(Piece)) {
	s.talking = false
	if s.spoke() < shortest {
		s.silence(max(now-keep, s.spoken+hop), give)
		return
	}
	s.speech(min(s.detector.LastSpeech()+tail, now), now, give)
}

// speech gives out the utterance up to end. now is the position behind buf.
func (s *Splitter) speech(end, now int64, give func(Piece)) {
	at := func(position int64) int64 { return int64(len(s.buf)) - (now - position) }
	p := Piece{Kind: Speech, Start: s.spoken, End: end, PCM: s.buf[at(s.spoken):at(end):at(end)], Voice: s.voice}
	s.buf = slices.Clone(s.buf[at(end):])
	s.spoken = end
	give(p)
}

// silence gives out the silence up to end.
func (s *Splitter) silence(end int64, give func(Piece)) {
	if end <= s.spoken {
		return
	}
	p := Piece{Kind: Silence, Start: s.spoken, End: end}
	s.spoken = end
	give(p)
}

// cut finds where an utterance that is too long is cut: where it is quietest,
// and as late as possible.
func (s *Splitter) cut() int64 {
	const w = quietest / hop
	within := int(min(cutWithin, s.longest/2)) / hop
	last := s.buf[len(s.buf)-within*hop:]
	energy := make([]float64, within)
	for i := range energy {
		for _, v := range last[i*hop : (i+1)*hop] {
			energy[i] += float64(v) * float64(v)
		}
	}
	best, least := 0, 0.0
	for i := range len(energy) - w + 1 {
		sum := 0.0
		for _, e := range energy[i : i+w] {
			sum += e
		}
		if i == 0 || sum <= least {
			best, least = i, sum
		}
	}
	return s.detector.Position() - int64(within-best-w/2)*hop
}
