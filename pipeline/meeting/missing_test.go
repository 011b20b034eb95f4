package meeting

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

// nominal places ticks on the clock of a meeting that began with its tracks.
func nominal(_ Track, tick int64) int64 { return tick / ticksPerMS }

func gap(track string, kind transcript.MissingKind, startMS, endMS, ticks int64) Gap {
	return Gap{
		Track: track, Kind: kind, Start: startMS * ticksPerMS, End: endMS * ticksPerMS, Ticks: ticks,
		StartMS: startMS, EndMS: endMS,
	}
}

func TestMissing(t *testing.T) {
	const ms = ticksPerMS
	m := Meeting{
		StartedAt:    time.Unix(0, 0),
		Participants: []Participant{{ID: "ada", Name: "Ada"}, {ID: "bob", Name: "Bob"}},
		Tracks: []Track{
			{ID: "A", Participant: "ada", Through: 5000 * ms, Skipped: 1500 * ms, Account: audio.Account{Received: 5900 * ms, Concealed: 100 * ms}},
			{ID: "B", Participant: "bob", Through: 100 * ms, Account: audio.Account{Received: 100 * ms}},
		},
	}
	no := func(g Gap) Gap { g.Reason = "no recognizer"; return g }
	got := m.Missing([]Gap{
		gap("A", transcript.Concealed, 2000, 4000, 60*ms),
		gap("A", transcript.Concealed, 4500, 4540, 40*ms),
		no(gap("A", transcript.Skipped, 1000, 1500, 500*ms)), // one after the other,
		no(gap("A", transcript.Skipped, 1500, 2000, 500*ms)), // as one commit left off
		gap("A", transcript.Skipped, 2000, 2500, 500*ms),
		gap("B", transcript.Shed, 10, 20, 10*ms),
		gap("B", transcript.Shed, 100, 120, 20*ms), // newer than the meeting
		gap("C", transcript.Shed, 0, 20, 20*ms),    // as is its track
	}, nominal)
	ada, bob := transcript.Participant{ID: "ada", Name: "Ada"}, transcript.Participant{ID: "bob", Name: "Bob"}
	want := []transcript.Missing{
		{Track: "B", Participant: bob, StartMS: 10, EndMS: 20, MissingMS: 10, Kind: "shed", Reason: "given up by the server, which could not store it"},
		{Track: "A", Participant: ada, StartMS: 1000, EndMS: 2000, MissingMS: 1000, Kind: "skipped", Reason: "not transcribed: no recognizer"},
		{Track: "A", Participant: ada, StartMS: 2000, EndMS: 2500, MissingMS: 500, Kind: "skipped", Reason: "not transcribed"},
		{Track: "A", Participant: ada, StartMS: 2000, EndMS: 4000, MissingMS: 60, Kind: "concealed", Reason: "lost on the way"},
		{Track: "A", Participant: ada, StartMS: 4500, EndMS: 4540, MissingMS: 40, Kind: "concealed", Reason: "lost on the way"},
		{Track: "A", Participant: ada, StartMS: 5000, EndMS: 6000, MissingMS: 1000, Kind: "pending", Reason: "not transcribed yet"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestMissingAddsUpToCoverage: to the millisecond, whatever the ticks are.
func TestMissingAddsUpToCoverage(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ticks := func(name string) int64 { return rapid.Int64Range(0, 500).Draw(r, name) }
		tr := Track{ID: "A"}
		var gaps []Gap
		for _, k := range []transcript.MissingKind{transcript.Concealed, transcript.Discontinuity, transcript.Shed, transcript.Skipped} {
			sum, at := int64(0), int64(0)
			for range rapid.IntRange(0, 4).Draw(r, string(k)) {
				at += ticks("between")
				g := Gap{Track: "A", Kind: k, Start: at, Ticks: 1 + ticks("missing")}
				g.End = g.Start + g.Ticks + ticks("more")
				gaps, sum, at = append(gaps, g), sum+g.Ticks, g.End
			}
			tr.Through = max(tr.Through, at)
			switch k {
			case transcript.Concealed:
				tr.Account.Concealed = sum
			case transcript.Discontinuity:
				tr.Account.Discontinuity = sum
			case transcript.Shed:
				tr.Account.Shed = sum
			default:
				tr.Skipped = sum
			}
		}
		tr.Account.Recovered, tr.Account.Silence = ticks("recovered"), ticks("silence")
		tr.Account.Received = max(0, tr.Through-tr.Account.Total()) + ticks("received")
		c := NewCoverage(tr.Account, tr.Through, tr.Skipped)

		got := map[transcript.MissingKind]int64{}
		for _, m := range (Meeting{Tracks: []Track{tr}}).Missing(gaps, nominal) {
			got[m.Kind] += m.MissingMS
		}
		for kind, want := range map[transcript.MissingKind]int64{
			transcript.Concealed: c.ConcealedMS, transcript.Discontinuity: c.DiscontinuityMS, transcript.Shed: c.ShedMS,
			transcript.Skipped: c.SkippedMS, transcript.Pending: c.PendingMS,
		} {
			if got[kind] != want {
				r.Errorf("%s: %d ms are missing, the coverage has %d", kind, got[kind], want)
			}
		}
	})
}
