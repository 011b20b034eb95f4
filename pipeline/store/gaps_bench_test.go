package store

import (
	"fmt"
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// BenchmarkLongMeeting reads a meeting of 20 tracks of 8 hours, each with an
// utterance every 5 s and a gap every 10 s.
func BenchmarkLongMeeting(b *testing.B) {
	const tracks, seconds = 20, 8 * 3600
	s := openTest(b)
	for k := range tracks {
		id := fmt.Sprintf("T%02d", k)
		tr := track(b, s, id, "M", ada)
		c := Commit{Track: id, Epoch: tr.Epoch, Through: seconds * audio.TickRate, Account: audio.Account{Received: seconds * audio.TickRate}}
		for at := int64(0); at < seconds; at += 5 {
			c.Segments = append(c.Segments, seg(id, int(at), at*1000, at*1000+4000, "and then we come to the second point of the agenda"))
			if at%10 == 0 {
				c.Gaps = append(c.Gaps, lost(at*audio.TickRate, (at+1)*audio.TickRate))
			}
		}
		c.Gaps = append(c.Gaps, skipped(0, audio.TickRate))
		ok[int64](b)(s.Commit(b.Context(), c))
	}
	b.Run("meeting", func(b *testing.B) {
		for b.Loop() {
			ok[meeting.Meeting](b)(s.Meeting(b.Context(), "M"))
		}
	})
	b.Run("gaps", func(b *testing.B) {
		for b.Loop() {
			ok[[]meeting.Gap](b)(s.Gaps(b.Context(), "M"))
		}
	})
	b.Run("transcript", func(b *testing.B) {
		for b.Loop() {
			ok[[]transcript.Segment](b)(s.Transcript(b.Context(), "M"))
		}
	})
}
