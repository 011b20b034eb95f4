package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
	"verbatim/signaling"
)

// A long day: 8 hours in which 20 people say 20,000 things of 12 words, of which
// two or three overlap at any time, with 100 places each where something was lost.
const (
	dayPeople   = 20
	daySegments = 20_000
	dayHours    = 8
	dayWords    = "and then we come to the second point of the agenda, Björn"
)

// longDay stores one in the data folder, and returns the meeting's id.
func longDay(tb testing.TB, data string) (id string) {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx := context.Background()
	db, err := store.Open(ctx, filepath.Join(data, "verbatim.db"))
	must(err)
	began := time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
	id = "01KJVJ9QG0000000000000DAY0"
	for p := range dayPeople {
		who := transcript.Participant{ID: fmt.Sprintf("p%d", p), Name: fmt.Sprintf("Person <%d> & Söhne", p)}
		_, _, err := db.Join(ctx, "all-hands", who, "", id, began)
		must(err)
		c := store.Commit{Track: fmt.Sprintf("01KJVJ9QG0000000000000TR%02d", p), Through: dayHours * 3600 * audio.TickRate}
		c.Account.Received = c.Through
		must(db.CreateTrack(ctx, meeting.Track{ID: c.Track, Meeting: id, Participant: who.ID, State: meeting.TrackLive, StartedAt: began}))
		t, err := db.Claim(ctx, c.Track)
		must(err)
		c.Epoch = t.Epoch
		for i := p; i < daySegments; i += dayPeople {
			c.Segments = append(c.Segments, daySegment(c.Track, i))
		}
		for g := range int64(100) {
			const every = dayHours * 3600 * audio.TickRate / 100
			c.Gaps = append(c.Gaps, meeting.Gap{
				Kind: transcript.Concealed, Start: g * every, End: g*every + 9600, Ticks: 2880, StartMS: g * every / 48, EndMS: g*every/48 + 200,
			})
		}
		_, err = db.Commit(ctx, c)
		must(err)
		must(db.EndTrack(ctx, c.Track, audio.ReasonLeft.String(), c.Account))
		_, err = db.FinishTrack(ctx, c.Track, c.Epoch, meeting.TrackComplete, began.Add(dayHours*time.Hour))
		must(err)
	}
	_, err = db.EndMeeting(ctx, id, began.Add(dayHours*time.Hour))
	must(err)
	must(db.Close())
	return id
}

func daySegment(track string, i int) transcript.Segment {
	start := int64(i) * dayHours * 3_600_000 / daySegments
	confidence := 0.87
	s := transcript.Segment{
		ID: fmt.Sprintf("%s.%d", track, i/dayPeople), StartMS: start, EndMS: start + 3900,
		Text: fmt.Sprintf("%s, this is number %d.", dayWords, i), Engine: "pocketsphinx", Revision: 7,
	}
	for k, w := range strings.Fields(dayWords) {
		at := start + int64(k)*300
		s.Words = append(s.Words, transcript.Word{Text: w, StartMS: at, EndMS: at + 280, Confidence: &confidence})
	}
	return s
}

func BenchmarkLongDay(b *testing.B) {
	data := b.TempDir()
	id := longDay(b, data)
	db, err := store.Open(b.Context(), filepath.Join(data, "verbatim.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	log := slog.New(slog.DiscardHandler)
	p := pipeline.New(pipeline.Config{Store: db, Logger: log})
	front := httptest.NewServer(signaling.New(signaling.Config{Meetings: p, Transcripts: p, Insight: p, Logger: log}).Routes())
	defer front.Close()
	for _, what := range []string{"", "/transcript.json", "/transcript.vtt", "/transcript.srt", "/transcript.txt"} {
		b.Run("GET"+what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resp, err := http.Get(front.URL + "/v1/meetings/" + id + what)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatalf("%s: %v", resp.Status, err)
				}
				b.SetBytes(n)
			}
		})
	}
}
