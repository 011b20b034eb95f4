package pipeline

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

// recording is a track in the hands of a test, which reads and commits in place
// of a supervisor.
type recording struct {
	t      rapid.TB
	s      *server
	line   sender
	track  *track
	words  int
	stored int64 // the checkpoint, in ticks
	gaveUp int64 // ticks
}

func newRecording(t rapid.TB, w *world, s *server, id string) *recording {
	m := must[meeting.Membership](w.t)(s.registry.Join(w.t.Context(), "room-"+strings.ToLower(id), ada))
	row := meeting.Track{ID: id, Meeting: m.Meeting, Participant: ada.ID, StartedAt: m.StartedAt.Add(time.Second)}
	check(w.t, w.db.CreateTrack(w.t.Context(), row))
	r := &recording{t: t, s: s, line: sender{at: row.StartedAt}}
	r.track = &track{p: s.Pipeline, row: row, began: m.StartedAt, who: ada, ctx: w.t.Context()}
	var err error
	if r.track.log, err = s.logs.Create(row.Meeting, id); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recording) append(packets ...audio.Packet) {
	for _, p := range packets {
		if err := r.track.log.Append(r.track.ctx, p); err != nil {
			r.t.Fatal(err)
		}
	}
}

// read reads n packets from one on, as far as there are any.
func (r *recording) read(from uint64, n int) {
	next, _, _, _ := r.track.log.State()
	if n = min(n, int(next-min(from, next))); n == 0 {
		return
	}
	for _, err := range r.track.Read(r.track.ctx, from) {
		if err != nil {
			r.t.Fatal(err)
		}
		if n--; n == 0 {
			return
		}
	}
}

// commit goes from the checkpoint to a sample, with words or giving it up.
func (r *recording) commit(through int64, giveUp bool) {
	begun := r.stored
	u := transcribe.Utterance{Start: begun / audio.TicksPerSample, End: through, Text: "word"}
	if giveUp {
		u = transcribe.Utterance{Start: u.Start, End: through, Skipped: "too loud"}
	} else {
		r.words++
	}
	if err := r.track.Commit(r.track.ctx, through, []transcribe.Utterance{u}); err != nil {
		r.t.Fatal(err)
	}
	if r.stored = r.track.row.Through; giveUp {
		r.gaveUp += max(0, min(through*audio.TicksPerSample, r.stored)-begun)
	}
}

// doubt makes the track believe that do may not have been stored.
func (r *recording) doubt(do func()) {
	t := r.track
	row, revision := t.row, t.revision
	spans := map[transcript.MissingKind][]span{}
	for kind, s := range t.gaps.spans {
		spans[kind] = slices.Clone(s)
	}
	stored, read := t.gaps.stored, t.gaps.read
	do()
	t.row, t.revision, t.gaps, t.uncertain = row, revision, gaps{stored, read, spans}, true
}

// restart is what another process does that finds the track.
func (r *recording) restart() {
	old := r.track
	row, err := r.s.cfg.Store.Claim(old.ctx, old.row.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	r.track = &track{p: old.p, row: row, began: old.began, who: old.who, ctx: old.ctx, log: old.log}
	r.track.gaps.forget(row.Through)
}

func anyPacket(t *rapid.T) audio.Packet {
	kind := rapid.SampledFrom([]audio.Kind{audio.Coded, audio.Silence, audio.Lost, audio.Lost, audio.Discontinuity, audio.Shed}).Draw(t, "kind")
	return audio.Packet{Kind: kind, Samples: rapid.SampledFrom([]int64{0, 1, 2, 120, 960, 2880, 3 * audio.TickRate, 100 * audio.TickRate}).Draw(t, "samples")}
}

// TestGapsAreTheAccount: whatever is sent, and however it is read, read again
// and committed, what is missing is what the account says, to the tick.
func TestGapsAreTheAccount(t *testing.T) {
	w := newWorld(t)
	s := w.server(nil, func(meeting.Event) {}, slog.New(slog.DiscardHandler))
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		r := newRecording(rt, w, s, fmt.Sprint("T", run))
		defer func() { check(t, r.track.log.Close()) }()
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "packets") {
					r.append(r.line.next(anyPacket(t)))
				}
			},
			"read": func(t *rapid.T) { // on, or something again
				tick := rapid.SampledFrom([]int64{r.track.gaps.read, rapid.Int64Range(0, r.track.gaps.read).Draw(t, "tick")}).Draw(t, "from")
				r.read(r.track.log.SeqAt(tick), rapid.IntRange(1, 12).Draw(t, "packets"))
			},
			"commit": func(t *rapid.T) {
				from, to := r.track.row.Through/audio.TicksPerSample, r.track.gaps.read/audio.TicksPerSample
				through := rapid.SampledFrom([]int64{from, to, rapid.Int64Range(from, to).Draw(t, "sample")}).Draw(t, "through")
				do := func() { r.commit(through, rapid.IntRange(0, 4).Draw(t, "give up") == 0) }
				if rapid.IntRange(0, 3).Draw(t, "answer") == 0 {
					r.doubt(do)
				} else {
					do()
				}
			},
			"restart": func(*rapid.T) { r.restart() },
			"":        func(t *rapid.T) { r.checkRows(t) },
		})
		r.append(r.line.end())
		r.read(r.track.log.SeqAt(r.track.gaps.stored), 1<<30)
		_, end, account, _ := r.track.log.State()
		r.commit(end/audio.TicksPerSample, false)
		sums := r.checkRows(rt)
		want := map[transcript.MissingKind]int64{
			transcript.Concealed: account.Concealed, transcript.Shed: account.Shed,
			transcript.Discontinuity: account.Discontinuity, transcript.Skipped: r.gaveUp,
		}
		maps.DeleteFunc(want, func(_ transcript.MissingKind, ticks int64) bool { return ticks == 0 })
		if !maps.Equal(sums, want) {
			rt.Errorf("missing are %v, the account has %v", sums, want)
		}
		if r.track.row.Through != end || r.track.row.Skipped != r.gaveUp {
			rt.Errorf("through %d of %d, %d skipped, want %d", r.track.row.Through, end, r.track.row.Skipped, r.gaveUp)
		}
	})
}

// checkRows checks what is stored of the track, and adds it up.
func (r *recording) checkRows(t *rapid.T) map[transcript.MissingKind]int64 {
	row, err := r.s.cfg.Store.Resume(r.track.ctx, r.track.row.ID, r.track.row.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.s.cfg.Store.Gaps(r.track.ctx, r.track.row.Meeting)
	if err != nil {
		t.Fatal(err)
	}
	sums, ends := map[transcript.MissingKind]int64{}, map[transcript.MissingKind]int64{}
	for _, g := range all { // by kind and start
		if g.Track != row.ID {
			continue
		}
		if g.Start < ends[g.Kind] || g.End > row.Through || g.EndMS < g.StartMS || g.StartMS < 1000 {
			t.Errorf("gap %+v behind one that ends at %d, the track is through at %d", g, ends[g.Kind], row.Through)
		}
		ends[g.Kind] = g.End
		sums[g.Kind] += g.Ticks
	}
	return sums
}

// TestShedAfterItWasRead: what a recognizer has heard and not yet said is
// missing if it is gone when it is to be heard again.
func TestShedAfterItWasRead(t *testing.T) {
	var g gaps
	coded, shed := audio.Packet{Samples: 10, Kind: audio.Coded}, audio.Packet{Samples: 10, Kind: audio.Shed}
	var first, again sender
	for i := range 6 {
		p := coded
		if i == 2 {
			p = shed
		}
		g.add(first.next(p))
	}
	g.forget(15) // of the second half of it, nothing has been said
	for i := range 6 {
		p := coded
		if i < 4 {
			p = shed
		}
		g.add(again.next(p))
	}
	rows := g.until(60)
	want := []meeting.Gap{{Kind: transcript.Shed, Start: 15, End: 40, Ticks: 25}}
	if !slices.Equal(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
}

// TestRows: scattered losses stand together, so that an hour of them is some
// hundred rows, and no row is longer than a minute by that.
func TestRows(t *testing.T) {
	var g gaps
	var line sender
	const hour = 3600 * 50
	for i := range hour {
		p := audio.Packet{Samples: 960, Kind: audio.Coded}
		if i%10 == 3 {
			p.Kind = audio.Lost
		}
		g.add(line.next(p))
		if i%(10*50) == 0 { // a commit every 10 s
			checkLengths(t, g.until(line.start))
			g.forget(line.start)
		}
	}
	if rows := g.until(line.start); len(rows) != 1 {
		t.Errorf("%d rows in 10 s", len(rows))
	}

	// Without a commit, an hour takes bounded memory and stays exact in sum.
	g, line = gaps{}, sender{}
	for i := range hour {
		g.add(line.next(audio.Packet{Samples: 960, Kind: []audio.Kind{audio.Coded, audio.Lost}[i%2]}))
	}
	if n := len(g.spans[transcript.Concealed]); n > maxExact+60 {
		t.Errorf("%d spans", n)
	}
	cut := line.start - 30*audio.TickRate - 7
	rows := g.until(cut)
	if n := len(rows); n < 60 || n > 62 {
		t.Errorf("%d rows in an hour", n)
	}
	sum := checkLengths(t, rows)
	g.forget(cut)
	sum += checkLengths(t, g.until(line.start))
	if sum != line.account.Concealed {
		t.Errorf("%d ticks, want %d", sum, line.account.Concealed)
	}
}

func checkLengths(t *testing.T, rows []meeting.Gap) (ticks int64) {
	t.Helper()
	for _, g := range rows {
		if g.End-g.Start > longestRow || g.Ticks > g.End-g.Start || g.Ticks == 0 {
			t.Errorf("row %+v", g)
		}
		ticks += g.Ticks
	}
	return ticks
}

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
	commit(15, say(0, 8, false), say(0, 8, true), say(8, 15, true))
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
