package insight

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"verbatim/pipeline/transcript"
)

func anyMeeting(t *rapid.T) Meeting {
	people := rapid.IntRange(0, 4).Draw(t, "people")
	id := rapid.Map(rapid.IntRange(0, 5), func(n int) string { return fmt.Sprint(n) }) // some are strangers
	at := rapid.Int64Range(-1000, 40_000)
	length := rapid.OneOf(rapid.Int64Range(-100, 2000), rapid.Int64Range(0, 20_000))
	span := rapid.Custom(func(t *rapid.T) Span {
		start := at.Draw(t, "start")
		return Span{start, start + length.Draw(t, "length")}
	})
	m := Meeting{DurationMS: rapid.Int64Range(0, 2_000_000).Draw(t, "duration")}
	for i := range people {
		m.People = append(m.People, person(fmt.Sprint(i), rapid.SliceOfN(span, 0, 2).Draw(t, "present")...))
	}
	m.Segments = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) transcript.Segment {
		s := span.Draw(t, "segment")
		out := transcript.Segment{
			Participant: transcript.Participant{ID: id.Draw(t, "id")}, StartMS: s.StartMS, EndMS: s.EndMS,
			Text: rapid.SampledFrom([]string{"", "one", "one two", "世界"}).Draw(t, "text"),
		}
		for _, w := range rapid.SliceOfN(span, 0, 3).Draw(t, "words") {
			out.Words = append(out.Words, transcript.Word{Text: "w", StartMS: w.StartMS, EndMS: w.EndMS})
		}
		return out
	}), 0, 12).Draw(t, "segments")
	return m
}

// naive counts milliseconds one by one: how many talk in each.
func naive(voices []*voice, duration int64) (silence, overlap, double int64) {
	talking := make([]int64, duration)
	for _, v := range voices {
		for _, s := range v.talk {
			for i := s.StartMS; i < s.EndMS; i++ {
				talking[i]++
			}
		}
	}
	for _, n := range talking {
		switch {
		case n == 0:
			silence++
		case n > 1:
			double++
			overlap += n - 1
		}
	}
	return silence, overlap, double
}

func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMeeting(t)
		s := Compute(m)
		if s.TalkMS+s.SilenceMS-s.OverlapMS != s.DurationMS || s.DurationMS < m.DurationMS {
			t.Fatalf("%d talk + %d silence − %d overlap is not %d", s.TalkMS, s.SilenceMS, s.OverlapMS, s.DurationMS)
		}
		if s.DoubleTalkMS > s.OverlapMS || s.Overlaps > 0 && s.DoubleTalkMS < overlapMS*int64(s.Overlaps) {
			t.Fatalf("%d overlaps in %d ms of double talk, %d of overlap", s.Overlaps, s.DoubleTalkMS, s.OverlapMS)
		}
		silence, overlap, double := naive(gather(m), s.DurationMS)
		if s.SilenceMS != silence || s.OverlapMS != overlap || s.DoubleTalkMS != double {
			t.Fatalf("got %+v, want %d %d %d", s.Numbers, silence, overlap, double)
		}
		checkParticipants(t, s)
		checkTimeline(t, s)
		asJSON(t, s) // no number that JSON does not have
	})
}

func checkParticipants(t *rapid.T, s Stats) {
	var shares float64
	var talk int64
	interruptions, interrupted, turns := 0, 0, 0
	for _, p := range s.Participants {
		shares += p.Share
		talk += p.TalkMS
		interruptions += p.Interruptions
		interrupted += p.Interrupted
		turns += p.Turns
		if p.OverlappedMS < 0 || p.OverlappedMS > p.TalkMS || p.OverlappedMS > s.DoubleTalkMS {
			t.Fatalf("%+v", p)
		}
		if (p.LongestTurn != nil) != (p.Turns > 0) || p.Turns > 0 && p.LongestTurn.length() < shortMS {
			t.Fatalf("%d turns, the longest %v", p.Turns, p.LongestTurn)
		}
		if (p.TalkMS > 0) != (p.Turns+p.ShortTalks > 0) {
			t.Fatalf("talk without a turn, or the other way round: %+v", p)
		}
	}
	if talk != s.TalkMS || interruptions != interrupted || interruptions != s.Interruptions || turns != s.Turns {
		t.Fatalf("sums: %+v", s)
	}
	if talk > 0 && math.Abs(shares-1) > 1e-9 || talk == 0 && shares != 0 {
		t.Fatalf("shares add up to %v", shares)
	}
	if b := s.Balance; b != nil && (*b < 0 || *b > 1) || (b != nil) != (talk > 0 && len(s.Participants) > 1) {
		t.Fatalf("balance %v", b)
	}
}

func checkTimeline(t *rapid.T, s Stats) {
	var end int64
	talk := make([]int64, len(s.Participants))
	for _, b := range s.Timeline.Buckets {
		if b.StartMS != end || b.length() <= 0 || b.length() > s.Timeline.BucketMS {
			t.Fatalf("bucket %v after %d", b, end)
		}
		end = b.EndMS
		for i, ms := range b.TalkMS {
			if ms < 0 || ms > b.length() {
				t.Fatalf("bucket %v", b)
			}
			talk[i] += ms
		}
		if b.Balance != nil && (*b.Balance < 0 || *b.Balance > 1) {
			t.Fatalf("bucket %v", b)
		}
	}
	if end != s.DurationMS || len(s.Timeline.Buckets) > maxBuckets {
		t.Fatalf("%d buckets end at %d", len(s.Timeline.Buckets), end)
	}
	for i, p := range s.Participants {
		if talk[i] != p.TalkMS {
			t.Fatalf("%s talks %d ms in buckets, %d in all", p.ID, talk[i], p.TalkMS)
		}
	}
}

// TestOrder: it does not matter in which order segments come, nor does it change
// them.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMeeting(t)
		want := Compute(m)
		before := fmt.Sprint(m)
		other := m
		other.Segments = rapid.Permutation(m.Segments).Draw(t, "order")
		if got := Compute(other); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %s, want %s", asJSON(t, got), asJSON(t, want))
		}
		if fmt.Sprint(m) != before {
			t.Fatal("the input was changed")
		}
	})
}

// TestShift: a meeting that begins later is the same but for its silence.
func TestShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMeeting(t)
		for i := range m.Segments { // none begins before the meeting
			m.Segments[i] = shifted(m.Segments[i], 10_000)
		}
		by := rapid.Int64Range(0, 100_000).Draw(t, "by")
		later := m
		later.DurationMS = Compute(m).DurationMS + by
		later.Segments = nil
		for _, s := range m.Segments {
			later.Segments = append(later.Segments, shifted(s, by))
		}
		want, got := Compute(m), Compute(later)
		want.SilenceMS += by
		want.DurationMS += by
		for i := range want.Participants {
			if l := want.Participants[i].LongestTurn; l != nil {
				*l = Span{l.StartMS + by, l.EndMS + by}
			}
		}
		want.Timeline, got.Timeline = Timeline{}, Timeline{}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %s, want %s", asJSON(t, got), asJSON(t, want))
		}
	})
}

func shifted(s transcript.Segment, by int64) transcript.Segment {
	s.StartMS, s.EndMS = s.StartMS+by, s.EndMS+by
	words := s.Words
	s.Words = nil
	for _, w := range words {
		w.StartMS, w.EndMS = w.StartMS+by, w.EndMS+by
		s.Words = append(s.Words, w)
	}
	return s
}

// longDay is a meeting of 8 h with 20 participants: somebody begins to talk every
// 2 s, for 3 s on average, with 10 words.
func longDay() Meeting {
	m := Meeting{DurationMS: 8 * hourMS}
	for i := range 20 {
		m.People = append(m.People, person(fmt.Sprint(i), Span{0, m.DurationMS}))
	}
	for at, n := int64(0), 0; at < m.DurationMS-10_000; at, n = at+2000, n+1 {
		who := m.People[n*7919%97%20].Participant
		length := 1000 + int64(n*7919%4000)
		s := transcript.Segment{Participant: who, StartMS: at, EndMS: at + length, Text: "ten words"}
		for i := range int64(10) {
			s.Words = append(s.Words, transcript.Word{Text: "word", StartMS: at + i*length/10, EndMS: at + (i+1)*length/10})
		}
		m.Segments = append(m.Segments, s)
	}
	return m
}

func BenchmarkCompute(b *testing.B) {
	m := longDay()
	b.ReportAllocs()
	for b.Loop() {
		Compute(m)
	}
}
