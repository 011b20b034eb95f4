package pipeline

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/transcript"
)

var quiet = slog.New(slog.DiscardHandler)

func nobody(meeting.Event) {}

// path is that of a track's log.
func (w *world) path(meetingID, trackID string) string {
	return filepath.Join(w.dir, "tracks", meetingID, trackID+".log")
}

// leave makes a track of tone code as a server leaves it that dies: what is in
// the store is through and account, what is on the disk is the log, which lacks
// its end unless ended.
func (w *world) leave(s *server, numbers int, ended bool) meeting.Track {
	t := w.t
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), "room", ada))
	row := meeting.Track{ID: "T", Meeting: m.Meeting, Participant: ada.ID, StartedAt: m.StartedAt}
	check(t, w.db.CreateTrack(t.Context(), row))
	log, err := s.logs.Create(row.Meeting, row.ID)
	check(t, err)
	line := &sender{at: m.StartedAt}
	for _, p := range toneCode(numbers) {
		check(t, log.Append(t.Context(), line.next(p)))
	}
	if ended {
		check(t, log.Append(t.Context(), line.end()))
		check(t, w.db.EndTrack(t.Context(), row.ID, "left", line.account))
	}
	check(t, log.Close())
	row.Account = line.account
	return row
}

// know makes the store know that much of the track.
func (w *world) know(row meeting.Track, through int64, account audio.Account) {
	claimed := must[meeting.Track](w.t)(w.db.Claim(w.t.Context(), row.ID))
	_, err := w.db.Commit(w.t.Context(), store.Commit{Track: row.ID, Epoch: claimed.Epoch, Through: through, Account: account})
	check(w.t, err)
}

// words are those of a transcript.
func words(doc transcript.Document) (got []string) {
	for _, s := range doc.Segments {
		for _, word := range s.Words {
			got = append(got, word.Text)
		}
	}
	return got
}

// spoken are the words of the numbers from one on up to another.
func spoken(from, to int) (want []string) {
	for i := from; i < to; i++ {
		if tonecode.Spoken(i) {
			want = append(want, tonecode.Word(i))
		}
	}
	return want
}

// TestRecoverCutShort: whatever a crash took from the end of a log, or a damage
// from its middle, the track stays as long as it was, and what is gone is shed.
func TestRecoverCutShort(t *testing.T) {
	const (
		numbers = 120 // 12 s: words up to 3 s, from 4 s to 7 s, from 8 s to 11 s
		second  = audio.TickRate
		frame   = 8 + 35 + 640 // bytes of a packet of 20 ms in the file
	)
	whole := audio.Account{Received: 12 * second}
	at := func(s float64) int64 { return 8 + int64(s*50)*frame } // where in the file
	for name, c := range map[string]struct {
		ended   bool
		through int64 // what the store knows
		account audio.Account
		harm    func(path string) error

		total, shed int64
		words       [][2]int // what is heard of the numbers
		missing     int64    // behind through
		by          string
	}{
		"nothing is gone": {
			through: 0, account: audio.Account{}, harm: func(string) error { return nil },
			total: 12 * second, words: [][2]int{{0, 120}}, by: "server",
		},
		"what the store knew of": {
			account: whole, harm: func(path string) error { return os.Truncate(path, at(8)) },
			total: 12 * second, shed: 4 * second, words: [][2]int{{0, 80}}, missing: 4 * second, by: "server",
		},
		"a frame is torn": {
			account: whole, harm: func(path string) error { return os.Truncate(path, at(8)+7) },
			total: 12 * second, shed: 4 * second, words: [][2]int{{0, 80}}, missing: 4 * second, by: "server",
		},
		"what was transcribed": {
			through: 4 * second, account: audio.Account{Received: 4 * second}, harm: func(path string) error { return os.Truncate(path, at(2)) },
			total: 4 * second, shed: 2 * second, by: "server",
		},
		"through lies behind all that is known": {
			through: 20 * second, account: audio.Account{Received: 4 * second}, harm: func(path string) error { return os.Truncate(path, at(2)) },
			total: 20 * second, shed: 18 * second, by: "server",
		},
		"the file": {
			account: whole, harm: os.Remove,
			total: 12 * second, shed: 12 * second, missing: 12 * second, by: "server",
		},
		"all but the file": {
			account: whole, harm: func(path string) error { return os.Truncate(path, 0) },
			total: 12 * second, shed: 12 * second, missing: 12 * second, by: "server",
		},
		"the end of a track that had ended": {
			ended: true, account: whole, harm: func(path string) error { return os.Truncate(path, at(8)) },
			total: 12 * second, shed: 4 * second, words: [][2]int{{0, 80}}, missing: 4 * second, by: "left",
		},
		"a packet of a pause, of a track that had ended": {
			ended: true, account: whole, harm: func(path string) error { return flip(path, at(3.5)+100) },
			total: 12 * second, shed: second / 50, words: [][2]int{{0, 120}}, missing: second / 50, by: "left",
		},
		"a packet of a pause, of an open track": {
			account: whole, harm: func(path string) error { return flip(path, at(3.5)+100) },
			total: 12 * second, shed: second / 50, words: [][2]int{{0, 120}}, missing: second / 50, by: "server",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row := w.leave(w.server(nil, nobody, quiet), numbers, c.ended)
			w.know(row, c.through, c.account)
			check(t, c.harm(w.path(row.Meeting, row.ID)))

			s := w.server(supervisor(spell{}), nobody, quiet)
			check(t, s.Recover(t.Context()))
			s.finish(t)
			m := must[meeting.Meeting](t)(s.Meeting(t.Context(), row.Meeting))
			got := m.Tracks[0]
			if got.State != meeting.TrackComplete || got.EndedBy != c.by {
				t.Errorf("the track is %s, ended by %s", got.State, got.EndedBy)
			}
			if a := got.Account; a.Total() != c.total || a.Shed != c.shed || a.Received != c.total-c.shed || got.Through != c.total {
				t.Errorf("account %+v, through %d; want %d in all, %d shed", a, got.Through, c.total, c.shed)
			}
			v := got.Coverage
			if v.ReceivedMS+v.ShedMS != v.DurationMS || v.TranscribedMS+v.SkippedMS+v.PendingMS != v.DurationMS || v.PendingMS != 0 {
				t.Errorf("coverage %+v", v)
			}
			doc := must[transcript.Document](t)(s.Transcript(t.Context(), row.Meeting))
			var want []string
			for _, span := range c.words {
				want = append(want, spoken(span[0], span[1])...)
			}
			if got := words(doc); !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			var missing int64
			for _, x := range doc.Missing {
				missing += x.MissingMS
				if x.Kind != transcript.Shed || x.StartMS < 0 || x.EndMS > c.total*1000/second {
					t.Errorf("missing: %+v", x)
				}
			}
			if missing != c.missing*1000/second {
				t.Errorf("%d ms are missing in the transcript, want %d", missing, c.missing*1000/second)
			}
			for _, s := range doc.Segments {
				if s.StartMS < 0 || s.EndMS > c.total*1000/second || s.EndMS < s.StartMS {
					t.Errorf("a segment from %d to %d ms", s.StartMS, s.EndMS)
				}
			}

			// The next start finds nothing to do, and the audio is as long.
			check(t, s.Recover(t.Context()))
			samples, frames, err := s.Audio(t.Context(), row.Meeting, row.ID)
			check(t, err)
			for f, err := range frames {
				check(t, err)
				samples -= int64(len(f.PCM))
			}
			if samples != 0 {
				t.Errorf("%d samples are missing of the track's audio", samples)
			}
		})
	}
}

func flip(path string, at int64) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}

// A finished track whose log is damaged later on keeps its account, and its
// audio its length.
func TestAudioOfDamagedLog(t *testing.T) {
	w := newWorld(t)
	s := w.server(supervisor(spell{}), nobody, quiet)
	meetingID, trackID := s.speak(t, toneCode(40))
	s.finish(t)
	before := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
	path := w.path(meetingID, trackID)
	check(t, os.Truncate(path, must[os.FileInfo](t)(os.Stat(path)).Size()/2))
	type length struct{ rest, samples int64 }
	done := make(chan length)
	for range 4 { // at once
		go func() {
			var n int64
			samples, frames, err := s.Audio(context.WithoutCancel(t.Context()), meetingID, trackID)
			if err != nil {
				t.Error(err)
			} else {
				for f, err := range frames {
					if n += int64(len(f.PCM)); err != nil {
						t.Error(err)
					}
				}
			}
			done <- length{n - samples, samples}
		}()
	}
	for range 4 {
		if l := <-done; l.rest != 0 || l.samples != 4*audio.FrameRate {
			t.Errorf("%d samples, and %d more or less", l.samples, l.rest)
		}
	}
	after := must[meeting.Meeting](t)(s.Meeting(t.Context(), meetingID))
	if after.Coverage != before.Coverage {
		t.Errorf("coverage %+v, was %+v", after.Coverage, before.Coverage)
	}
}

// A stage that ends early leaves the session's log alone.
func TestWriterOutlivesItsStages(t *testing.T) {
	w := newWorld(t)
	s := w.server(supervisor(spell{}), nobody, quiet)
	m := must[meeting.Membership](t)(s.registry.Join(t.Context(), "room", ada))
	writer := must[*Writer](t)(s.OpenTrack(t.Context(), m.Session, m.StartedAt.Add(-time.Second)))
	line := &sender{at: m.StartedAt.Add(-time.Second)}
	packets := toneCode(80)
	for _, p := range packets[:100] {
		check(t, writer.Append(t.Context(), line.next(p)))
	}
	running := s.running(writer.track)
	running.cancel()
	<-running.done
	for _, p := range packets[100:] {
		check(t, writer.Append(t.Context(), line.next(p)))
	}
	check(t, writer.Append(t.Context(), line.end()))
	s.flush(t)

	other := w.server(supervisor(spell{}), nobody, quiet)
	check(t, other.Recover(t.Context()))
	other.finish(t)
	doc := must[transcript.Document](t)(other.Transcript(t.Context(), m.Meeting))
	if got := words(doc); !slices.Equal(got, spoken(0, 80)) {
		t.Errorf("got %v", got)
	}
	// The first packets were older than the meeting.
	for _, seg := range doc.Segments {
		if seg.StartMS < 0 {
			t.Errorf("a segment at %d ms", seg.StartMS)
		}
	}
	if got := must[meeting.Meeting](t)(other.Meeting(t.Context(), m.Meeting)).Tracks[0]; got.StartedAt.Before(m.StartedAt.Truncate(time.Microsecond)) {
		t.Errorf("the track starts %v before its meeting", m.StartedAt.Sub(got.StartedAt))
	}
}
