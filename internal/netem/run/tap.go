//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// tap is this program as the recognizer of a server (docs/RECOGNIZER_COMMAND.md).
// It recognizes nothing, so that it is never lent any silence, and notes in a
// file when it got how many samples: 16 bytes for each read, samples so far and
// nanoseconds since 1970.
func tap(pcm io.Reader, file string) (err error) {
	// Another stream of the same track would begin somewhere else.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G703 -- the caller's file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var buf [64 << 10]byte
	var bytes int64
	for {
		n, err := pcm.Read(buf[:])
		at := time.Now()
		if n > 0 {
			bytes += int64(n)
			var line [16]byte
			binary.LittleEndian.PutUint64(line[:], uint64(bytes/2))
			binary.LittleEndian.PutUint64(line[8:], uint64(at.UnixNano()))
			if _, err := f.Write(line[:]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reading is when the recognizer had how many samples (16 kHz).
type reading struct {
	samples int64
	at      time.Time
}

func readTap(file string) ([]reading, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("what the recognizer got: %w", err)
	}
	var all []reading
	for ; len(b) >= 16; b = b[16:] {
		all = append(all, reading{
			samples: int64(binary.LittleEndian.Uint64(b)),
			at:      time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
		})
	}
	return all, nil
}
