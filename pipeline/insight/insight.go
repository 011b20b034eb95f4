// Package insight says what a meeting was like for those in it: who talked how
// much and how fast, in which turns, over whom, and how evenly; and how that
// compares with other meetings. docs/INSIGHT.md defines every number.
//
// It is pure: no I/O, no goroutine, no lock, no clock. The flow:
//
//	segments → talk: per participant, spans in which they talk
//	         → sweep: silence, overlap
//	         → phrases → turns, interruptions
//	         → timeline: talk and balance in buckets
//	Stats of several meetings → Compare, Over
package insight

import (
	"cmp"
	"slices"

	"verbatim/pipeline/transcript"
)

// Span is a stretch of time on the meeting's clock, in milliseconds: from StartMS
// up to, but not with, EndMS.
type Span struct {
	StartMS int64 `json:"start_ms"`
	EndMS   int64 `json:"end_ms"`
}

func (s Span) length() int64 { return s.EndMS - s.StartMS }

// Meeting is what the numbers are made of.
type Meeting struct {
	DurationMS int64
	People     []Person
	Segments   []transcript.Segment // finals, in any order
}

// Person is somebody who was in the meeting, whether they talked or not.
type Person struct {
	transcript.Participant
	Present []Span // when they could be heard, in any order
}

// Numbers are those of a meeting as a whole. TalkMS + SilenceMS − OverlapMS is
// DurationMS.
type Numbers struct {
	// DurationMS is the meeting's, or where the last talk ends if that is later.
	DurationMS int64 `json:"duration_ms"`
	// TalkMS is all participants' talk together.
	TalkMS int64 `json:"talk_ms"`
	// SilenceMS is the time in which nobody talks.
	SilenceMS int64 `json:"silence_ms"`
	// OverlapMS is the talk at the same time as other talk: of each moment in
	// which several talk, all voices but one.
	OverlapMS int64 `json:"overlap_ms"`
	// DoubleTalkMS is the time in which two or more talk.
	DoubleTalkMS int64 `json:"double_talk_ms"`
	// Overlaps are the stretches of double talk that are long enough to count.
	Overlaps      int `json:"overlaps"`
	Turns         int `json:"turns"`
	Interruptions int `json:"interruptions"`
	// Words and WordsPerMinute are nil where words cannot be counted, the latter
	// also where nobody talks.
	Words          *int     `json:"words"`
	WordsPerMinute *float64 `json:"words_per_minute"`
	// Balance is 1 when all talk for the same time and 0 when one talks alone,
	// nil with fewer than two participants or without talk.
	Balance *float64 `json:"balance"`
}

// Stats are all numbers of a meeting. Participants stand in the order of
// Meeting.People; Interruptions and Interrupted add up to the same sum.
type Stats struct {
	Numbers
	Participants []Participant `json:"participants"`
	Timeline     Timeline      `json:"timeline"`
}

// Participant has the numbers of one of them. Shares add up to 1 if anybody
// talked.
type Participant struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	TalkMS         int64    `json:"talk_ms"`
	Share          float64  `json:"share"` // of all participants' talk
	OverlappedMS   int64    `json:"overlapped_ms"`
	Turns          int      `json:"turns"`
	LongestTurn    *Span    `json:"longest_turn"` // nil without a turn
	ShortTalks     int      `json:"short_talks"`  // too short to be a turn
	Interruptions  int      `json:"interruptions"`
	Interrupted    int      `json:"interrupted"`
	Words          *int     `json:"words"`
	WordsPerMinute *float64 `json:"words_per_minute"`
}

// Compute makes the numbers of a meeting.
func Compute(m Meeting) Stats {
	voices := gather(m)
	s := Stats{Participants: make([]Participant, len(voices))}
	s.DurationMS = max(m.DurationMS, 0)
	for i, v := range voices {
		p := &s.Participants[i]
		p.ID, p.Name, p.Words = v.person.ID, v.person.Name, v.words()
		for _, t := range v.talk {
			p.TalkMS += t.length()
			s.DurationMS = max(s.DurationMS, t.EndMS)
		}
		s.TalkMS += p.TalkMS
	}
	sweep(voices, &s)
	takeTurns(voices, &s)
	s.Timeline = timeline(voices, s.DurationMS)
	conclude(&s)
	return s
}

// conclude makes what follows from the other numbers.
func conclude(s *Stats) {
	talk := make([]int64, len(s.Participants))
	words := new(int)
	for i := range s.Participants {
		p := &s.Participants[i]
		talk[i] = p.TalkMS
		if s.TalkMS > 0 {
			p.Share = float64(p.TalkMS) / float64(s.TalkMS)
		}
		p.WordsPerMinute = perMinute(p.Words, p.TalkMS)
		s.Turns += p.Turns
		s.Interruptions += p.Interruptions
		if p.Words == nil {
			words = nil
		} else if words != nil {
			*words += *p.Words
		}
	}
	s.Words, s.WordsPerMinute = words, perMinute(words, s.TalkMS)
	s.Balance = balance(talk, len(talk))
}

func perMinute(words *int, talkMS int64) *float64 {
	if words == nil || talkMS <= 0 {
		return nil
	}
	rate := float64(*words) * 60_000 / float64(talkMS)
	return &rate
}

// voice is a participant's talk.
type voice struct {
	person  Person
	talk    []Span // in order, with pauses between them that count
	count   int    // of words
	unknown bool   // some words could not be counted
}

func (v *voice) words() *int {
	if v.unknown {
		return nil
	}
	return &v.count
}

// gather makes the voices of the people in their order, and behind them those of
// participants that only segments know, by their ids.
func gather(m Meeting) []*voice {
	voices := make([]*voice, 0, len(m.People))
	index := make(map[string]*voice, len(m.People))
	for _, p := range m.People {
		if index[p.ID] == nil {
			index[p.ID] = &voice{person: p}
			voices = append(voices, index[p.ID])
		}
	}
	known := len(voices)
	for i := range m.Segments {
		s := &m.Segments[i]
		v := index[s.Participant.ID]
		if v == nil {
			v = &voice{person: Person{Participant: s.Participant}}
			index[s.Participant.ID] = v
			voices = append(voices, v)
		}
		v.hear(s)
	}
	slices.SortFunc(voices[known:], func(a, b *voice) int { return cmp.Compare(a.person.ID, b.person.ID) })
	for _, v := range voices {
		v.talk = join(v.talk, pauseMS)
	}
	return voices
}

// hear adds a segment: the times of its words, else its own.
func (v *voice) hear(s *transcript.Segment) {
	n, ok := s.WordCount()
	v.count += n
	v.unknown = v.unknown || !ok
	timed := false
	for _, w := range s.Words {
		timed = v.add(w.StartMS, w.EndMS) || timed
	}
	if !timed {
		v.add(s.StartMS, s.EndMS)
	}
}

// add adds talk and reports whether it takes any time. Most is in order, and is
// joined to what came before at once: that leaves little to sort.
func (v *voice) add(start, end int64) bool {
	start = max(start, 0)
	if end <= start {
		return false
	}
	if n := len(v.talk); n > 0 {
		if last := &v.talk[n-1]; start >= last.StartMS && start-last.EndMS < pauseMS {
			last.EndMS = max(last.EndMS, end)
			return true
		}
	}
	v.talk = append(v.talk, Span{start, end})
	return true
}
