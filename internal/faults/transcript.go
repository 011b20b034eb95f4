//go:build linux

package main

import (
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
	"verbatim/signaling/whipclient"
)

// document is a transcript as the API gives it.
type document struct {
	Meeting  meeting.Meeting      `json:"meeting"`
	Segments []transcript.Segment `json:"segments"`
	Complete bool                 `json:"complete"`
	Missing  []transcript.Missing `json:"missing"`
}

// meetings are those of a room, the oldest first.
func meetings(ctx context.Context, c *whipclient.Client, room string) ([]meeting.Meeting, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var list struct {
		Meetings []meeting.Meeting `json:"meetings"`
	}
	if err := c.Get(ctx, "/v1/meetings?room="+room, &list); err != nil {
		return nil, err
	}
	slices.Reverse(list.Meetings)
	return list.Meetings, nil
}

// transcripts ends a room's meeting and waits until it, and those before it if
// there are more, are transcribed to the end. The last of each stays in dir.
func transcripts(ctx context.Context, c *whipclient.Client, room, dir string) (docs []document, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the transcript is not finished"))
	defer cancel()
	ms, err := meetings(ctx, c, room)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.State == meeting.StateLive {
			if err := end(ctx, c, m.ID); err != nil {
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
			if d, err = readTranscript(ctx, c, m.ID, dir); err != nil {
				return nil, err
			}
		}
		docs = append(docs, d)
	}
	return docs, nil
}

func readTranscript(ctx context.Context, c *whipclient.Client, id, dir string) (d document, err error) {
	var b json.RawMessage
	if err := c.Get(ctx, "/v1/meetings/"+id+"/transcript.json", &b); err != nil {
		return d, err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, err
	}
	return d, os.WriteFile(filepath.Join(dir, id+".json"), b, 0o600)
}

func end(ctx context.Context, c *whipclient.Client, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/v1/meetings/"+id+"/end", nil)
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
