package store

import (
	"testing"

	"verbatim/pipeline/meeting"
)

func testErasures(t *testing.T, s *Store) {
	ctx := t.Context()
	join(t, s, "M", ada)
	wantErr(t, s.BeginErase(ctx, "M"), meeting.ErrLive)
	same(t, len(ok[[]string](t)(s.Erasures(ctx))), 0)
	ok[meeting.State](t)(s.EndMeeting(ctx, "M", t0))
	for range 2 { // asking again changes nothing
		must(t, s.BeginErase(ctx, "M"))
		same(t, ok[[]string](t)(s.Erasures(ctx)), []string{"M"})
	}
	must(t, s.Delete(ctx, "M"))
	same(t, len(ok[[]string](t)(s.Erasures(ctx))), 0)
	wantErr(t, s.BeginErase(ctx, "M"), ErrNotFound)
}
