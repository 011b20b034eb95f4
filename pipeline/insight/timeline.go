package insight

import "math"

// Timeline cuts the meeting into buckets of equal length; the last one ends with
// the meeting. There are at most 60.
type Timeline struct {
	BucketMS int64    `json:"bucket_ms"`
	Buckets  []Bucket `json:"buckets"`
}

// Bucket is a part of the meeting.
type Bucket struct {
	Span
	// TalkMS is each participant's, in the order of Stats.Participants.
	TalkMS []int64 `json:"talk_ms"`
	// Balance is that between those who were there; see Numbers.
	Balance *float64 `json:"balance"`
}

const maxBuckets = 60

// bucketSteps are lengths that are easy to read on an axis, in milliseconds.
var bucketSteps = [...]int64{10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, hourMS}

const hourMS = 3_600_000

// bucketLength is the shortest step that makes no more than maxBuckets, behind
// the last one whole hours.
func bucketLength(duration int64) int64 {
	for _, step := range bucketSteps {
		if duration <= step*maxBuckets {
			return step
		}
	}
	const most = hourMS * maxBuckets
	return (duration-1)/most*hourMS + hourMS
}

func timeline(voices []*voice, duration int64) Timeline {
	length := bucketLength(duration)
	t := Timeline{BucketMS: length, Buckets: []Bucket{}}
	for start := int64(0); start < duration; start += length {
		t.Buckets = append(t.Buckets, Bucket{
			Span:   Span{start, min(start+length, duration)},
			TalkMS: make([]int64, len(voices)),
		})
	}
	present := make([]int, len(t.Buckets))
	for i, v := range voices {
		there := make([]bool, len(t.Buckets))
		for _, s := range v.person.Present {
			t.each(s, func(b int, _ int64) { there[b] = true })
		}
		for _, s := range v.talk {
			t.each(s, func(b int, ms int64) {
				there[b] = true
				t.Buckets[b].TalkMS[i] += ms
			})
		}
		for b, is := range there {
			if is {
				present[b]++
			}
		}
	}
	for b := range t.Buckets {
		t.Buckets[b].Balance = balance(t.Buckets[b].TalkMS, present[b])
	}
	return t
}

// each calls f for the buckets that s touches, and with how much of it is there.
func (t Timeline) each(s Span, f func(bucket int, ms int64)) {
	for b := max(s.StartMS, 0) / t.BucketMS; b < int64(len(t.Buckets)) && t.Buckets[b].StartMS < s.EndMS; b++ {
		in := t.Buckets[b].Span
		f(int(b), min(s.EndMS, in.EndMS)-max(s.StartMS, in.StartMS))
	}
}

// balance is the entropy of the shares, as a part of the largest that n
// participants can have (Pielou's evenness).
func balance(talk []int64, n int) *float64 {
	var total, h float64
	for _, t := range talk {
		total += float64(t)
	}
	if n < 2 || total == 0 {
		return nil
	}
	for _, t := range talk {
		if t > 0 {
			p := float64(t) / total
			h -= p * math.Log(p)
		}
	}
	even := min(max(h/math.Log(float64(n)), 0), 1) // rounding
	return &even
}
