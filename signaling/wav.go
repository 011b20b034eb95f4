package signaling

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"verbatim/media/audio"
)

const wavHeaderLen = 44

// wavFile is a track as a WAV file that is made while it is read. Every byte of
// it depends on the audio before it: who seeks waits until all that was decoded,
// of an hour some seconds, and who seeks back begins anew.
type wavFile struct {
	open    func() (samples int64, frames iter.Seq2[audio.Frame, error], err error)
	alive   func() // called every now and then
	samples int64  // as of when it was opened first

	at   int64  // of the next byte to read
	buf  []byte // decoded
	from int64  // of buf's first byte
	next func() (audio.Frame, error, bool)
	stop func()
}

func openWAV(open func() (int64, iter.Seq2[audio.Frame, error], error), alive func()) (*wavFile, error) {
	f := &wavFile{open: open, alive: alive}
	if err := f.begin(); err != nil {
		return nil, err
	}
	return f, nil
}

// begin starts from the first byte.
func (f *wavFile) begin() error {
	f.close()
	samples, frames, err := f.open()
	if err != nil {
		return err
	}
	if f.buf == nil {
		f.samples = samples // a track that goes on has more by now: not in this file
	}
	f.next, f.stop = iter.Pull2(frames)
	f.buf, f.from = appendWAVHeader(f.buf[:0], f.samples), 0
	return nil
}

// close ends reading; it may be called more than once.
func (f *wavFile) close() {
	if f.stop == nil {
		return
	}
	_, _, _ = f.next() // frames must be read, or their log stays open
	f.stop()
	f.stop = nil
}

func (f *wavFile) size() int64 { return wavHeaderLen + 2*f.samples }

// Seek implements io.Seeker.
func (f *wavFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size()
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (f *wavFile) Read(b []byte) (int, error) {
	f.alive()
	if f.at >= f.size() {
		return 0, io.EOF
	}
	if f.at < f.from {
		if err := f.begin(); err != nil {
			return 0, err
		}
	}
	for skipped := 0; f.at >= f.from+int64(len(f.buf)); skipped++ {
		if skipped%1000 == 999 {
			f.alive()
		}
		frame, err, ok := f.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, fmt.Errorf("read a track's audio: %w", io.ErrUnexpectedEOF)
		}
		f.from += int64(len(f.buf))
		f.buf = f.buf[:0]
		for _, v := range frame.PCM {
			f.buf = binary.LittleEndian.AppendUint16(f.buf, uint16(v))
		}
	}
	n := copy(b[:min(int64(len(b)), f.size()-f.at)], f.buf[f.at-f.from:])
	f.at += int64(n)
	return n, nil
}

// appendWAVHeader appends that of a canonical RIFF/WAVE file with PCM.
func appendWAVHeader(b []byte, samples int64) []byte {
	const bytesPerSample = 2
	size := uint32(samples * bytesPerSample)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, 36+size)
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // channels
	b = le.AppendUint32(b, audio.FrameRate)
	b = le.AppendUint32(b, audio.FrameRate*bytesPerSample)
	b = le.AppendUint16(b, bytesPerSample)
	b = le.AppendUint16(b, 8*bytesPerSample)
	b = append(b, "data"...)
	return le.AppendUint32(b, size)
}
