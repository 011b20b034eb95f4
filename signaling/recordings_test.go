package signaling

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

// tape is a track of a known sound that counts how often it is opened.
type tape struct {
	Transcripts
	samples      int64
	opened, left int
	breaks       int64 // a sample that cannot be read; 0 for none
}

func (tp *tape) Audio(context.Context, string, string) (int64, iter.Seq2[audio.Frame, error], error) {
	tp.opened++
	tp.left++
	return tp.samples, func(yield func(audio.Frame, error) bool) {
		defer func() { tp.left-- }()
		for at := int64(0); at < tp.samples; at += 320 {
			if tp.breaks > 0 && at >= tp.breaks {
				yield(audio.Frame{}, errors.New("broken"))
				return
			}
			pcm := make([]int16, min(320, tp.samples-at))
			for i := range pcm {
				pcm[i] = int16(at + int64(i))
			}
			if !yield(audio.Frame{Start: at, PCM: pcm, Kind: audio.Coded}, nil) {
				return
			}
		}
	}, nil
}

// Every range of a WAV file is the same bytes as in the whole.
func TestWAVRanges(t *testing.T) {
	tp := &tape{samples: 10_001}
	s := begin(t, Config{Transcripts: tp})
	const url = "/v1/meetings/m/tracks/t/audio.wav"
	whole := s.do(http.MethodGet, url, "")
	size := 44 + 2*10_001
	if len(whole.body) != size || whole.header.Get("Accept-Ranges") != "bytes" || whole.header.Get("Content-Type") != "audio/wav" {
		t.Fatalf("%d bytes, %v", len(whole.body), whole.header)
	}
	head := s.do(http.MethodHead, url, "")
	if head.status != http.StatusOK || head.header.Get("Content-Length") != fmt.Sprint(size) || head.body != "" {
		t.Errorf("HEAD: %d, %v", head.status, head.header)
	}
	for _, c := range []struct {
		rang     string
		from, to int
	}{
		{"bytes=0-0", 0, 1}, {"bytes=0-43", 0, 44}, {"bytes=40-50", 40, 51}, {"bytes=45-", 45, size},
		{"bytes=15001-15002", 15001, 15003}, {"bytes=-1", size - 1, size}, {"bytes=-99999", 0, size}, {"bytes=20000-99999", 20000, size},
	} {
		got := s.do(http.MethodGet, url, "", "Range", c.rang)
		if got.status != http.StatusPartialContent || got.body != whole.body[c.from:c.to] {
			t.Errorf("%s: %d, %d bytes", c.rang, got.status, len(got.body))
		}
	}
	if got := s.do(http.MethodGet, url, "", "Range", "bytes=99999-"); got.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", got.status)
	}
	if got := s.do(http.MethodGet, url, "", "Range", "bytes=0-1,3-4,6-7"); got.status != http.StatusOK || got.body != whole.body {
		t.Errorf("several ranges: %d", got.status)
	}
	if got := s.do(http.MethodGet, url, "", "Range", "bytes=0-9", "If-Range", `"another"`); got.status != http.StatusOK {
		t.Errorf("a range of another file: %d", got.status)
	}
	if got := s.do(http.MethodGet, url, "", "Range", "bytes=0-9", "If-Range", whole.header.Get("ETag")); got.status != http.StatusPartialContent {
		t.Errorf("a range of this file: %d", got.status)
	}
	if tp.left != 0 {
		t.Errorf("%d of %d are still open", tp.left, tp.opened)
	}
}

func TestWAVSeeksBack(t *testing.T) {
	tp := &tape{samples: 1000}
	f, err := openWAV(func() (int64, iter.Seq2[audio.Frame, error], error) { return tp.Audio(t.Context(), "", "") }, func() {})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(f)
	if err != nil || len(whole) != 2044 {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	tp.samples = 2000 // it goes on
	for _, at := range []int64{2000, 100, 0, 1999, 44} {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(rest, whole[at:]) {
			t.Errorf("from %d: %d bytes, %v", at, len(rest), err)
		}
	}
	f.close()
	f.close()
	if tp.left != 0 || tp.opened < 2 {
		t.Errorf("%d of %d are open", tp.left, tp.opened)
	}
}

// A file that cannot be read to its end does not look whole.
func TestWAVThatBreaks(t *testing.T) {
	s := begin(t, Config{Transcripts: &tape{samples: 100_000, breaks: 50_000}})
	resp, err := http.Get(s.url + "/v1/meetings/m/tracks/t/audio.wav")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes without an error", len(b))
	}
}

// shelf has one recording, or a reason why not.
type shelf struct {
	kept   string
	made   string
	err    error // of asking
	broken error // of making
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func (sh shelf) Mix(context.Context, string) (meeting.Recording, error) {
	r := meeting.Recording{Write: func(w io.Writer) error {
		if sh.made == "" {
			return sh.broken
		}
		if _, err := io.WriteString(w, sh.made); err != nil {
			return errors.New("what the encoder makes of it")
		}
		return nil
	}}
	if sh.kept != "" {
		r.Kept, r.At = nopCloser{strings.NewReader(sh.kept)}, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	}
	return r, sh.err
}

func (sh shelf) Opus(ctx context.Context, id, _ string) (meeting.Recording, error) {
	return sh.Mix(ctx, id)
}

func TestRecordings(t *testing.T) {
	const flac, opus = "/v1/meetings/m/audio.flac", "/v1/meetings/m/tracks/t/audio.opus"
	gone := &meeting.ExpiredError{At: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	for name, c := range map[string]struct {
		url    string
		shelf  shelf
		rang   string
		status int
		mime   string
		body   string // or a part of it
	}{
		"kept":           {flac, shelf{kept: "fLaC…"}, "", 200, "audio/flac", "fLaC…"},
		"a part":         {opus, shelf{kept: "OggS…"}, "bytes=1-2", 206, "audio/ogg", "gg"},
		"made":           {flac, shelf{made: "fLaC…"}, "bytes=1-2", 200, "audio/flac", "fLaC…"},
		"made, Opus":     {opus, shelf{made: "OggS…"}, "", 200, "audio/ogg", "OggS…"},
		"live":           {flac, shelf{err: meeting.ErrLive}, "", 409, "", "meeting-live"},
		"none such":      {flac, shelf{err: meeting.ErrNotFound}, "", 404, "", "not-found"},
		"never Opus":     {opus, shelf{broken: meeting.ErrNotOpus}, "", 404, "", "/v1/meetings/m/tracks/t/audio.wav"},
		"expired":        {opus, shelf{broken: fmt.Errorf("x: %w", gone)}, "", 410, "", "audio-expired"},
		"lost":           {flac, shelf{broken: meeting.ErrAudioLost}, "", 410, "", "audio-lost"},
		"bucket is away": {flac, shelf{err: errors.New("secret")}, "", 500, "", "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, Config{Recordings: c.shelf})
			mime := c.mime
			if mime == "" {
				mime = "application/problem+json"
			}
			got := s.do(http.MethodGet, c.url, "", "Range", c.rang)
			if got.status != c.status || got.header.Get("Content-Type") != mime || !strings.Contains(got.body, c.body) || strings.Contains(got.body, "secret") {
				t.Errorf("%d, %v: %s", got.status, got.header, got.body)
			}
			ranges := map[bool]string{true: "bytes", false: "none"}[c.shelf.kept != ""]
			if c.mime != "" && (got.header.Get("Accept-Ranges") != ranges || !strings.HasPrefix(got.header.Get("Content-Disposition"), "inline; filename=")) {
				t.Errorf("%v", got.header)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.url+c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := map[bool]int{true: 200, false: c.status}[c.status == 206]; resp.StatusCode != want || resp.Header.Get("Content-Type") != mime {
				t.Errorf("HEAD: %d, %v", resp.StatusCode, resp.Header)
			}
		})
	}
}
