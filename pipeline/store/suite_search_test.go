package store

import (
	"fmt"
	"strings"
	"testing"
)

// testSearch has two meetings: what is found, in which order, page by page.
func testSearch(t *testing.T, s *Store) {
	ctx := t.Context()
	texts := map[string][]string{
		"M1": {"We ship the Überblick on Friday.", "Nobody said anything else."},
		"M2": {"On friday we rest.", "The ship sails; the shipment waits.", `"quoted" AND NEAR(this) -that *`},
	}
	for _, id := range []string{"M1", "M2"} {
		tr := track(t, s, "T"+id, id, ada)
		c := Commit{Track: tr.ID, Epoch: tr.Epoch, Through: 1}
		for n, text := range texts[id] {
			c.Segments = append(c.Segments, seg(tr.ID, n, int64(n)*1000, int64(n)*1000+900, text))
		}
		ok[int64](t)(s.Commit(ctx, c))
	}
	found := func(text, room string) string {
		t.Helper()
		var ids []string
		cursor := ""
		for {
			fs, next, err := s.Search(ctx, text, room, 1, cursor)
			must(t, err)
			for _, f := range fs {
				ids = append(ids, f.Segment.ID)
				if f.Meeting.ID != f.Segment.Meeting || f.Meeting.Room == "" || f.Segment.Text == "" || f.Segment.Participant != ada {
					t.Errorf("found %+v", f)
				}
			}
			if cursor = next; next == "" {
				return strings.Join(ids, " ")
			}
		}
	}
	for _, c := range []struct{ text, room, want string }{
		{"friday", "", "TM2.0 TM1.0"},
		{"FRIDAY we", "", "TM2.0 TM1.0"},
		{"friday", "room-m1", "TM1.0"},
		{"friday", "room-m3", ""},
		{"uberblick", "", "TM1.0"},
		{"ship", "", "TM2.1 TM1.0"},
		{"shipm", "", "TM2.1"},
		{"shi friday", "", ""}, // only the last word may be a beginning
		{`near( "this`, "", "TM2.2"},
		{`AND NEAR -that *`, "", "TM2.2"},
		{`"'*()-`, "", ""},
		{"", "", ""},
	} {
		same(t, fmt.Sprint(c.text, ": ", found(c.text, c.room)), fmt.Sprint(c.text, ": ", c.want))
	}
	_, _, err := s.Search(ctx, "friday", "", 1, "no cursor!")
	wantErr(t, err, ErrBadCursor)
	must(t, s.Delete(ctx, "M2"))
	same(t, found("friday", ""), "TM1.0")
}
