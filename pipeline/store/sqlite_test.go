package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openTest(t testing.TB) *Store {
	t.Helper()
	s, _ := openIn(t, filepath.Join(t.TempDir(), "verbatim.db"))
	return s
}

// openIn opens a store that is closed at the end of the test, or by done.
func openIn(t testing.TB, path string) (s *Store, done func()) {
	t.Helper()
	s, err := Open(t.Context(), path)
	must(t, err)
	closed := false
	done = func() {
		if !closed {
			closed = true
			must(t, s.Close())
		}
	}
	t.Cleanup(done)
	return s, done
}

func TestSQLite(t *testing.T) { testSuite(t, openTest) }

func TestOptions(t *testing.T) {
	// A path with all that means something in a URI.
	path := filepath.Join(t.TempDir(), "a b?c=1&d#e%41.db")
	s, _ := openIn(t, path)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "1", "foreign_keys": "1", "secure_delete": "1", "busy_timeout": "5000", "temp_store": "2",
	} {
		var got string
		must(t, s.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
	join(t, s, "M", ada)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		fi, err := os.Stat(path + suffix)
		must(t, err)
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("permissions of %q are %v", suffix, fi.Mode().Perm())
		}
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verbatim.db")
	s, done := openIn(t, path)
	tr := track(t, s, "A", "M", ada)
	ok[int64](t)(s.Commit(t.Context(), Commit{
		Track: "A", Epoch: tr.Epoch, Through: 7, Account: audio.Account{Received: 480}, Segments: []transcript.Segment{seg("A", 0, 1, 2, "x")},
	}))
	wantMeeting := ok[meeting.Meeting](t)(s.Meeting(t.Context(), "M"))
	wantSegments := ok[[]Numbered](t)(s.Segments(t.Context(), "M", 0, 9))
	for range 2 { // migrating again changes nothing
		done()
		s, done = openIn(t, path)
		same(t, ok[meeting.Meeting](t)(s.Meeting(t.Context(), "M")), wantMeeting)
		same(t, ok[[]Numbered](t)(s.Segments(t.Context(), "M", 0, 9)), wantSegments)
	}
	same(t, ok[meeting.Track](t)(s.Claim(t.Context(), "A")).Epoch, tr.Epoch+1)
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verbatim.db")
	if _, err := Open(t.Context(), filepath.Join(path, "no", "folder.db")); err == nil {
		t.Error("opened in a folder that is not there")
	}
	must(t, os.WriteFile(path, bytes.Repeat([]byte("not a database "), 100), 0o600))
	if _, err := Open(t.Context(), path); err == nil {
		t.Error("opened what is no database")
	}
	path += "2"
	s, done := openIn(t, path)
	_, err := s.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	must(t, err)
	done()
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "schema 9999") {
		t.Errorf("opened a newer schema: %v", err)
	}
}

// fill makes the meetings numbered from first on, which interleave in every
// table, so that their rows share pages and pages are split. What is said and
// who was there begins with the meeting's secret.
func fill(t testing.TB, s *Store, first, meetings int) {
	t.Helper()
	ctx := t.Context()
	ok[int64](t)(s.SetOutbox(ctx, Outbox{Endpoints: []string{"e"}, Types: allEvents}))
	r := rand.New(rand.NewPCG(1, 2))
	tracks := make([]meeting.Track, meetings)
	for k := range meetings * 8 {
		i, p := k%meetings, k/meetings
		id := fmt.Sprintf("M%d", first+i)
		who := transcript.Participant{ID: fmt.Sprintf("%sp%d", secret(first+i), p), Name: secret(first+i) + strings.Repeat("n", r.IntN(60))}
		if p == 0 {
			tracks[i] = track(t, s, "T"+id, id, who)
		}
		join(t, s, id, who)
	}
	for n := range meetings * 80 {
		i := r.IntN(meetings)
		sg := seg(tracks[i].ID, n, 0, 1, secret(first+i)+strings.Repeat("t", r.IntN(300)))
		for range r.IntN(10) * r.IntN(10) {
			sg.Words = append(sg.Words, transcript.Word{Text: secret(first + i)})
		}
		ok[int64](t)(s.Commit(ctx, Commit{
			Track: tracks[i].ID, Epoch: tracks[i].Epoch, Segments: []transcript.Segment{sg}, Through: int64(n + 1), At: t0,
			Gaps: []meeting.Gap{{Kind: transcript.Skipped, Start: int64(n), End: int64(n + 1), Ticks: 1, Reason: secret(first + i)}},
		}))
	}
}

func secret(i int) string { return fmt.Sprintf("secret%02dof", i) }

// grep counts s in all files of the folder.
func grep(t testing.TB, dir, s string) (n int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		n += bytes.Count(b, []byte(s))
	}
	return n
}

func integrity(t testing.TB, s *Store) {
	t.Helper()
	for _, pragma := range []string{"integrity_check", "quick_check"} {
		var got string
		must(t, s.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		same(t, got, "ok")
	}
}

func TestDeleteLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verbatim.db")
	s, _ := openIn(t, path)
	const n = 20 // of which three leave words behind without scrub
	fill(t, s, 0, n)
	kept := map[int][]transcript.Segment{}
	for i := 1; i < n; i += 2 {
		kept[i] = ok[[]transcript.Segment](t)(s.Transcript(t.Context(), fmt.Sprintf("M%d", i)))
	}
	for i := 0; i < n; i += 2 {
		if grep(t, filepath.Dir(path), secret(i)) == 0 {
			t.Fatalf("meeting %d was never there", i)
		}
		must(t, s.Delete(t.Context(), fmt.Sprintf("M%d", i)))
		if left := grep(t, filepath.Dir(path), secret(i)); left > 0 {
			t.Errorf("%d times words or names of meeting %d are left", left, i)
		}
	}
	integrity(t, s)
	for i, want := range kept {
		same(t, ok[[]transcript.Segment](t)(s.Transcript(t.Context(), fmt.Sprintf("M%d", i))), want)
	}
	// What was scrubbed takes new rows as before.
	fill(t, s, n, 3)
	integrity(t, s)
}

// TestEraseAfterCrash: a process that dies between the deletion of the rows and
// the end of the erasure leaves the rest to the next Open.
func TestEraseAfterCrash(t *testing.T) {
	dir, crashed := t.TempDir(), t.TempDir()
	s, _ := openIn(t, filepath.Join(dir, "v.db"))
	fill(t, s, 0, 6)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 3 {
		// The rows go, their bytes stay in the log.
		_, err := s.db.ExecContext(ctx, `
			DELETE FROM gaps WHERE track = 'TM`+fmt.Sprint(i)+`';
			DELETE FROM search WHERE meeting = 'M`+fmt.Sprint(i)+`';
			INSERT INTO search (search) VALUES ('rebuild');
			DELETE FROM outbox WHERE meeting = 'M`+fmt.Sprint(i)+`';
			DELETE FROM segments WHERE meeting = 'M`+fmt.Sprint(i)+`';
			DELETE FROM tracks WHERE meeting = 'M`+fmt.Sprint(i)+`';
			DELETE FROM participants WHERE meeting = 'M`+fmt.Sprint(i)+`';
			DELETE FROM meetings WHERE id = 'M`+fmt.Sprint(i)+`';`+markErase)
		must(t, err)
	}
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	if grep(t, crashed, secret(0)) == 0 {
		t.Fatal("nothing was left to erase")
	}
	after, _ := openIn(t, filepath.Join(crashed, "v.db"))
	for i := range 3 {
		same(t, grep(t, crashed, secret(i)), 0)
	}
	integrity(t, after)
	// Whoever tries again in the process that failed gets it done, too.
	wantErr(t, s.Delete(t.Context(), "M0"), ErrNotFound)
	same(t, grep(t, dir, secret(0)), 0)
}

func TestEraseWhileOthersRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.db")
	s, _ := openIn(t, path)
	fill(t, s, 0, 3)
	_, err := s.db.Exec("PRAGMA busy_timeout = 10")
	must(t, err)
	other, err := openSQLite(path)
	must(t, err)
	defer other.Close()
	rows, err := other.Query("SELECT text FROM segments")
	must(t, err)
	if !rows.Next() {
		t.Fatal("nothing to read")
	}
	wantErr(t, s.Delete(t.Context(), "M0"), errBusy)
	must(t, rows.Close())
	wantErr(t, s.Delete(t.Context(), "M0"), ErrNotFound)
	same(t, grep(t, filepath.Dir(path), secret(0)), 0)
}

func TestUnused(t *testing.T) {
	page := func(kind byte, cells, content int) []byte {
		p := make([]byte, 512)
		p[0], p[4], p[5], p[6] = kind, byte(cells), byte(content>>8), byte(content)
		return p
	}
	for _, tt := range []struct {
		name string
		page []byte
		want int
	}{
		{"leaf", page(13, 10, 100), 100 - 28},
		{"interior", page(5, 10, 100), 100 - 32},
		{"full", page(13, 10, 28), 0},
		{"overflow", page(0, 10, 100), 0},
		{"unknown kind", page(7, 10, 100), 0},
		{"content beyond the page", page(13, 10, 600), 0},
		{"empty", nil, 0},
	} {
		if got := len(unused(tt.page, false)); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, got, tt.want)
		}
	}
}

// Tracks that were finished before their audio had a term count from the end of
// their meeting, or from their own where that goes on.
func TestMigrateRetention(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.db")
	db, err := openSQLite(path)
	must(t, err)
	m, err := sqlite.migrator(db)
	must(t, err)
	_, err = m.UpTo(t.Context(), 1)
	must(t, err)
	const start = 1_000_000_000
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO meetings (id, room, state, started_at, ended_at) VALUES ('over', 'r', 'ended', 1, 2000000000), ('on', 'r', 'live', 1, NULL);
		INSERT INTO participants (meeting, id, name, joined_at) VALUES ('over', 'ada', '', 1), ('on', 'ada', '', 1);
		INSERT INTO tracks (id, meeting, participant, state, started_at, received, shed) VALUES
			('A', 'over', 'ada', 'complete', $1, 48000, 0), ('B', 'over', 'ada', 'pending', $1, 48000, 0),
			('C', 'on', 'ada', 'incomplete', $1, 48000, 24000), ('D', 'on', 'ada', 'live', $1, 0, 0)`, start)
	must(t, err)
	must(t, db.Close())
	s, _ := openIn(t, path)
	got := map[string]int64{}
	for _, tr := range ok[[]meeting.Track](t)(s.ExpiredTracks(t.Context(), t0, false, false, meeting.Track{}, 9)) {
		got[tr.ID] = tr.FinishedAt.UnixMicro()
	}
	same(t, got, map[string]int64{"A": 2 * start, "C": start + 1_500_000})
}

func TestDurably(t *testing.T) {
	s := openTest(t)
	synchronous := func(row interface{ Scan(...any) error }) (v int) {
		must(t, row.Scan(&v))
		return v
	}
	const normal, full = 1, 2
	must(t, s.durably(t.Context(), s, "test", func(tx *sql.Tx) error {
		same(t, synchronous(tx.QueryRow("PRAGMA synchronous")), full)
		return nil
	}))
	wantErr(t, s.durably(t.Context(), s, "test", func(*sql.Tx) error { return ErrNotOwner }), ErrNotOwner)
	same(t, synchronous(s.db.QueryRow("PRAGMA synchronous")), normal)
}

func TestClosed(t *testing.T) {
	s, done := openIn(t, filepath.Join(t.TempDir(), "v.db"))
	done()
	if _, _, err := s.Join(t.Context(), "r", ada, "", "M", t0); err == nil {
		t.Error("no error")
	}
}

func BenchmarkCommit(b *testing.B) {
	s := openTest(b)
	tr := track(b, s, "A", "M", ada)
	sg := seg("A", 0, 0, 5000, "and then we come to the second point of the agenda")
	confidence := 0.9
	for i, w := range strings.Fields(sg.Text) {
		sg.Words = append(sg.Words, transcript.Word{Text: w, StartMS: int64(i) * 400, EndMS: int64(i)*400 + 400, Confidence: &confidence})
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		sg.ID = fmt.Sprintf("A.%d", n)
		n++
		ok[int64](b)(s.Commit(b.Context(), Commit{
			Track: "A", Epoch: tr.Epoch, Through: int64(n) * 240_000, Account: audio.Account{Received: int64(n) * 240_000},
			Segments: []transcript.Segment{sg},
		}))
	}
}

// BenchmarkJoin is somebody who comes into a room, and goes.
func BenchmarkJoin(b *testing.B) {
	for _, others := range []int{10, 400} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			s := openTest(b)
			for i := range others {
				who := transcript.Participant{ID: fmt.Sprint("p", i), Name: "P"}
				_, _, err := s.Join(b.Context(), "r", who, "", "M", t0)
				must(b, err)
				must(b, s.CreateTrack(b.Context(), meeting.Track{ID: fmt.Sprint("T", i), Meeting: "M", Participant: who.ID, StartedAt: t0}))
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := s.Join(b.Context(), "r", ada, "", "M1", t0)
				must(b, err)
				must(b, s.Leave(b.Context(), "M", ada.ID, "", t0))
			}
		})
	}
}

func BenchmarkTranscript(b *testing.B) {
	s := openTest(b)
	tr := track(b, s, "A", "M", ada)
	c := Commit{Track: "A", Epoch: tr.Epoch}
	for n := range 10_000 {
		c.Segments = append(c.Segments, seg("A", n, int64(n), int64(n)+1, "and then we come to the second point of the agenda"))
	}
	ok[int64](b)(s.Commit(b.Context(), c))
	for b.Loop() {
		ok[[]transcript.Segment](b)(s.Transcript(b.Context(), "M"))
	}
}

func BenchmarkErase(b *testing.B) {
	s := openTest(b)
	tr := track(b, s, "A", "M", ada)
	c := Commit{Track: "A", Epoch: tr.Epoch}
	for n := range 20_000 {
		c.Segments = append(c.Segments, seg("A", n, int64(n), int64(n)+1, strings.Repeat("word ", 200)))
	}
	ok[int64](b)(s.Commit(b.Context(), c))
	for b.Loop() {
		join(b, s, "gone", ada)
		must(b, s.Delete(b.Context(), "gone"))
	}
}

// A transaction whose time is over between two statements says so: its callers try it
// again, or say that the database does not answer.
func TestTransactionOutOfTime(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := transact(ctx, s.db, nil, func(tx *sql.Tx) (err error) {
		for !errors.Is(err, sql.ErrTxDone) { // database/sql ends it beside us
			_, err = tx.Exec("SELECT 1")
		}
		return err
	})
	wantErr(t, err, context.DeadlineExceeded)
	if !passingPostgres(err) {
		t.Errorf("%v does not pass", err)
	}
}
