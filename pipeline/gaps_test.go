package pipeline

import (
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

// handmade is a track in the hands of a test, which reads and commits in place
// of a supervisor.
type handmade struct {
	t      rapid.TB
	s      *server
	line   sender
	track  *track
	words  int
	stored int64 // the checkpoint, in ticks
	gaveUp int64 // ticks
}

func newRecording(t rapid.TB, w *world, s *server, id string) *handmade {
	m := must[meeting.Membership](w.t)(s.registry.Join(w.t.Context(), "room-"+strings.ToLower(id), ada))
	row := meeting.Track{ID: id, Meeting: m.Meeting, Participant: ada.ID, StartedAt: m.StartedAt.Add(time.Second)}
	check(w.t, w.db.CreateTrack(w.t.Context(), row))
	r := &handmade{t: t, s: s, line: sender{at: row.StartedAt}}
	r.track = &track{p: s.Pipeline, row: row, began: m.StartedAt, who: ada, ctx: w.t.Context()}
	var err error
	if r.track.log, err = s.logs.Create(row.Meeting, id); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *handmade) append(packets ...audio.Packet) {
	for _, p := range packets {
		if err := r.track.log.Append(r.track.ctx, p); err != nil {
			r.t.Fatal(err)
		}
	}
}

// read reads n packets from one on, as far as there are any.
func (r *handmade) read(from uint64, n int) {
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
func (r *handmade) commit(through int64, giveUp bool) {
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
func (r *handmade) doubt(do func()) {
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
func (r *handmade) restart() {
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
				from, to, tail := r.track.row.Through/audio.TicksPerSample, r.track.gaps.read/audio.TicksPerSample, r.track.Tail()/audio.TicksPerSample
				through := rapid.SampledFrom([]int64{
					from, to, rapid.Int64Range(from, to).Draw(t, "sample"),
					rapid.Int64Range(to, tail).Draw(t, "sample that was not read"),
				}).Draw(t, "through")
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
func (r *handmade) checkRows(t *rapid.T) map[transcript.MissingKind]int64 {
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

// TestCutWithinARow: losses that stand together are cut apart at their exact
// places.
func TestCutWithinARow(t *testing.T) {
	var line sender
	var g gaps
	for i := range 6 {
		g.add(line.next(audio.Packet{Samples: 10, Kind: []audio.Kind{audio.Lost, audio.Coded}[i%2]}))
	}
	row := func(start, end, ticks int64) []meeting.Gap {
		return []meeting.Gap{{Kind: transcript.Concealed, Start: start, End: end, Ticks: ticks}}
	}
	for _, tt := range []struct {
		through int64
		want    []meeting.Gap
	}{{0, nil}, {3, row(0, 3, 3)}, {15, row(0, 10, 10)}, {25, row(0, 25, 15)}, {60, row(0, 50, 30)}} {
		if got := g.until(tt.through); !slices.Equal(got, tt.want) {
			t.Errorf("until %d: %+v, want %+v", tt.through, got, tt.want)
		}
	}
	g.forget(25)
	if got := g.until(60); !slices.Equal(got, row(25, 50, 15)) {
		t.Errorf("after 25: %+v", got)
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
