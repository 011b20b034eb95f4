package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// BenchmarkMeetings: the first page of a thousand meetings, a page in their midst,
// those of one room, and one of them. Each has five people who came back once, and
// places where something was skipped or lost.
func BenchmarkMeetings(b *testing.B) {
	s := openTest(b)
	ctx := b.Context()
	for i := range 1000 {
		id, at := fmt.Sprintf("M%04d", i), t0.Add(time.Duration(i)*time.Hour)
		for p := range 5 {
			who := transcript.Participant{ID: fmt.Sprintf("p%d", p), Name: strings.Repeat("n", 20)}
			_, _, err := s.Join(ctx, fmt.Sprintf("room%d", i%20), who, "", id, at)
			must(b, err)
			for k := range 2 {
				c := Commit{Track: fmt.Sprintf("%s-%d-%d", id, p, k), Through: 100 * audio.TickRate, Account: audio.Account{Received: 100 * audio.TickRate}}
				must(b, s.CreateTrack(ctx, meeting.Track{ID: c.Track, Meeting: id, Participant: who.ID, StartedAt: at}))
				c.Epoch = ok[meeting.Track](b)(s.Claim(ctx, c.Track)).Epoch
				for g := range int64(20) {
					c.Gaps = append(c.Gaps, meeting.Gap{Kind: transcript.Skipped, Start: g * 1000, End: g*1000 + 10, Ticks: 10, Reason: "r"})
				}
				ok[int64](b)(s.Commit(ctx, c))
			}
		}
		ok[meeting.State](b)(s.EndMeeting(ctx, id, at.Add(time.Hour)))
	}
	_, cursor, err := s.Meetings(ctx, "", 500, "")
	must(b, err)
	for _, f := range []struct {
		name string
		get  func() error
	}{
		{"first20", func() error { _, _, err := s.Meetings(ctx, "", 20, ""); return err }},
		{"first100", func() error { _, _, err := s.Meetings(ctx, "", 100, ""); return err }},
		{"middle20", func() error { _, _, err := s.Meetings(ctx, "", 20, cursor); return err }},
		{"room20", func() error { _, _, err := s.Meetings(ctx, "room7", 20, ""); return err }},
		{"one", func() error { _, err := s.Meeting(ctx, "M0500"); return err }},
		{"live", func() error { _, err := s.LiveMeetings(ctx); return err }},
	} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				must(b, f.get())
			}
		})
	}
}
