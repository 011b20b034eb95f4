package insight

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"verbatim/pipeline/transcript"
)

// minutes is a meeting of ten minutes in which a and b talk for that long, in
// one turn each, without words to count.
func minutes(a, b float64) Stats {
	m := meetingOf(said("a", 0, a*60), said("b", 300, 300+b*60))
	m.DurationMS = 600_000
	for i := range m.Segments {
		m.Segments[i].Text = "世界"
	}
	return Compute(m)
}

func TestCompare(t *testing.T) {
	quiet := minutes(0, 0)
	for name, c := range map[string]struct {
		now     Stats
		earlier []Stats
		want    string
	}{
		"the first":     {minutes(1, 1), nil, "0"},
		"only silence":  {minutes(1, 1), []Stats{quiet, quiet}, "0"},
		"quiet now":     {quiet, []Stats{minutes(1, 1)}, "1"},
		"like the last": {minutes(2, 1), []Stats{minutes(2, 1)}, "1 silence_share 0.7 usually 0.7 (0) of 1, a 0.67 usually 0.67 (0) of 1, b 0.33 usually 0.33 (0) of 1"},
		"unlike most": {minutes(4, 1), []Stats{minutes(1, 3), quiet, minutes(1, 1), minutes(1, 1), minutes(3, 1)},
			"4 silence_share 0.5 usually 0.7 (-0.2) of 4, a 0.8 usually 0.5 (0.3) of 4, b 0.2 usually 0.5 (-0.3) of 4"},
	} {
		got := Compare(c.now, c.earlier)
		parts := []string{}
		for _, m := range got.Metrics {
			if m.Metric == "silence_share" {
				parts = append(parts, fmt.Sprintf("%s %v usually %v (%v) of %d", m.Metric, round(m.Value), round(m.Usual), round(m.Change), m.Meetings))
			}
			if m.Metric == "words_per_minute" {
				t.Errorf("%s: words were not counted, but compared", name)
			}
		}
		for _, p := range got.Participants {
			parts = append(parts, fmt.Sprintf("%s %v usually %v (%v) of %d", p.ID, round(p.Share), round(p.UsualShare), round(p.Change), p.Meetings))
		}
		if g := strings.TrimSpace(fmt.Sprint(got.Meetings) + " " + strings.Join(parts, ", ")); g != c.want {
			t.Errorf("%s: got %s, want %s", name, g, c.want)
		}
	}
}

// Who was never there before, or is not there now, is not compared.
func TestCompareStrangers(t *testing.T) {
	with := func(ids ...string) Stats {
		m := Meeting{DurationMS: 60_000}
		for i, id := range ids {
			m.Segments = append(m.Segments, said(id, float64(i)*10, float64(i)*10+5))
		}
		return Compute(m)
	}
	got := Compare(with("a", "new"), []Stats{with("a"), with("a", "gone"), with("gone")})
	if len(got.Participants) != 1 || got.Participants[0] != (ShareChange{"a", 0.5, 0.75, -0.25, 2}) {
		t.Errorf("%+v", got.Participants)
	}
	for _, m := range got.Metrics {
		if m.Metric == "balance" && m.Meetings != 1 { // two of them had one participant
			t.Errorf("%+v", m)
		}
	}
}

func TestOver(t *testing.T) {
	named := func(s Stats, name string) Stats {
		s.Participants[0].Name = name
		return s
	}
	o := Over([]Stats{named(minutes(1, 1), "Old"), minutes(0, 0), minutes(2, 2), named(minutes(3, 1), "New")})
	if o.Meetings != 3 {
		t.Errorf("%d meetings", o.Meetings)
	}
	metrics := map[string]string{}
	for _, m := range o.Metrics {
		metrics[m.Metric] = fmt.Sprintf("%v %v of %d", round(m.Usual), round(*m.PerMeeting), m.Meetings)
	}
	want := map[string]string{
		"duration_ms":   "600000 0 of 3",
		"silence_share": "0.6 -0.1 of 3", // 0.8, 0.6, 0.6: slopes of −0.2, −0.1 and 0
		"balance":       "1 -0.09 of 3",  // 1, 1, 0.81
	}
	for metric, w := range want {
		if metrics[metric] != w {
			t.Errorf("%s: %s, want %s", metric, metrics[metric], w)
		}
	}
	if got := asJSON(t, o.Participants); got != `[{"id":"a","name":"New","meetings":3,"talk_ms":360000,"usual_share":0.5},{"id":"b","name":"B","meetings":3,"talk_ms":240000,"usual_share":0.5}]` {
		t.Error(got)
	}
	if got := asJSON(t, Over(nil)); got != `{"meetings":0,"metrics":[],"participants":[]}` {
		t.Error(got)
	}
	if got := Over([]Stats{minutes(1, 1), minutes(1, 1)}); got.Metrics[0].PerMeeting != nil {
		t.Error("a slope of two meetings")
	}
}

// Every metric is a number for every meeting that has talk.
func TestMetrics(t *testing.T) {
	s := Compute(Meeting{Segments: []transcript.Segment{said("a", 0, 0.001)}})
	for _, m := range metrics {
		if v, ok := m.of(s.Numbers); ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("%s is %v", m.name, v)
		}
	}
}

func TestSlope(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{1, 2, 3, 4}, 1},
		{[]float64{4, 4, 4}, 0},
		{[]float64{1, 2, 3, 100, 5, 6, 7}, 1}, // one odd meeting
	} {
		if got := slope(c.values); *got != c.want {
			t.Errorf("%v: %v, want %v", c.values, *got, c.want)
		}
	}
}

func round(v float64) float64 {
	r := math.Round(v*100) / 100
	if r == 0 {
		return 0 // not −0
	}
	return r
}
