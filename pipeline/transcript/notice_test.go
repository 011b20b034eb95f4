package transcript

import (
	"strings"
	"testing"
)

// TestNoticeIsBounded: of five hundred parts it names the ten of which most is
// missing, in their order, and says how many there are.
func TestNoticeIsBounded(t *testing.T) {
	d := Document{Complete: true}
	for i := range 500 {
		m := Missing{Track: "T", Participant: ada, StartMS: int64(i) * 10_000, EndMS: int64(i)*10_000 + 5_000, MissingMS: 20, Kind: Concealed}
		if i%50 == 7 {
			m.MissingMS, m.Kind = 1000-int64(i), Discontinuity
		}
		d.Missing = append(d.Missing, m)
	}
	got := notice(d)
	want := "Missing: 9.800 s lost on the way, 7.680 s lost to a jump of the sender's clock. The 10 longest of 500 parts: " +
		"Ada 00:01:10.000 to 00:01:15.000 (0.993 s lost to a jump of the sender's clock); Ada 00:09:30.000 to 00:09:35.000 (0.943 s "
	if !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s…", got, want)
	}
	if want := "(0.543 s lost to a jump of the sender's clock). The JSON transcript has all of them."; !strings.HasSuffix(got, want) {
		t.Errorf("got %s\nwant …%s", got, want)
	}
	if n := strings.Count(got, " to 0"); n != noticeParts {
		t.Errorf("%d parts are named", n)
	}
}

func TestReason(t *testing.T) {
	for _, tt := range []struct {
		kind         MissingKind
		detail, want string
	}{
		{Concealed, "", "lost on the way"},
		{Skipped, "no recognizer", "not transcribed: no recognizer"},
		{Pending, "", "not transcribed yet"},
		{"other", "", "other"}, // of a newer version's database
	} {
		if got := tt.kind.Reason(tt.detail); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.kind, got, tt.want)
		}
	}
}
