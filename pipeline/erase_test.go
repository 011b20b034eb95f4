package pipeline

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"verbatim/pipeline/meeting"
)

// An erasure that a server has begun and not finished is finished by the next, at
// whatever point that died: before it had removed anything, or after some.
func TestRecoverErases(t *testing.T) {
	for name, done := range map[string]func(*world, string) error{
		"nothing yet": func(*world, string) error { return nil },
		"the audio":   func(w *world, id string) error { return os.RemoveAll(filepath.Dir(w.path(id, ""))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.server(nil, func(meeting.Event) {}, quiet)
			id, track := s.speak(t, opus(50))
			if err := s.Erase(t.Context(), id); !errors.Is(err, meeting.ErrLive) {
				t.Errorf("of a live meeting: %v", err)
			}
			must[meeting.Meeting](t)(s.End(t.Context(), id))
			s.finish(t)
			s.flush(t)
			must[string](t)(w.db.BeginErase(t.Context(), id))
			check(t, done(w, id))

			var told []meeting.Event
			next := w.server(nil, func(e meeting.Event) { told = append(told, e) }, quiet)
			check(t, next.Recover(t.Context()))
			if _, err := next.Meeting(t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
				t.Errorf("the meeting: %v", err)
			}
			if _, err := os.Stat(w.path(id, track)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("its audio: %v", err)
			}
			if len(told) != 1 || told[0].Type != meeting.EventErased || told[0].Data != (meeting.Erased{Meeting: id}) {
				t.Errorf("told: %+v", told)
			}
			next.finish(t)
		})
	}
}
