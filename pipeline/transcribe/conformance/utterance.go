package conformance

import "verbatim/internal/tonecode"

// Utterance is Hear and Finish for servers that get an utterance as a whole and
// give one answer: the finals in it, and garbage.
func Utterance(t *Turn, pcm []int16) (finals []Said, alive bool) {
	const piece = tonecode.Rate / 10
	var said []Said
	for len(pcm) > 0 {
		n := min(piece, len(pcm))
		more, alive := t.Hear(pcm[:n])
		if !alive {
			return nil, false
		}
		said = append(said, more...)
		pcm = pcm[n:]
	}
	rest, alive := t.Finish()
	if !alive {
		return nil, false
	}
	for _, one := range append(said, rest...) {
		if one.Final || one.Garbage {
			finals = append(finals, one)
		}
	}
	return finals, true
}
