package main

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// Who comes back is the same person, in the same place of the list (by which pages
// choose colours), and what they say then stands where it was said.
func TestComesBack(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	s := serve(t, t.TempDir(), "command:"+os.Args[0], "--linger", "30s")
	pcm := speech.PCM("sas-0880")[:16000]
	speak := func(query string) {
		c := s.ingest(query, 16000, "")
		c.send(pcm, 0, len(pcm))
		c.end(len(pcm))
	}
	people := func(m meeting.Meeting) (ids []string) {
		for _, p := range m.Participants {
			ids = append(ids, p.ID)
		}
		return ids
	}
	speak("?participant=zoe&name=Zoe")
	first := s.until("she is there", func(m meeting.Meeting) bool { return len(m.Participants) == 1 }).Participants[0]
	speak("?participant=bob&name=Bob")
	speak("?participant=zoe&name=Zoe+R.")
	speak("?participant=ann&name=Ann")
	speak("?participant=zoe&name=Zoe")
	id := s.meetings()[0].ID
	s.request(http.MethodPost, "/v1/meetings/"+id+"/end", "")
	m := s.until("it is complete", func(m meeting.Meeting) bool { return m.State == meeting.StateComplete })
	if got := people(m); !slices.Equal(got, []string{"zoe", "bob", "ann"}) || m.Participants[0].Name != "Zoe" || !m.Participants[0].JoinedAt.Equal(first.JoinedAt) {
		t.Errorf("participants %+v", m.Participants)
	}
	var d struct{ Segments []transcript.Segment }
	if err := json.Unmarshal(s.get("/v1/meetings/"+id+"/transcript.json"), &d); err != nil || len(d.Segments) != 5*4 {
		t.Fatalf("%d segments (%v), want 4 of each of 5 tracks", len(d.Segments), err)
	}
	// They send faster than one speaks: what they say stands where their track begins.
	var turns []string
	for i, seg := range d.Segments {
		track := m.Tracks[slices.IndexFunc(m.Tracks, func(t meeting.Track) bool { return t.ID == seg.Track })]
		begins := track.StartedAt.Sub(m.StartedAt).Milliseconds()
		if seg.StartMS < begins-5 || seg.StartMS > begins+1000 || seg.Participant.ID != track.Participant {
			t.Errorf("segment %d, %s, of %s starts at %d ms, its track at %d", i, seg.ID, seg.Participant.ID, seg.StartMS, begins)
		}
		if len(turns) == 0 || seg.Track != d.Segments[i-1].Track {
			turns = append(turns, seg.Participant.ID)
		}
	}
	if want := []string{"zoe", "bob", "zoe", "ann", "zoe"}; !slices.Equal(turns, want) {
		t.Errorf("they speak in the order %v, want %v", turns, want)
	}
	if vtt := string(s.get("/v1/meetings/" + id + "/transcript.vtt")); strings.Count(vtt, "<v Zoe>") != 12 || strings.Count(vtt, "<v ") != 20 {
		t.Errorf("one person has several names:\n%s", vtt)
	}
	s.stop()
}
