package store

import (
	"path/filepath"
	"testing"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// TestMigrateSkipped: what a database of the first schema has as skipped is a
// gap from then on, at its place on the meeting's clock.
func TestMigrateSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.db")
	db, err := openSQLite(path)
	must(t, err)
	p, err := sqlite.migrator(db)
	must(t, err)
	_, err = p.UpTo(t.Context(), 1)
	must(t, err)
	_, err = db.Exec(`
		INSERT INTO meetings (id, room, state, started_at) VALUES ('M', 'r', 'live', 1000000);
		INSERT INTO participants (meeting, id, name, joined_at) VALUES ('M', 'ada', 'Ada', 1000000);
		INSERT INTO tracks (id, meeting, participant, state, started_at, epoch, through, received) VALUES
			('A', 'M', 'ada', 'pending', 3500999, 1, 96000, 100000),
			('B', 'M', 'ada', 'live', 1000000, 1, 48000, 48000);
		INSERT INTO skipped (track, start_tick, end_tick, reason) VALUES
			('A', 48000, 48100, 'tried before'), ('A', 48000, 96000, 'the engine died'), ('B', 0, 47, 'no recognizer');`)
	must(t, err)
	check := func() {
		s, done := openIn(t, path)
		defer done()
		same(t, ok[[]meeting.Gap](t)(s.Gaps(t.Context(), "M")), []meeting.Gap{
			{Track: "A", Kind: transcript.Skipped, Start: 48000, End: 96000, Ticks: 48000, StartMS: 3500, EndMS: 4500, Reason: "the engine died"},
			{Track: "B", Kind: transcript.Skipped, Start: 0, End: 47, Ticks: 47, Reason: "no recognizer"},
		})
		m := ok[meeting.Meeting](t)(s.Meeting(t.Context(), "M"))
		same(t, m.Tracks[1].Coverage, meeting.Coverage{
			DurationMS: 2083, ReceivedMS: 2083, TranscribedMS: 1000, SkippedMS: 1000, PendingMS: 83,
		})
	}
	must(t, db.Close())
	check()
	// There and back.
	db, err = openSQLite(path)
	must(t, err)
	p, err = sqlite.migrator(db)
	must(t, err)
	_, err = p.DownTo(t.Context(), 1)
	must(t, err)
	must(t, db.Close())
	check()
}
