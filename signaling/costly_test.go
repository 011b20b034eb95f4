package signaling

import (
	"context"
	"io"
	"iter"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"verbatim/media/audio"
	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
)

// loud is a long track, and a mix, that count how many make them at a time.
type loud struct {
	Transcripts
	Recordings
	frames    int
	now, most atomic.Int32
}

// work is what it takes to make a frame.
func (l *loud) work() {
	n := l.now.Add(1)
	for m := l.most.Load(); n > m && !l.most.CompareAndSwap(m, n); m = l.most.Load() {
	}
	runtime.Gosched()
	l.now.Add(-1)
}

func (l *loud) Audio(context.Context, string, string) (int64, iter.Seq2[audio.Frame, error], error) {
	return int64(l.frames) * 320, func(yield func(audio.Frame, error) bool) {
		for i := range l.frames {
			l.work()
			if !yield(audio.Frame{Start: int64(i) * 320, PCM: make([]int16, 320), Kind: audio.Coded}, nil) {
				return
			}
		}
	}, nil
}

func (l *loud) Mix(context.Context, string) (meeting.Recording, error) {
	return meeting.Recording{Write: func(w io.Writer) error {
		for range l.frames {
			l.work()
			if _, err := w.Write(make([]byte, 640)); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

const wavPath, flacPath = "/v1/meetings/m/tracks/t/audio.wav", "/v1/meetings/m/audio.flac"

// However many ask for audio that is made for them, from wherever in it, some
// processors are left for those who speak.
func TestAudioIsMadeByTurns(t *testing.T) {
	l := &loud{frames: 4 * turnFrames}
	s := begin(t, Config{Transcripts: l, Recordings: l})
	s.server.costly.making = semaphore.NewWeighted(1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			path, headers := wavPath, []string{"Range", "bytes=2000000-"} // all of it is decoded for its end
			if i%2 == 0 {
				path, headers = flacPath, nil
			}
			if a := s.do(http.MethodGet, path, "", headers...); a.status/100 != 2 || len(a.body) < 500_000 {
				t.Errorf("%s: %d, %d bytes", path, a.status, len(a.body))
			}
		})
	}
	wg.Wait()
	if n := l.most.Load(); n != 1 {
		t.Errorf("%d made audio at a time", n)
	}
}

// Who reads nothing of what is made keeps nobody else waiting.
func TestWhoReadsNothingHasNoTurn(t *testing.T) {
	l := &loud{frames: 60_000} // 38 MB: more than sockets hold
	s := begin(t, Config{Transcripts: l, Recordings: l})
	s.server.costly.making = semaphore.NewWeighted(1)
	for _, path := range []string{wavPath, flacPath} {
		t.Run(path, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			get := func(rang string) *http.Response {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Range", rang)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				return resp
			}
			deaf := get("")
			defer deaf.Body.Close()
			resp := get("bytes=0-99")
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
				t.Error(err)
			}
		})
	}
}

// slowInsight is a database that takes as long as the test wants.
type slowInsight struct {
	Insight
	in  chan struct{} // holds one for each that reads
	out chan struct{} // closed when they may go on
}

func (i slowInsight) MeetingStats(context.Context, string) (insight.MeetingReport, error) {
	i.in <- struct{}{}
	<-i.out
	return insight.MeetingReport{}, nil
}

// What reads much of the database does so a few at a time, and an address has a few
// that wait.
func TestReadsTakeTurns(t *testing.T) {
	db := slowInsight{in: make(chan struct{}, 100), out: make(chan struct{})}
	s := begin(t, Config{Insight: db})
	s.handler = s.server.Routes()
	const path, from = "/v1/meetings/m/stats", "198.51.100.7:1"
	var wg sync.WaitGroup
	for range maxReadsEach {
		wg.Go(func() {
			if w := s.from(from, http.MethodGet, path, ""); w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	soon(t, "all have asked", func() bool {
		return s.server.gate.count("reads 198.51.100.7/32") == maxReadsEach && len(db.in) == maxReads
	})
	if w := s.from(from, http.MethodGet, path, ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one more of that address: %d %s", w.Code, w.Body)
	}
	if n := len(db.in); n != maxReads {
		t.Errorf("%d read at a time", n)
	}
	close(db.out)
	wg.Wait()
	if n := s.server.gate.count("reads 198.51.100.7/32"); n != 0 {
		t.Errorf("%d places are not given back", n)
	}
}
