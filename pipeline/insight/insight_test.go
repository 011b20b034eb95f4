package insight

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"verbatim/pipeline/transcript"
)

// said is talk of a participant from one second to another, as an engine without
// words gives it.
func said(who string, from, to float64) transcript.Segment {
	return transcript.Segment{Participant: transcript.Participant{ID: who}, StartMS: ms(from), EndMS: ms(to), Text: "some text here"}
}

// words is a segment with words at the given seconds, each half a second long.
func words(who string, at ...float64) transcript.Segment {
	s := said(who, at[0], at[len(at)-1]+0.5)
	for _, t := range at {
		s.Words = append(s.Words, transcript.Word{Text: "word", StartMS: ms(t), EndMS: ms(t + 0.5)})
	}
	return s
}

func ms(seconds float64) int64 { return int64(math.Round(seconds * 1000)) }

func person(id string, present ...Span) Person {
	return Person{Participant: transcript.Participant{ID: id, Name: strings.ToUpper(id)}, Present: present}
}

// meetingOf is a meeting of a minute with a and b.
func meetingOf(segments ...transcript.Segment) Meeting {
	return Meeting{DurationMS: 60_000, People: []Person{person("a"), person("b")}, Segments: segments}
}

func TestTalk(t *testing.T) {
	for name, c := range map[string]struct {
		meeting Meeting
		want    string // talk, silence, overlap, double talk, overlaps; talk and overlapped talk of each
	}{
		"nobody":            {Meeting{}, "0 0 0 0 0"},
		"silence":           {meetingOf(), "0 60000 0 0 0 a:0/0 b:0/0"},
		"one after another": {meetingOf(said("a", 0, 10), said("b", 10, 15)), "15000 45000 0 0 0 a:10000/0 b:5000/0"},
		"over each other":   {meetingOf(said("a", 0, 10), said("b", 8, 15)), "17000 45000 2000 2000 1 a:10000/2000 b:7000/2000"},
		"one within another": {meetingOf(said("a", 0, 10), said("b", 4, 5)),
			"11000 50000 1000 1000 1 a:10000/1000 b:1000/1000"},
		"three at once": {meetingOf(said("a", 0, 10), said("b", 0, 10), said("c", 5, 10)),
			"25000 50000 15000 10000 1 a:10000/10000 b:10000/10000 c:5000/5000"},
		"overlaps that are too short to count": {meetingOf(said("a", 0, 10), said("b", 9.501, 20), said("a", 19.5, 30)),
			"30999 30000 999 999 1 a:20500/999 b:10499/999"},
		"pauses between words": {meetingOf(words("a", 1, 1.5, 2.299, 3.1)),
			"2299 57701 0 0 0 a:2299/0 b:0/0"}, // 299 ms are none, 301 ms are one
		"a pause between segments": {meetingOf(said("a", 1, 2), said("a", 2.2, 3), said("a", 3.3, 4)),
			"2700 57300 0 0 0 a:2700/0 b:0/0"},
		"words without times": {meetingOf(func() transcript.Segment {
			s := said("a", 1, 3)
			s.Words = []transcript.Word{{Text: "one", StartMS: 1000, EndMS: 1000}, {Text: "two", StartMS: 2000, EndMS: 1500}}
			return s
		}()), "2000 58000 0 0 0 a:2000/0 b:0/0"},
		"two tracks of one participant": {meetingOf(said("a", 0, 10), said("a", 5, 12)), "12000 48000 0 0 0 a:12000/0 b:0/0"},
		"out of order":                  {meetingOf(said("a", 20, 30), said("a", 0, 10), said("a", 9, 20)), "30000 30000 0 0 0 a:30000/0 b:0/0"},
		"beyond the end":                {meetingOf(said("a", 55, 65)), "10000 55000 0 0 0 a:10000/0 b:0/0"},
		"strange times":                 {meetingOf(said("a", -5, 1), said("b", 9, 9), said("b", 10, 3)), "1000 59000 0 0 0 a:1000/0 b:0/0"},
		"strangers, by their ids": {Meeting{DurationMS: 10_000, Segments: []transcript.Segment{said("z", 0, 1), said("y", 1, 3)}},
			"3000 7000 0 0 0 y:2000/0 z:1000/0"},
	} {
		s := Compute(c.meeting)
		got := fmt.Sprint(s.TalkMS, s.SilenceMS, s.OverlapMS, s.DoubleTalkMS, s.Overlaps)
		for _, p := range s.Participants {
			got += fmt.Sprintf(" %s:%d/%d", p.ID, p.TalkMS, p.OverlappedMS)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		segments []transcript.Segment
		want     string // of each: turns, the longest, short talk
	}{
		"nothing":                       {nil, "a:0 - 0, b:0 - 0"},
		"a turn":                        {[]transcript.Segment{said("a", 1, 11)}, "a:1 1000-11000 0, b:0 - 0"},
		"a pause of less than 2 s":      {[]transcript.Segment{said("a", 1, 11), said("a", 12.999, 15)}, "a:1 1000-15000 0, b:0 - 0"},
		"a pause of 2 s":                {[]transcript.Segment{said("a", 1, 11), said("a", 13, 15)}, "a:2 1000-11000 0, b:0 - 0"},
		"by turns":                      {[]transcript.Segment{said("a", 0, 5), said("b", 5, 8), said("a", 8, 20)}, "a:2 8000-20000 0, b:1 5000-8000 0"},
		"the other begins in the pause": {[]transcript.Segment{said("a", 0, 5), said("b", 6, 9), said("a", 6.5, 9)}, "a:2 0-5000 0, b:1 6000-9000 0"},
		"the other ends in the pause":   {[]transcript.Segment{said("a", 0, 5), said("b", 3, 6), said("a", 6.5, 9)}, "a:2 0-5000 0, b:1 3000-6000 0"},
		"both begin after the pause":    {[]transcript.Segment{said("a", 0, 5), said("b", 6, 9), said("a", 6, 10)}, "a:1 0-10000 0, b:1 6000-9000 0"},
		"the other is within":           {[]transcript.Segment{said("a", 0, 9), said("b", 3, 6), said("a", 10, 20)}, "a:1 0-20000 0, b:1 3000-6000 0"},
		"a sign of listening":           {[]transcript.Segment{said("a", 0, 5), said("b", 5.2, 5.9), said("a", 6, 9)}, "a:1 0-9000 0, b:0 - 1"},
		"short talk twice is a turn":    {[]transcript.Segment{said("b", 1, 1.6), said("b", 2.5, 3)}, "a:0 - 0, b:1 1000-3000 0"},
		"short talk, a second apart":    {[]transcript.Segment{said("b", 1, 1.6), said("b", 2.6, 3)}, "a:0 - 0, b:0 - 2"},
		"two of the same length":        {[]transcript.Segment{said("a", 10, 12), said("a", 20, 22)}, "a:2 10000-12000 0, b:0 - 0"},
	} {
		s := Compute(meetingOf(c.segments...))
		var got []string
		sum := 0
		for _, p := range s.Participants {
			longest := "-"
			if l := p.LongestTurn; l != nil {
				longest = fmt.Sprintf("%d-%d", l.StartMS, l.EndMS)
			}
			got = append(got, fmt.Sprintf("%s:%d %s %d", p.ID, p.Turns, longest, p.ShortTalks))
			sum += p.Turns
		}
		if g := strings.Join(got, ", "); g != c.want || s.Turns != sum {
			t.Errorf("%s: got %s (%d), want %s", name, g, s.Turns, c.want)
		}
	}
}

func TestInterruptions(t *testing.T) {
	for name, c := range map[string]struct {
		segments []transcript.Segment
		want     string // who interrupted and was interrupted how often
	}{
		"none":                     {[]transcript.Segment{said("a", 0, 5), said("b", 5, 9)}, "a:0/0 b:0/0"},
		"the first gives way":      {[]transcript.Segment{said("a", 0, 5), said("b", 4.5, 9)}, "a:0/1 b:1/0"},
		"at the end of a turn":     {[]transcript.Segment{said("a", 0, 5), said("b", 4.501, 9)}, "a:0/0 b:0/0"},
		"the first goes on":        {[]transcript.Segment{said("a", 0, 9), said("b", 4, 7)}, "a:0/0 b:0/0"},
		"both stop":                {[]transcript.Segment{said("a", 0, 9), said("b", 4, 9)}, "a:0/0 b:0/0"},
		"both begin":               {[]transcript.Segment{said("a", 0, 5), said("b", 0.499, 9)}, "a:0/0 b:0/0"},
		"a sign of listening":      {[]transcript.Segment{said("a", 0, 5), said("b", 4.4, 5.3)}, "a:0/0 b:0/0"},
		"over a sign of listening": {[]transcript.Segment{said("a", 0, 0.9), said("b", 0.6, 5)}, "a:0/0 b:0/0"},
		"and back":                 {[]transcript.Segment{said("a", 0, 5), said("b", 4, 9), said("a", 8, 12)}, "a:1/1 b:1/1"},
		"two at once":              {[]transcript.Segment{said("a", 0, 5), said("b", 0, 6), said("c", 4, 9)}, "a:0/1 b:0/1 c:2/0"},
	} {
		s := Compute(meetingOf(c.segments...))
		var got []string
		sum := 0
		for _, p := range s.Participants {
			got = append(got, fmt.Sprintf("%s:%d/%d", p.ID, p.Interruptions, p.Interrupted))
			sum += p.Interruptions
		}
		if g := strings.Join(got, " "); g != c.want || s.Interruptions != sum {
			t.Errorf("%s: got %s (%d), want %s", name, g, s.Interruptions, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	unspaced := said("b", 30, 35)
	unspaced.Text = "你好世界"
	for name, c := range map[string]struct {
		segments []transcript.Segment
		want     string // words and words per minute, of each and of all
	}{
		"nothing":       {nil, "0 null, 0 null, 0 null"},
		"text":          {[]transcript.Segment{said("a", 0, 2)}, "3 90, 0 null, 3 90"},
		"words":         {[]transcript.Segment{words("a", 0, 0.5, 10, 20), said("b", 20, 26)}, "4 120, 3 30, 7 52.5"},
		"not countable": {[]transcript.Segment{said("a", 0, 2), unspaced}, "3 90, null null, null null"},
		"without time":  {[]transcript.Segment{said("a", 1, 1)}, "3 null, 0 null, 3 null"},
	} {
		s := Compute(meetingOf(c.segments...))
		show := func(n *int, rate *float64) string { return asJSON(t, n) + " " + asJSON(t, rate) }
		got := show(s.Participants[0].Words, s.Participants[0].WordsPerMinute) + ", " +
			show(s.Participants[1].Words, s.Participants[1].WordsPerMinute) + ", " + show(s.Words, s.WordsPerMinute)
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestBalance(t *testing.T) {
	for name, c := range map[string]struct {
		talk []int64
		n    int
		want string
	}{
		"nobody":        {nil, 0, "null"},
		"no talk":       {[]int64{0, 0}, 2, "null"},
		"one":           {[]int64{5}, 1, "null"},
		"one talks":     {[]int64{5, 0}, 2, "0.000"},
		"even":          {[]int64{5, 5, 5}, 3, "1.000"},
		"two of three":  {[]int64{5, 5, 0}, 3, "0.631"}, // ln 2 / ln 3
		"three to one":  {[]int64{3, 1}, 2, "0.811"},    // the entropy in bits
		"one not there": {[]int64{5, 5, 0}, 2, "1.000"},
	} {
		got := "null"
		if b := balance(c.talk, c.n); b != nil {
			got = fmt.Sprintf("%.3f", *b)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestTimeline(t *testing.T) {
	m := Meeting{
		DurationMS: 620_000, // more than 60 times 10 s
		People:     []Person{person("a", Span{0, 620_000}), person("b", Span{31_000, 620_000}), person("c")},
		Segments:   []transcript.Segment{said("a", 5, 15), said("a", 25, 40), said("b", 40, 55), said("c", 595, 605)},
	}
	got := Compute(m).Timeline
	if got.BucketMS != 30_000 || len(got.Buckets) != 21 {
		t.Fatalf("%d buckets of %d ms", len(got.Buckets), got.BucketMS)
	}
	for i, want := range map[int]string{
		0:  "{0 30000} [15000 0 0] -", // a is alone
		1:  "{30000 60000} [10000 15000 0] 0.971",
		2:  "{60000 90000} [0 0 0] -",
		20: "{600000 620000} [0 0 5000] 0.000", // three are there
	} {
		b := got.Buckets[i]
		g := fmt.Sprintf("%v %v -", b.Span, b.TalkMS)
		if b.Balance != nil {
			g = fmt.Sprintf("%v %v %.3f", b.Span, b.TalkMS, *b.Balance)
		}
		if g != want {
			t.Errorf("bucket %d: %s, want %s", i, g, want)
		}
	}
	if got := asJSON(t, Compute(Meeting{}).Timeline); got != `{"bucket_ms":10000,"buckets":[]}` {
		t.Errorf("of nothing: %s", got)
	}
}

func TestBucketLength(t *testing.T) {
	for _, d := range []int64{1, 600_000, 600_001, hourMS, 8 * hourMS, 60 * hourMS, 60*hourMS + 1, 120 * hourMS, 120*hourMS + 1, math.MaxInt64 / 2} {
		length := bucketLength(d)
		if n := (d-1)/length + 1; n > maxBuckets || length > 10_000 && n < 20 {
			t.Errorf("%d ms: %d buckets of %d ms", d, n, length)
		}
	}
	if got := []int64{bucketLength(hourMS), bucketLength(8 * hourMS), bucketLength(60*hourMS + 1)}; !reflect.DeepEqual(got, []int64{60_000, 600_000, 2 * hourMS}) {
		t.Error(got)
	}
}

func asJSON(t interface {
	Helper()
	Fatal(args ...any)
}, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
