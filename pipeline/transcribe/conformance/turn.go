package conformance

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
)

// Turn is one connection to the scripted server, or one request where the
// protocol has one per utterance. It belongs to the goroutine that serves it.
type Turn struct {
	// Status other than 0 is what a server of HTTP answers in place of serving,
	// with Retry-After unless that is 0. It is whole seconds.
	Status     int
	RetryAfter time.Duration
	// Replies is set by the server of a protocol in which every message has one
	// reply: what is late there is the reply, and all that follow wait for it.
	Replies bool

	// Ear understands what Hear is given.
	Ear Ear

	s     *Script
	n     int // from 1 on
	began time.Time
	heard int64
	// held is a final that waits for the next one, since heldAt.
	held   *Said
	heldAt time.Time
	queue  []due
	// What was done already.
	garbled bool
	finals  int
}

type due struct {
	said Said
	at   time.Time
}

// Places in the audio of a turn at which it misbehaves, each in mid-word: one
// that comes before the first final, one after it, and one at the end of it.
var places = [...]int64{
	1: 2*audio.FrameRate + 50*audio.FrameRate/1000,
	2: 6*audio.FrameRate + 250*audio.FrameRate/1000,
	3: 2*audio.FrameRate + 950*audio.FrameRate/1000,
}

// Turn is the server's next connection or request. It is called before anything
// is answered; ok is false when the server is to close without a word.
func (s *Script) Turn() (turn *Turn, ok bool) {
	s.mu.Lock()
	s.turns++
	turn = &Turn{s: s, n: s.turns, began: time.Now()}
	if early := s.wait.Sub(turn.began); early > 0 {
		s.t.Errorf("asked again %v before Retry-After", early)
	}
	defer s.mu.Unlock()
	refuse := turn.n <= s.refused() || turn.n == s.refused()+2 && !s.realTime
	switch {
	case s.fault == Hangs && refuse:
		s.mu.Unlock()
		<-s.done
		s.mu.Lock()
		return turn, false
	case s.fault == Busy && refuse:
		turn.Status, turn.RetryAfter = http.StatusTooManyRequests, max(time.Second, s.scaled(3*time.Second))
	case s.fault == Broken && refuse:
		turn.Status = http.StatusInternalServerError
	case s.fault == Unauthorized && refuse:
		turn.Status = http.StatusUnauthorized
	}
	return turn, true
}

// Refuse answers an HTTP request with Status. Who is told when to ask again must
// not ask before.
func (t *Turn) Refuse(w http.ResponseWriter) {
	t.s.mu.Lock()
	t.s.wait = t.began.Add(t.RetryAfter)
	t.s.mu.Unlock()
	if t.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(t.RetryAfter/time.Second)))
	}
	http.Error(w, "as the script says", t.Status)
}

// misbehaves reports whether the turn has come to its place.
func (t *Turn) misbehaves() bool {
	n, most := t.n, len(places)-1
	switch t.s.fault {
	case Hangs, Busy, Broken, Unauthorized:
		n, most = n-t.s.refused(), 1 // of the first that is served, some is heard
	default:
		if t.s.realTime {
			most = 2 // after three in a row the supervisor waits for seconds
		}
	}
	return n >= 1 && n <= most && t.heard >= places[n]
}

// refused is how many turns are not served at first.
func (s *Script) refused() int {
	if s.realTime {
		return 1
	}
	return 2
}

// Hear takes the samples (16 kHz mono) that follow and returns what to say to
// that now, in order. It may take its time. alive is false when the server is to
// close the connection at once, without saying anything.
func (t *Turn) Hear(pcm []int16) (said []Said, alive bool) {
	t.heard += int64(len(pcm))
	switch t.s.fault {
	case Closes, Busy, Broken, Unauthorized, Hangs, Refuses:
		if t.misbehaves() {
			return nil, false
		}
	case Stops:
		if t.misbehaves() {
			<-t.s.done
			return nil, false
		}
	case Silent:
		if t.misbehaves() {
			return nil, true
		}
	case Slow:
		if t.n == 1 && t.heard < 2*audio.FrameRate {
			time.Sleep(t.s.scaled(10 * samples(len(pcm))))
		}
	case Garbage:
		if t.misbehaves() && !t.garbled {
			t.garbled = true
			said = append(said, Said{Garbage: true})
		}
	case Limit, Rotates:
		if time.Since(t.began) > t.s.limit() {
			t.s.mu.Lock()
			t.s.limited++
			t.s.mu.Unlock()
			return nil, false
		}
	case None, CatchUp, Twice, Swapped, Late, Never:
	}
	for _, f := range t.Ear.Write(pcm) {
		said = append(said, t.final(f)...)
	}
	if interim, ok := t.Ear.Interim(); ok {
		said = append(said, interim)
	}
	return t.delay(said), true
}

// Flush says what the server says when the client wants the final of what it
// has sent so far.
func (t *Turn) Flush() (said []Said, alive bool) {
	if t.s.fault == Silent && t.misbehaves() {
		return nil, true
	}
	for _, f := range t.Ear.Flush() {
		said = append(said, t.final(f)...)
	}
	return t.delay(said), true
}

// Finish says what is left when the client has nothing to send any more.
func (t *Turn) Finish() (said []Said, alive bool) {
	if t.s.fault == Silent && t.misbehaves() {
		<-t.s.done
		return nil, false
	}
	said, _ = t.Flush()
	said = append(said, t.release()...)
	for _, d := range t.queue {
		time.Sleep(time.Until(d.at))
		said = append(said, d.said)
	}
	t.queue = nil
	return said, true
}

// Idle says what is said while nothing is heard. Servers of protocols in which
// audio does not come all the time, or that have no Finish, call it now and then.
func (t *Turn) Idle() (said []Said) {
	if t.held != nil && time.Since(t.heldAt) > t.s.scaled(4*time.Second) {
		said = t.release()
	}
	return t.delay(said)
}

// release is the final that waits for another.
func (t *Turn) release() (said []Said) {
	if t.held != nil {
		said, t.held = []Said{*t.held}, nil
	}
	return said
}

// final is what is said in place of a final.
func (t *Turn) final(f Said) []Said {
	if len(f.Words) > 0 {
		t.finals++
	}
	switch t.s.fault {
	case Twice:
		return []Said{f, f}
	case Swapped:
		if t.held == nil {
			t.held, t.heldAt = &f, time.Now()
			return nil
		}
		both := []Said{f, *t.held}
		t.held = nil
		return both
	case Never:
		// The first words of the first, the second of the second turn.
		if t.n <= 2 && len(f.Words) > 0 && t.finals == t.n {
			return []Said{{Withheld: true}}
		}
	default:
	}
	return []Said{f}
}

// delay holds back what is said, for as long as the fault is.
func (t *Turn) delay(said []Said) (now []Said) {
	if t.s.fault != Late {
		return said
	}
	if t.Replies {
		if slices.ContainsFunc(said, func(one Said) bool { return one.Final }) {
			time.Sleep(t.s.scaled(3 * time.Second))
		}
		return said
	}
	for _, one := range said {
		t.queue = append(t.queue, due{one, time.Now().Add(t.s.scaled(3 * time.Second))})
	}
	for len(t.queue) > 0 && !t.queue[0].at.After(time.Now()) {
		now = append(now, t.queue[0].said)
		t.queue = t.queue[1:]
	}
	return now
}

func samples(n int) time.Duration { return time.Duration(n) * time.Second / tonecode.Rate }
