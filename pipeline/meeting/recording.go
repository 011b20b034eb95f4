package meeting

import (
	"io"
	"time"
)

// Recording is a file with the audio of a meeting or a track. Either it is kept
// or it is made while it is written.
type Recording struct {
	// Kept is the file, nil if it is not kept. Whoever asked for it closes it.
	Kept io.ReadSeekCloser
	// At is when a file that is kept was written.
	At time.Time
	// Write makes the file. Errors that come before the first byte are ErrNotOpus,
	// ErrAudioLost or an ExpiredError where they say why there is no file.
	Write func(io.Writer) error
}
