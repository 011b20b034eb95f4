package transcribe

// recent is the newest samples that were added, for a stream that begins now.
// The zero value keeps up to wake.
type recent struct {
	ring  []int16
	added int64
	have  int64 // of those that were added
}

func (r *recent) add(pcm []int16) {
	if r.ring == nil {
		r.keep(wake)
	}
	size := int64(len(r.ring))
	r.have = min(r.have+int64(len(pcm)), size)
	for len(pcm) > 0 {
		n := copy(r.ring[r.added%size:], pcm)
		pcm = pcm[n:]
		r.added += int64(n)
	}
}

// keep makes it up to size samples from now on.
func (r *recent) keep(size int) {
	if size == len(r.ring) {
		return
	}
	n := min(r.have, int64(size))
	to := recent{ring: make([]int16, size), added: r.added - n}
	for n > 0 {
		pcm := r.last(n)
		to.add(pcm)
		n -= int64(len(pcm))
	}
	*r = to
}

// last is the first part of the newest n samples (at most have), as much as lies
// in one piece. It is valid until more are added.
func (r *recent) last(n int64) []int16 {
	size := int64(len(r.ring))
	at := (r.added - n) % size
	return r.ring[at:min(at+n, size)]
}
