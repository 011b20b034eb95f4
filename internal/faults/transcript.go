//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// document is a transcript as the API gives it.
type document struct {
	Meeting  meeting.Meeting      `json:"meeting"`
	Segments []transcript.Segment `json:"segments"`
	Complete bool                 `json:"complete"`
	Missing  []transcript.Missing `json:"missing"`
}

// meetings are those of the room, the oldest first.
func (s *site) meetings(ctx context.Context) ([]meeting.Meeting, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var list struct {
		Meetings []meeting.Meeting `json:"meetings"`
	}
	if err := s.client.Get(ctx, "/v1/meetings?room="+room, &list); err != nil {
		return nil, err
	}
	slices.Reverse(list.Meetings)
	return list.Meetings, nil
}

// transcripts ends the meeting and waits until it, and those before it if there
// are more, are transcribed to the end.
func (s *site) transcripts(ctx context.Context) (docs []document, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the transcript is not finished"))
	defer cancel()
	ms, err := s.meetings(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.State == meeting.StateLive {
			if err := s.end(ctx, m.ID); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range ms {
		var d document
		for d.Meeting.State != meeting.StateComplete && d.Meeting.State != meeting.StateIncomplete {
			if err := harness.Sleep(ctx, 200*time.Millisecond); err != nil {
				return nil, err
			}
			if d, err = s.transcript(ctx, m.ID); err != nil {
				return nil, err
			}
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// transcript is one as it is now; the last of each stays in the site's folder.
func (s *site) transcript(ctx context.Context, id string) (d document, err error) {
	var b bytes.Buffer
	if err := s.server.Download(ctx, "/v1/meetings/"+id+"/transcript.json", &b); err != nil {
		return d, err
	}
	if err := json.Unmarshal(b.Bytes(), &d); err != nil {
		return d, err
	}
	return d, os.WriteFile(filepath.Join(s.dir, id+".json"), b.Bytes(), 0o600)
}

func (s *site) end(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.client.URL+"/v1/meetings/"+id+"/end", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("end the meeting: %s", resp.Status)
	}
	return nil
}

// words are those of the transcripts, in their order.
func words(docs []document) (all []word) {
	for _, d := range docs {
		for _, s := range d.Segments {
			for _, w := range s.Words {
				all = append(all, word{s.Participant.ID, s.Track, w.Text, w.StartMS})
			}
		}
	}
	return all
}

// imbalance says where an account does not add up, or "".
func imbalance(c meeting.Coverage) string {
	got := c.ReceivedMS + c.RecoveredMS + c.ConcealedMS + c.SilenceMS + c.DiscontinuityMS + c.ShedMS
	done := c.TranscribedMS + c.PendingMS + c.SkippedMS
	if got != c.DurationMS || done != c.DurationMS {
		return fmt.Sprintf("the account of %d ms has %d ms of audio and %d ms of transcript", c.DurationMS, got, done)
	}
	return ""
}
