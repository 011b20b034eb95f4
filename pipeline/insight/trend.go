package insight

import (
	"cmp"
	"slices"
)

// Comparison sets a meeting against earlier ones of its room.
type Comparison struct {
	// Meetings is how many earlier ones there are in which anybody talked.
	Meetings int      `json:"meetings"`
	Metrics  []Change `json:"metrics"`
	// Participants are those of the meeting who were in an earlier one.
	Participants []ShareChange `json:"participants"`
}

// Change is what is different in a number. Metrics that the meeting, or all
// earlier ones, do not have are left out.
type Change struct {
	Metric   string  `json:"metric"`
	Value    float64 `json:"value"`
	Usual    float64 `json:"usual"` // the median of the earlier meetings
	Change   float64 `json:"change"`
	Meetings int     `json:"meetings"` // that have the number
}

// ShareChange is what is different in a participant's share of the talk.
type ShareChange struct {
	ID         string  `json:"id"`
	Share      float64 `json:"share"`
	UsualShare float64 `json:"usual_share"` // the median of the meetings they were in
	Change     float64 `json:"change"`
	Meetings   int     `json:"meetings"` // that they were in
}

// Overview is what several meetings of a room have in common.
type Overview struct {
	// Meetings is how many of them there are in which anybody talked.
	Meetings     int          `json:"meetings"`
	Metrics      []Trend      `json:"metrics"`
	Participants []Attendance `json:"participants"` // who talked most comes first
}

// Trend is how a number goes from meeting to meeting.
type Trend struct {
	Metric     string   `json:"metric"`
	Usual      float64  `json:"usual"`       // the median
	PerMeeting *float64 `json:"per_meeting"` // the slope; nil with fewer than three
	Meetings   int      `json:"meetings"`    // that have the number
}

// Attendance is a participant over several meetings.
type Attendance struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"` // the newest
	Meetings   int     `json:"meetings"`
	TalkMS     int64   `json:"talk_ms"`
	UsualShare float64 `json:"usual_share"` // the median
}

// metrics are what meetings of different length can be compared by. A meeting
// without talk is never asked.
var metrics = []struct {
	name string
	of   func(n Numbers) (v float64, ok bool)
}{
	{"duration_ms", func(n Numbers) (float64, bool) { return float64(n.DurationMS), true }},
	{"silence_share", func(n Numbers) (float64, bool) { return float64(n.SilenceMS) / float64(n.DurationMS), true }},
	{"double_talk_share", func(n Numbers) (float64, bool) { return float64(n.DoubleTalkMS) / float64(n.DurationMS), true }},
	{"turns_per_hour", func(n Numbers) (float64, bool) { return float64(n.Turns) * hourMS / float64(n.DurationMS), true }},
	{"interruptions_per_hour", func(n Numbers) (float64, bool) {
		return float64(n.Interruptions) * hourMS / float64(n.DurationMS), true
	}},
	{"words_per_minute", func(n Numbers) (float64, bool) { return deref(n.WordsPerMinute) }},
	{"balance", func(n Numbers) (float64, bool) { return deref(n.Balance) }},
}

func deref(v *float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return *v, true
}

// values are a metric of the meetings that have it.
func values(of func(Numbers) (float64, bool), meetings []Stats) (out []float64) {
	for i := range meetings {
		if v, ok := of(meetings[i].Numbers); ok {
			out = append(out, v)
		}
	}
	return out
}

// Compare sets now against earlier meetings, in any order. Without any, or
// without talk now, there is nothing to compare.
func Compare(now Stats, earlier []Stats) Comparison {
	earlier = withTalk(earlier)
	c := Comparison{Meetings: len(earlier), Metrics: []Change{}, Participants: []ShareChange{}}
	if now.TalkMS == 0 {
		return c
	}
	for _, m := range metrics {
		v, ok := m.of(now.Numbers)
		before := values(m.of, earlier)
		if ok && len(before) > 0 {
			usual := median(before)
			c.Metrics = append(c.Metrics, Change{m.name, v, usual, v - usual, len(before)})
		}
	}
	shares := map[string][]float64{}
	for i := range earlier {
		for _, p := range earlier[i].Participants {
			shares[p.ID] = append(shares[p.ID], p.Share)
		}
	}
	for _, p := range now.Participants {
		if before := shares[p.ID]; len(before) > 0 {
			usual := median(before)
			c.Participants = append(c.Participants, ShareChange{p.ID, p.Share, usual, p.Share - usual, len(before)})
		}
	}
	return c
}

// Over looks at meetings together; they come by their beginning, the oldest
// first.
func Over(meetings []Stats) Overview {
	meetings = withTalk(meetings)
	o := Overview{Meetings: len(meetings), Metrics: []Trend{}, Participants: []Attendance{}}
	for _, m := range metrics {
		if vs := values(m.of, meetings); len(vs) > 0 {
			slope := slope(vs)
			o.Metrics = append(o.Metrics, Trend{m.name, median(vs), slope, len(vs)})
		}
	}
	shares := map[string][]float64{}
	people := map[string]*Attendance{}
	for i := range meetings {
		for _, p := range meetings[i].Participants {
			a := people[p.ID]
			if a == nil {
				a = &Attendance{ID: p.ID}
				people[p.ID] = a
			}
			a.Name = p.Name
			a.Meetings++
			a.TalkMS += p.TalkMS
			shares[p.ID] = append(shares[p.ID], p.Share)
		}
	}
	for id, a := range people {
		a.UsualShare = median(shares[id])
		o.Participants = append(o.Participants, *a)
	}
	slices.SortFunc(o.Participants, func(a, b Attendance) int {
		return cmp.Or(cmp.Compare(b.TalkMS, a.TalkMS), cmp.Compare(a.ID, b.ID))
	})
	return o
}

func withTalk(meetings []Stats) (out []Stats) {
	for i := range meetings {
		if meetings[i].TalkMS > 0 {
			out = append(out, meetings[i])
		}
	}
	return out
}

// median of at least one value.
func median(vs []float64) float64 {
	vs = slices.Sorted(slices.Values(vs))
	if n := len(vs); n%2 == 0 {
		return (vs[n/2-1] + vs[n/2]) / 2
	}
	return vs[len(vs)/2]
}

// slope is the median of the slopes between all pairs (Theil and Sen): one odd
// meeting does not turn it.
func slope(vs []float64) *float64 {
	if len(vs) < 3 {
		return nil
	}
	var slopes []float64
	for i := range vs {
		for j := i + 1; j < len(vs); j++ {
			slopes = append(slopes, (vs[j]-vs[i])/float64(j-i))
		}
	}
	m := median(slopes)
	return &m
}
