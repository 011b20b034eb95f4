package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// Audio that is kept no longer than it is needed is gone from the disk, and the
// track says so; its account stays what it was. Audio that still waits for its
// transcript outlives the server that took it in.
func TestKeepNoAudio(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "command:false", "--keep-audio", "0", "--drain", "100ms")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("?name=Ada&participant=ada", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	m := s.until("the track has ended", func(m meeting.Meeting) bool { return len(m.Tracks) == 1 && m.Tracks[0].State == meeting.TrackPending })
	if m.Tracks[0].Audio != meeting.AudioKept || m.Tracks[0].AudioExpiredAt != nil {
		t.Errorf("audio %s, %v", m.Tracks[0].Audio, m.Tracks[0].AudioExpiredAt)
	}
	before := bytesBelow(t, filepath.Join(data, "tracks"))
	s.kill()

	s = serve(t, data, "none:", "--keep-audio", "0")
	m = s.until("the audio has expired", func(m meeting.Meeting) bool { return m.Tracks[0].Audio == meeting.AudioExpired })
	track := m.Tracks[0]
	if track.State != meeting.TrackComplete || track.AudioExpiredAt == nil || time.Since(*track.AudioExpiredAt) > time.Minute ||
		track.Coverage.ReceivedMS != int64(len(pcm)/16) || track.Coverage.ShedMS != 0 {
		t.Errorf("track %+v", track)
	}
	if after := bytesBelow(t, filepath.Join(data, "tracks")); before < int64(2*len(pcm)) || after > 1000 {
		t.Errorf("%d bytes are left of %d", after, before)
	}
	resp, err := http.Get(s.url + "/v1/meetings/" + m.ID + "/tracks/" + track.ID + "/audio.wav")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p struct{ Type, Detail string }
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusGone ||
		p.Type != "urn:verbatim:problem:audio-expired" || !strings.Contains(p.Detail, track.AudioExpiredAt.UTC().Format(time.RFC3339)) {
		t.Errorf("status %d, %+v, %v", resp.StatusCode, p, err)
	}
	s.stop()
}

func bytesBelow(t *testing.T, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
