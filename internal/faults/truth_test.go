//go:build linux

package main

import (
	"testing"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// said is the transcript of what nothing happened to: numbers from..to of track t.
func said(t string, from, to int) (all []word) {
	for i := from; i < to; i++ {
		if tonecode.Spoken(i) {
			all = append(all, word{"ada", t, tonecode.Word(i), 5000 + int64(i)*100})
		}
	}
	return all
}

func TestCompare(t *testing.T) {
	other := word{"bob", "t", tonecode.Word(3), 0}
	for _, c := range []struct {
		name   string
		change func(tr *truth, w []word) []word
		want   count
	}{
		{"nothing", func(_ *truth, w []word) []word { return append(w, other) }, count{}},
		{"lost", func(_ *truth, w []word) []word { return w[1:] }, count{Lost: 1}},
		{"not sent", func(tr *truth, w []word) []word { tr.fates[0] = unsent; return w[1:] }, count{Unsent: 1}},
		{"in memory", func(tr *truth, w []word) []word { tr.fates[0] = edge; return w[1:] }, count{Edge: 1}},
		{"doubled", func(_ *truth, w []word) []word { return append(w, w[3]) }, count{Doubled: 1}},
		{"sent twice", func(tr *truth, w []word) []word { tr.again[3] = 1; return append(w, w[3]) }, count{Again: 1}},
		{"sent twice, there three times", func(tr *truth, w []word) []word { tr.again[3] = 1; return append(w, w[3], w[3]) }, count{Again: 1, Doubled: 1}},
		{"swapped", func(_ *truth, w []word) []word { w[3], w[4] = w[4], w[3]; return w }, count{Disordered: 1}},
		{"a number of a pause", func(_ *truth, w []word) []word { return append(w, word{"ada", "t", tonecode.Word(35), 0}) }, count{Wrong: 1}},
		{"what comes later", func(_ *truth, w []word) []word { return append(w, word{"ada", "t", tonecode.Word(81), 0}) }, count{Wrong: 1}},
		{"no number", func(_ *truth, w []word) []word { return append(w, word{"ada", "t", "hm", 0}) }, count{Wrong: 1}},
		{"a word's time", func(_ *truth, w []word) []word { w[3].start -= 120; return w }, count{Off: 120}},
		{"the time of what was late", func(tr *truth, w []word) []word { tr.late[3] = true; w[3].start -= 120; return w }, count{}},
		{"another track", func(_ *truth, w []word) []word {
			for i := 30; i < len(w); i++ {
				w[i].track, w[i].start = "u", w[i].start+300
			}
			return w
		}, count{Drift: 300}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTruth("ada", 80)
			got := tr.compare(c.change(&tr, said("t", 0, 80)))
			c.want.Said, got.Which = 60, nil
			if got.Said != c.want.Said || got.Lost != c.want.Lost || got.Doubled != c.want.Doubled || got.Disordered != c.want.Disordered ||
				got.Wrong != c.want.Wrong || got.Unsent != c.want.Unsent || got.Edge != c.want.Edge || got.Again != c.want.Again ||
				got.Off != c.want.Off || got.Drift != c.want.Drift {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// A server dies after a minute, when a client sends every 60 ms from a session
// that began at 0, and again from one that began a second later.
func TestFates(t *testing.T) {
	zero := time.Unix(1000, 0)
	death, rejoined := zero.Add(time.Minute), zero.Add(61*time.Second)
	w := &whip{id: "whip"}
	for k := range 1200 {
		switch at := zero.Add(time.Duration(k) * packetTime); {
		case at.Before(death.Add(500 * time.Millisecond)): // it has not noticed yet
			w.sent = append(w.sent, sending{at, link{since: zero}})
		case at.Before(rejoined):
			w.sent = append(w.sent, sending{})
		default:
			w.sent = append(w.sent, sending{at, link{since: rejoined}})
		}
	}
	tr := w.truth([][]time.Time{{death}}, 500*time.Millisecond)
	for i, got := range tr.fates {
		want := kept
		switch at := zero.Add(time.Duration(i) * perNumber); {
		case at.Before(death.Add(-700 * time.Millisecond)):
		case at.Before(death.Add(-500 * time.Millisecond)):
			continue // at the border
		case at.Before(death.Add(-100 * time.Millisecond)):
			want = edge
		case at.Before(death):
			continue
		case at.Before(rejoined.Add(settling*packetTime - 100*time.Millisecond)):
			want = unsent
		case at.Before(rejoined.Add(settling*packetTime + 100*time.Millisecond)):
			continue
		}
		if got != want {
			t.Errorf("number %d is %d, want %d", i, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	doc := func() document {
		c := meeting.Coverage{DurationMS: 10, ReceivedMS: 9, ShedMS: 1, TranscribedMS: 10}
		return document{Complete: true, Meeting: meeting.Meeting{Coverage: c, Tracks: []meeting.Track{{ID: "t", Coverage: c}}}}
	}
	for _, c := range []struct {
		name   string
		change func(d *document)
		missed int
	}{
		{"nothing", func(*document) {}, 0},
		{"not complete", func(d *document) { d.Complete = false }, 1},
		{"the account", func(d *document) { d.Meeting.Tracks[0].Coverage.ReceivedMS++ }, 1},
		{"the transcript's account", func(d *document) { d.Meeting.Coverage.PendingMS++ }, 1},
		{"what was in memory", func(d *document) {
			d.Missing = []transcript.Missing{{Kind: transcript.Shed, MissingMS: 400}}
		}, 0},
		{"more than that", func(d *document) {
			d.Missing = []transcript.Missing{{Kind: transcript.Shed, MissingMS: 800}}
		}, 1},
		{"something else", func(d *document) {
			d.Missing = []transcript.Missing{{Kind: transcript.Concealed, MissingMS: 60}}
		}, 1},
	} {
		d, r := doc(), result{}
		c.change(&d)
		r.judge(nil, []document{d}, bars{edge: unwritten})
		if len(r.Missed) != c.missed {
			t.Errorf("%s: missed %q, want %d", c.name, r.Missed, c.missed)
		}
	}
	r := result{}
	r.judge([]truth{newTruth("ada", 0)}, []document{doc(), doc()}, bars{})
	if len(r.Missed) != 2 { // said nothing, two meetings
		t.Errorf("missed %q", r.Missed)
	}
}
