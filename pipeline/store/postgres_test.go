//go:build postgres

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3/lock"

	"verbatim/internal/pgtest"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// cluster is a PostgreSQL with a database of this version's schema to copy.
type cluster struct {
	*pgtest.Cluster
	template string
}

func startCluster(t *testing.T) *cluster {
	c := &cluster{Cluster: pgtest.Start(t)}
	c.template = c.Database("")
	s, err := Open(t.Context(), c.URL(c.template))
	must(t, err)
	must(t, s.Close())
	return c
}

// open gives an empty store; node another one of a database.
func (c *cluster) open(t testing.TB) *Store { return c.node(t, c.Database(c.template)) }

func (c *cluster) node(t testing.TB, database string) *Store {
	t.Helper()
	s, err := Open(t.Context(), c.URL(database))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestPostgres(t *testing.T) {
	c := startCluster(t)
	testSuite(t, c.open)
	t.Run("schema", func(t *testing.T) { testSameSchema(t, c) })
	t.Run("migrate together", func(t *testing.T) { testMigrateTogether(t, c) })
	t.Run("migrate waits", func(t *testing.T) { testMigrateWaits(t, c) })
	t.Run("refused", func(t *testing.T) { testRefused(t, c) })
	t.Run("newer schema", func(t *testing.T) { testNewerSchema(t, c) })
	t.Run("connections", func(t *testing.T) { testConnections(t, c) })
	t.Run("same words", func(t *testing.T) { testSameWords(t, c) })
	t.Run("delete while others write", func(t *testing.T) { testDeleteWhileOthersWrite(t, c) })
}

// testSameSchema: both dialects have the same tables, with the same columns of
// the same kinds, the same keys and indexes; but for the index of words.
func testSameSchema(t *testing.T, c *cluster) {
	read := func(s *Store, query string) []string {
		return ok[[]string](t)(func() (lines []string, err error) {
			err = s.view(t.Context(), "schema", func(tx *sql.Tx) error {
				lines, err = collect(t.Context(), tx, func(rows *sql.Rows) (string, error) {
					var line string
					return line, rows.Scan(&line)
				}, query)
				return err
			})
			slices.Sort(lines)
			return lines, err
		}())
	}
	lite, pg := openTest(t), c.open(t)
	const ours = `'meetings', 'participants', 'tracks', 'segments', 'gaps', 'outbox', 'nodes', 'erased', 'endpoints'`
	tables := read(lite, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_%'`)
	same(t, read(pg, `SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'`), tables)
	same(t, len(tables), 9+2) // ours, search, goose_db_version

	columns := read(lite, `
		SELECT m.name || '.' || c.name || ' ' || CASE c.type WHEN 'INTEGER' THEN 'BIGINT' ELSE c.type END || ' ' ||
			CASE WHEN c."notnull" OR c.pk > 0 THEN 'NOT NULL' ELSE 'NULL' END || ' ' || COALESCE(c.dflt_value, '')
		FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.name IN (`+ours+`)`)
	same(t, read(pg, `
		SELECT table_name || '.' || column_name || ' ' || UPPER(data_type) || ' ' ||
			CASE is_nullable WHEN 'NO' THEN 'NOT NULL' ELSE 'NULL' END || ' ' ||
			COALESCE(REPLACE(column_default, '::text', ''), '')
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name IN (`+ours+`)`), columns)

	indexes := read(lite, `SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite_%'`)
	same(t, read(pg, `
		SELECT CAST(indexname AS TEXT) FROM pg_indexes WHERE schemaname = 'public' AND tablename IN (`+ours+`)
			AND indexname NOT LIKE '%_pkey' AND indexname NOT LIKE '%_key'`), indexes)
	// Text is compared by its bytes.
	same(t, read(pg, `
		SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`), []string{})
}

// testMigrateTogether: nodes that start at once make one schema.
func testMigrateTogether(t *testing.T, c *cluster) {
	database := c.Database("")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			s, err := Open(t.Context(), c.URL(database))
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	join(t, c.node(t, database), "M", ada)
}

// testMigrateWaits: who has to wait for another node's migration is told so, once, and
// goes on soon after it.
func testMigrateWaits(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	holder := ok[*sql.Conn](t)(c.node(t, database).db.Conn(t.Context()))
	_, err := holder.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", lock.DefaultLockID)
	must(t, err)
	waits := 0
	var released time.Time
	s, err := Open(t.Context(), c.URL(database), OnWait(func() {
		waits++
		released = time.Now()
		_, err := holder.ExecContext(t.Context(), "SELECT pg_advisory_unlock($1)", lock.DefaultLockID)
		must(t, errors.Join(err, holder.Close()))
	}))
	must(t, err)
	must(t, s.Close())
	if took := time.Since(released); waits != 1 || took > 3*time.Second {
		t.Errorf("it was told %d times, and went on %v after that", waits, took)
	}
}

// testRefused: what PostgreSQL says is told with its address.
func testRefused(t *testing.T, c *cluster) {
	_, err := Open(t.Context(), c.URL("nowhere"))
	if err == nil || !strings.Contains(err.Error(), "/.s.PGSQL.5432 refuses user verbatim and database nowhere. ") ||
		!strings.Contains(err.Error(), `database "nowhere" does not exist`) || strings.Contains(err.Error(), pgtest.Password) {
		t.Error(err)
	}
}

func testNewerSchema(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	s := c.node(t, database)
	_, err := s.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	must(t, err)
	if _, err := Open(t.Context(), c.URL(database)); err == nil || !strings.Contains(err.Error(), "schema 9999") {
		t.Errorf("opened a newer schema: %v", err)
	}
}

// testConnections: nothing is taken for stored that is not on the disk, and a node
// that is cut off holds nobody up.
func testConnections(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	_, err := c.node(t, database).db.Exec("ALTER DATABASE " + database + " SET synchronous_commit = off")
	must(t, err)
	s := c.node(t, database)
	for setting, want := range map[string]string{
		"synchronous_commit": "on", "idle_in_transaction_session_timeout": "15s", "application_name": "verbatim",
	} {
		var got string
		must(t, s.db.QueryRow("SHOW "+setting).Scan(&got))
		same(t, setting+" "+got, setting+" "+want)
	}
}

// testSameWords: both find the same.
func testSameWords(t *testing.T, c *cluster) {
	texts := []string{
		"Überblick über die Straße", "naïve façade, São Tomé — Ångström", "tiếng Việt", "йод и ёж", "Ελληνικά ΛΌΓΟΣ λόγος", "한국어 문장",
		"smørrebrød Łódź", "日本語が", "don't e-mail x@example.org", "1st 2nd ⅷ x²", "na\u0308chste A\u030angstro\u0308m", "İstanbul ılık", "हिन्दी भाषा",
		"Kein Wort: --- ''' \\ \\' \"", "ﬁne",
	}
	lite, pg := openTest(t), c.open(t)
	for _, s := range []*Store{lite, pg} {
		tr := track(t, s, "T", "M", ada)
		c := Commit{Track: tr.ID, Epoch: tr.Epoch, Through: 1}
		for n, text := range texts {
			c.Segments = append(c.Segments, seg("T", n, int64(n), int64(n)+1, text))
		}
		ok[int64](t)(s.Commit(t.Context(), c))
	}
	find := func(s *Store, text string) (ids []string) {
		fs, _, err := s.Search(t.Context(), text, "", 99, "")
		must(t, err)
		for _, f := range fs {
			ids = append(ids, f.Segment.ID)
		}
		return ids
	}
	looked := []string{
		"uberblick", "ÜBER", "strasse", "straße", "naive", "facade", "sao tome", "angstrom", "Ångström", "tieng viet", "viet", "иод", "йод", "еж", "ёж",
		"λογος", "λόγος", "λόγοσ", "한", "한국", "ᄒ", "smorre", "smørre", "lodz", "łodz", "łódź", "日本", "日本語か", "日本語が", "don t", "don't", "mail", "example.org",
		"1", "2n", "ⅷ", "x", "x²", "nachste", "nächste", "istanbul", "İstanbul", "ilik", "ılık", "हिन", "हिन्दी", "भाष", "kein wort", `'`, `\`, `\'`, "fine", "ﬁne", "\u0301", "a\u0301",
	}
	for _, text := range texts {
		looked = append(looked, strings.Fields(text)...)
	}
	for _, text := range looked {
		if a, b := find(lite, text), find(pg, text); !slices.Equal(a, b) {
			t.Errorf("%q: SQLite finds %v, PostgreSQL %v", text, a, b)
		}
	}
	// What no index takes.
	tr := track(t, pg, "L", "N", ada)
	long := strings.Repeat("ä", 5000)
	var many strings.Builder
	for i := range 60_000 { // more than a MiB of them
		fmt.Fprintf(&many, "%020d ", i)
	}
	ok[int64](t)(pg.Commit(t.Context(), Commit{Track: "L", Epoch: tr.Epoch, Through: 1, Segments: []transcript.Segment{
		seg("L", 0, 0, 1, long+" end"), seg("L", 1, 0, 1, many.String()),
	}}))
	same(t, find(pg, "end"), []string{"L.0"})
	same(t, find(pg, long), []string{"L.0"})
	same(t, find(pg, fmt.Sprintf("%020d", maxWords-1)), []string{"L.1"})
	same(t, len(find(pg, fmt.Sprintf("%020d", maxWords))), 0)
}

// testDeleteWhileOthersWrite: whoever writes to a meeting while it is deleted on
// another node is told, and nothing of it is left.
func testDeleteWhileOthersWrite(t *testing.T, c *cluster) {
	database := c.Database(c.template)
	a, b := c.node(t, database), c.node(t, database)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20 {
		tr := track(t, a, "T", "M", ada)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 1)
		wg.Go(func() {
			for n := 0; ; n++ {
				_, err := a.Commit(ctx, Commit{Track: "T", Epoch: tr.Epoch, Through: int64(n), Segments: []transcript.Segment{seg("T", n, 0, 1, "x")}})
				if err != nil {
					wantErrIn(t, err, ErrNotOwner)
					return
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
		<-begun
		must(t, b.Delete(ctx, "M"))
		wg.Wait()
		for _, table := range []string{"segments", "search", "gaps", "tracks", "participants", "meetings"} {
			var n int
			must(t, a.db.QueryRow("SELECT COUNT(*) FROM "+table).Scan(&n))
			same(t, n, 0)
		}
	}
}

// wantErrIn is wantErr for other goroutines than the test's.
func wantErrIn(t testing.TB, err, want error) {
	t.Helper()
	if !strings.Contains(err.Error(), want.Error()) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// TestPostgresRestarts: while PostgreSQL is stopped, started and killed, callers
// wait or are told, and what they were told is true.
func TestPostgresRestarts(t *testing.T) {
	c := startCluster(t)
	s := c.open(t)
	tr := track(t, s, "T", "M", ada)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	// One who commits as a track does: after an error it looks what became of it.
	var stored, unknown int
	committed := make(chan int, 1<<16)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := stored
			_, err := s.Commit(t.Context(), Commit{
				Track: "T", Epoch: tr.Epoch, Through: int64(n + 1), Account: audio.Account{Received: int64(n + 1)},
				Segments: []transcript.Segment{seg("T", n, int64(n), int64(n)+1, "word")},
			})
			for err != nil {
				unknown++
				var row meeting.Track
				if row, err = s.Resume(t.Context(), "T", tr.Epoch); err == nil && row.Through == int64(n) {
					n-- // it was not
				}
			}
			stored = n + 1
			committed <- stored
		}
	})
	// And some who come and go: each call succeeds, for it is made again.
	for i := range 3 {
		who := transcript.Participant{ID: fmt.Sprint("p", i), Name: "P"}
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				m, _, err := s.Join(t.Context(), "room", who, "", fmt.Sprint("M", i, "-", n), t0)
				if err == nil {
					err = s.CreateTrack(t.Context(), meeting.Track{ID: fmt.Sprint("T", i, "-", n), Meeting: m.ID, Participant: who.ID, StartedAt: t0})
				}
				if err == nil {
					_, err = s.Meeting(t.Context(), m.ID)
				}
				if err == nil {
					err = s.Leave(t.Context(), m.ID, who.ID, "", t0)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	more := func() { // until it goes on
		for range 50 {
			<-committed
		}
	}
	for _, end := range []func(){c.Down, c.Crash, c.Down, c.Crash} {
		more()
		end()
		c.Up()
		for len(committed) > 0 {
			<-committed
		}
	}
	more()
	close(stop)
	wg.Wait()
	t.Logf("%d commits, of which %d times it was not known", stored, unknown)
	ns := ok[[]Numbered](t)(s.Segments(t.Context(), "M", 0, 1<<20))
	same(t, len(ns), stored)
	for i, n := range ns { // none lost, none twice, in order
		same(t, n.N, int64(i+1))
		same(t, n.ID, fmt.Sprint("T.", i))
	}

	// Away for good: an error, after a time, that tells no secret.
	c.Down()
	began := time.Now()
	_, err := s.Meeting(t.Context(), "M")
	wantErr(t, err, ErrAway)
	if strings.Contains(err.Error(), pgtest.Password) || time.Since(began) > patience+2*lastWait {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Meeting(ctx, "M")
	wantErr(t, err, context.DeadlineExceeded)
	if _, err := Open(t.Context(), c.URL("x")); err == nil || strings.Contains(err.Error(), pgtest.Password) {
		t.Errorf("opened what is away: %v", err)
	}
	for _, where := range []string{"postgres://u:" + pgtest.Password + "@[::1/db", "postgres://u:" + pgtest.Password + "@host:port/db", "postgres://u:" + pgtest.Password + "%zz@h/db"} {
		if _, err := Open(t.Context(), where); err == nil || strings.Contains(err.Error(), pgtest.Password) {
			t.Errorf("%v", err)
		}
	}
}
