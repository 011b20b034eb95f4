package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mewkiz/flac"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

// request answers with what came back, whatever it is.
func (s *process) request(method, path, rang string) (*http.Response, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if rang != "" {
		req.Header.Set("Range", rang)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, b
}

// A meeting of one who sends Opus and, after them, one who sends PCM: both can be
// had as they came, and together on the meeting's clock, while the audio is there
// and when it has expired; until the meeting is erased.
func TestRecordings(t *testing.T) {
	data := t.TempDir()
	kept := filepath.Join(data, "elsewhere")
	s := serve(t, data, "none:", "--keep-audio", "0", "--recordings", "file://"+kept)
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--name", "Ada", "--url", s.url).CombinedOutput()
	if err != nil {
		t.Fatalf("publish: %v: %s", err, out)
	}
	pcm := speech.PCM("sas-0890")
	c := s.ingest("?name=Bob&participant=bob", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	m := s.until("both tracks are there", func(m meeting.Meeting) bool { return len(m.Tracks) == 2 && m.Tracks[1].State == meeting.TrackComplete })
	base := "/v1/meetings/" + m.ID
	opus, wav := base+"/tracks/"+m.Tracks[0].ID+"/audio.opus", base+"/tracks/"+m.Tracks[1].ID+"/audio.opus"
	if resp, b := s.request(http.MethodGet, base+"/audio.flac", ""); resp.StatusCode != http.StatusConflict {
		t.Errorf("of a live meeting: %d %s", resp.StatusCode, b)
	}
	if resp, b := s.request(http.MethodGet, wav, ""); resp.StatusCode != http.StatusNotFound || !strings.Contains(string(b), "/audio.wav.") {
		t.Errorf("Opus of PCM: %d %s", resp.StatusCode, b)
	}
	checkOpus(t, s.get(opus))
	if resp, b := s.request(http.MethodPost, base+"/end", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("end: %d %s", resp.StatusCode, b)
	}

	m = s.until("it is recorded, and the audio has expired", func(m meeting.Meeting) bool {
		return m.RecordedAt != nil && m.Tracks[0].Audio == meeting.AudioExpired && m.Tracks[1].Audio == meeting.AudioExpired
	})
	checkOpus(t, s.get(opus))
	mix := s.get(base + "/audio.flac")
	heard := unFLAC(t, mix)
	for i, want := range [][]int16{decoded(t, "sas-0880"), pcm} {
		at := int(m.Tracks[i].StartedAt.Sub(m.StartedAt) * 16 / time.Millisecond)
		if off, alike := find(heard, want, at); alike < 0.8 || max(off, -off) > 320 {
			t.Errorf("track %d is %.2f alike, %d samples off", i, alike, off)
		}
	}
	resp, part := s.request(http.MethodGet, base+"/audio.flac", "bytes=100-199")
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(part, mix[100:200]) {
		t.Errorf("a part: %d, %d bytes", resp.StatusCode, len(part))
	}
	resp, _ = s.request(http.MethodHead, base+"/audio.flac", "")
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(mix)) || resp.Header.Get("Content-Type") != "audio/flac" {
		t.Errorf("HEAD: %d, %v", resp.StatusCode, resp.Header)
	}
	if resp, _ = s.request(http.MethodGet, wav, ""); resp.StatusCode != http.StatusGone {
		t.Errorf("Opus of PCM that has expired: %d", resp.StatusCode)
	}

	if bytesBelow(t, kept) == 0 {
		t.Error("nothing is kept")
	}
	if resp, _ := s.request(http.MethodDelete, base, ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("erase: %d", resp.StatusCode)
	}
	if left, _ := os.ReadDir(kept); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.stop()
}

// checkOpus says that a file has the sender's packets.
func checkOpus(t *testing.T, file []byte) {
	t.Helper()
	var got [][]byte
	for p, err := range whipclient.ReadOgg(bytes.NewReader(file)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bytes.Clone(p.Payload))
	}
	want := speech.Packets("sas-0880")
	if n := len(got) - len(want); n < 0 || !slices.EqualFunc(got[n:], want, bytes.Equal) {
		t.Errorf("%d packets are not the %d that were sent", len(got), len(want))
	}
}

func unFLAC(t *testing.T, file []byte) (pcm []int16) {
	t.Helper()
	f, err := flac.New(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ParseNext()
		if errors.Is(err, io.EOF) {
			return pcm
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range frame.Subframes[0].Samples {
			pcm = append(pcm, int16(v))
		}
	}
}

// find looks for want in heard, up to half a second around at: how far it is from
// there, and how alike (1: all but the volume).
func find(heard, want []int16, at int) (off int, alike float64) {
	for o := -8000; o <= 8000; o += 2 {
		var ab, aa, bb float64
		for i := 0; i < len(want); i += 3 {
			if j := at + o + i; j >= 0 && j < len(heard) {
				a, b := float64(want[i]), float64(heard[j])
				ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
			}
		}
		if r := ab / math.Sqrt(aa*bb+1); r > alike {
			off, alike = o, r
		}
	}
	return off, alike
}

// What is wrong with --recordings is told at the start, without secrets.
func TestBadRecordings(t *testing.T) {
	for where, says := range map[string]string{
		"gs://bucket": "-tags gcs", "nosuch://x": "nosuch", "s3://b?nosuch=SECRET": "--recordings", "./folder": "--recordings",
	} {
		out, err := verbatim(t.Context(), "serve", "--listen", "127.0.0.1:0", "--media-listen", "127.0.0.1:0", "--data", t.TempDir(),
			"--recognizer", "none:", "--recordings", where).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), says) || strings.Contains(string(out), "SECRET") {
			t.Errorf("%s: %v: %s", where, err, out)
		}
	}
}

// Who wants no audio to be kept has no recordings, either.
func TestNoRecordings(t *testing.T) {
	data := t.TempDir()
	for name, flags := range map[string][]string{"no audio": {"--keep-audio", "0"}, "none": {"--recordings", "none"}} {
		s := serve(t, filepath.Join(data, name), "none:", flags...)
		s.stop()
		if _, err := os.Stat(filepath.Join(data, name, "recordings")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := serve(t, filepath.Join(data, "default"), "none:")
	s.stop()
	if _, err := os.Stat(filepath.Join(data, "default", "recordings")); err != nil {
		t.Error(fmt.Errorf("default: %w", err))
	}
}
