package pipeline

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

// TestDoubtfulCommit: a commit that was stored although nobody knew is not
// stored again, even if the recognizer then says it differently.
func TestDoubtfulCommit(t *testing.T) {
	w := newWorld(t)
	r := newRecording(t, w, w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler)), "T")
	defer func() { check(t, r.track.log.Close()) }()
	for range 30 {
		r.append(r.line.next(audio.Packet{Samples: audio.TickRate / 10, Kind: audio.Coded}))
	}
	r.read(0, 30)
	const word = audio.FrameRate / 10
	say := func(from, to int64, withWords bool) transcribe.Utterance {
		u := transcribe.Utterance{Start: from * word, End: to * word, Text: fmt.Sprint(from, " to ", to)}
		for i := from; withWords && i < to; i++ {
			u.Words = append(u.Words, transcribe.Word{Text: fmt.Sprint(i), Start: i * word, End: (i + 1) * word})
		}
		return u
	}
	commit := func(through int64, finals ...transcribe.Utterance) {
		check(t, r.track.Commit(t.Context(), through*word, finals))
	}
	r.doubt(func() { commit(10, say(0, 10, true)) })
	commit(6, say(0, 6, true)) // who says it again does not know, and says it in two pieces
	commit(15, say(6, 8, false), say(6, 8, true), say(8, 15, true))
	r.doubt(func() { commit(20, transcribe.Utterance{Start: 15 * word, End: 20 * word, Skipped: "noise"}) })
	commit(25, transcribe.Utterance{Start: 15 * word, End: 22 * word, Skipped: "noise"}, say(22, 25, true))
	commit(30, say(25, 30, false))

	var got []string
	for _, s := range must[[]transcript.Segment](t)(w.db.Transcript(t.Context(), r.track.row.Meeting)) {
		got = append(got, fmt.Sprintf("%s %d %s", s.ID, len(s.Words), s.Text))
	}
	want := []string{"T.0 10 0 to 10", "T.1 5 10 11 12 13 14", "T.2 3 22 to 25", "T.3 0 25 to 30"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var ticks int64
	for _, g := range must[[]meeting.Gap](t)(w.db.Gaps(t.Context(), r.track.row.Meeting)) {
		ticks += g.Ticks
	}
	if ticks != 7*audio.TickRate/10 || r.track.row.Skipped != ticks {
		t.Errorf("%d ticks are missing, %d are skipped", ticks, r.track.row.Skipped)
	}
}

// TestRefusedStretch: what an engine refuses is no segment but a gap, and makes
// the track incomplete.
func TestRefusedStretch(t *testing.T) {
	w := newWorld(t)
	s := w.server(supervisor(spell{}), func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	r := newRecording(t, w, s, "T")
	defer func() { check(t, r.track.log.Close()) }()
	r.append(r.line.next(audio.Packet{Samples: 3 * audio.TickRate, Kind: audio.Coded}), r.line.end())
	r.read(0, 2)
	check(t, r.track.Commit(t.Context(), 2*audio.FrameRate, []transcribe.Utterance{
		{Start: 0, End: audio.FrameRate, Text: "hello", Engine: "first"},
		{Start: audio.FrameRate, End: 3 * audio.FrameRate, Skipped: "the audio is not speech", Engine: "second"},
	}))
	check(t, r.track.Commit(t.Context(), 3*audio.FrameRate, nil))
	check(t, r.track.finish())
	doc := must[transcript.Document](t)(s.Transcript(t.Context(), r.track.row.Meeting))
	if len(doc.Segments) != 1 || doc.Segments[0].Text != "hello" || doc.Segments[0].Engine != "first" {
		t.Errorf("segments %+v", doc.Segments)
	}
	want := []transcript.Missing{{
		Track: "T", Participant: ada, StartMS: 2000, EndMS: 3000, MissingMS: 1000,
		Kind: transcript.Skipped, Reason: "not transcribed: the audio is not speech",
	}}
	if !slices.Equal(doc.Missing, want) {
		t.Errorf("missing %+v, want %+v", doc.Missing, want)
	}
	m := must[meeting.Meeting](t)(s.Meeting(t.Context(), r.track.row.Meeting))
	if got := m.Tracks[0]; got.State != meeting.TrackIncomplete || got.Coverage.SkippedMS != 1000 || got.Coverage.TranscribedMS != 2000 {
		t.Errorf("track %+v", got)
	}
}

// TestNoRecognizer: without one all is skipped, and what was lost is known all
// the same.
func TestNoRecognizer(t *testing.T) {
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	id, _ := s.speak(t, []audio.Packet{
		{Samples: audio.TickRate, Kind: audio.Coded},
		{Samples: 960, Kind: audio.Lost},
		{Samples: 960, Kind: audio.Coded},
		{Samples: 961, Kind: audio.Lost},
		{Samples: audio.TickRate, Kind: audio.Silence},
		{Samples: 0, Kind: audio.Discontinuity},
		{Samples: audio.TickRate, Kind: audio.Discontinuity},
		{Samples: audio.TickRate, Kind: audio.Shed},
	})
	s.finish(t)
	doc := must[transcript.Document](t)(s.Transcript(t.Context(), id))
	slices.SortFunc(doc.Missing, func(a, b transcript.Missing) int { return cmp.Compare(a.Kind, b.Kind) })
	var got []string
	for _, m := range doc.Missing {
		got = append(got, fmt.Sprintf("%d to %d: %d %s", m.StartMS, m.EndMS, m.MissingMS, m.Reason))
	}
	want := []string{
		"1000 to 1060: 40 lost on the way",
		"2060 to 3060: 1000 lost to a jump of the sender's clock",
		"3060 to 4060: 1000 given up by the server, which could not store it",
		"0 to 4060: 4060 not transcribed: no recognizer",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if m := must[meeting.Meeting](t)(s.Meeting(t.Context(), id)); m.Tracks[0].State != meeting.TrackComplete {
		t.Errorf("the track is %s", m.Tracks[0].State)
	}
}
