package transcribe

// recent is the newest wake samples that were added, for a stream that begins
// now. The zero value has none.
type recent struct {
	ring  []int16
	added int64
}

func (r *recent) add(pcm []int16) {
	if r.ring == nil {
		r.ring = make([]int16, wake)
	}
	for len(pcm) > 0 {
		n := copy(r.ring[r.added%wake:], pcm)
		pcm = pcm[n:]
		r.added += int64(n)
	}
}

// len is how many there are.
func (r *recent) len() int64 { return min(r.added, wake) }

// last is the first part of the newest n samples, as much as lies in one piece.
// It is valid until more are added.
func (r *recent) last(n int64) []int16 {
	at := (r.added - n) % wake
	return r.ring[at:min(at+n, wake)]
}
