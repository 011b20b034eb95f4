package tracklog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Stray is a log on disk that belongs to no track.
type Stray struct {
	Meeting, Track string
	Path           string
	Bytes          int64 // of its file
	Empty          bool  // there is no packet in it
}

// Meetings are those that have a folder.
func (s *Store) Meetings() ([]string, error) {
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list meetings: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && checkID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Strays returns the logs of a meeting that nobody has open and that are not
// among the known tracks. It may be called while tracks are created, as long as
// whoever does that makes the track known before closing its log: known is asked
// last. It removes what an interrupted rewriting left behind, and an empty folder.
func (s *Store) Strays(meeting string, known func() ([]string, error)) ([]Stray, error) {
	if err := checkID(meeting); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.o.Dir, meeting)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list track logs: %w", err)
	}
	var found []Stray
	for _, e := range entries {
		name, tmp := strings.CutSuffix(e.Name(), tmpSuffix)
		track, ok := strings.CutSuffix(name, ".log")
		if !ok || e.IsDir() || s.isOpen(key{meeting, track}) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if tmp {
			_ = os.Remove(path) // it is in nobody's way, but for its bytes
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it is gone
		}
		found = append(found, Stray{Meeting: meeting, Track: track, Path: path, Bytes: info.Size(), Empty: info.Size() <= headerLen})
	}
	s.dirs.Lock()
	_ = os.Remove(dir) // fails while there is something in it
	s.dirs.Unlock()
	if len(found) == 0 {
		return nil, nil
	}
	ids, err := known()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(f Stray) bool { return slices.Contains(ids, f.Track) }), nil
}

func (s *Store) isOpen(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[k] != nil
}
