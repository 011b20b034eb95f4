package signaling

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

// noAudio has none, for that reason.
type noAudio struct {
	Transcripts
	err error
}

func (n noAudio) Audio(context.Context, string, string) (int64, iter.Seq2[audio.Frame, error], error) {
	return 0, nil, n.err
}

// Audio that is gone is told from audio that never was, and why.
func TestAudioThatIsGone(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	for kind, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"audio-expired": {fmt.Errorf("audio: %w", &meeting.ExpiredError{At: at}), http.StatusGone, "2026-03-04T04:06:07Z, as --keep-audio"},
		"audio-lost":    {fmt.Errorf("%w: no such file", meeting.ErrAudioLost), http.StatusGone, "its transcript is kept"},
		"not-found":     {meeting.ErrNotFound, http.StatusNotFound, "/v1/meetings"},
	} {
		s := begin(t, Config{Transcripts: noAudio{err: c.err}})
		got := s.do(http.MethodGet, "/v1/meetings/m/tracks/t/audio.wav", "")
		if got.status != c.status || got.kind != kind || !strings.Contains(got.body, c.says) || strings.Contains(got.body, "no such file") {
			t.Errorf("%s: %d %s", kind, got.status, got.body)
		}
	}
}
