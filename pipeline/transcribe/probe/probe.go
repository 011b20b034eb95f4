// Package probe is a recognizer that understands nothing: it tells a program
// beside the server which audio reached a recognizer, and when. `verbatim bench`
// measures with it. What it says of each frame is a Record, written to the
// socket that --recognizer probe:/path/of/socket names; for every five seconds
// in which it was not quiet, it says one word.
package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
)

const (
	// utterance is how much audio makes a result, in samples (16 kHz).
	utterance = 5 * audio.FrameRate
	// loud is a sample that is no background noise: -30 dB of the largest.
	loud = 1000
	// Records are written when there are that many bytes of them, or when the
	// oldest is that old.
	writeBytes = 32 << 10
	writeAfter = 50 * time.Millisecond
	// writeWithin is how long the reader may take.
	writeWithin = 10 * time.Second
)

// Record says that a stage has got a frame.
type Record struct {
	// Stream is the track's ULID, or whatever 16 bytes a server knows its
	// participant by.
	Stream [16]byte
	// End is the position behind the frame: samples (16 kHz) of the stream.
	End int64
	// At is when the stage got it.
	At time.Time
	// Sum is CRC-32C of the frame's samples, 16-bit little endian; 0: not told.
	Sum uint32
}

// recordSize is that of a Record on the socket, where they follow each other
// without anything between: the stream, then End, At (ns since 1970) and Sum,
// little endian.
const recordSize = 16 + 8 + 8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the Sum of a frame's samples.
func Sum(pcm []int16) (sum uint32) {
	var b [512]byte
	for len(pcm) > 0 {
		n := min(len(pcm), len(b)/2)
		for i, v := range pcm[:n] {
			binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
		}
		sum = crc32.Update(sum, castagnoli, b[:2*n])
		pcm = pcm[n:]
	}
	return sum
}

// Read yields the records of one connection, until it ends.
func Read(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		buf := bufio.NewReaderSize(r, 4*writeBytes)
		for {
			var b [recordSize]byte
			if _, err := io.ReadFull(buf, b[:]); err != nil {
				if !errors.Is(err, io.EOF) {
					yield(Record{}, fmt.Errorf("read what the probe says: %w", err))
				}
				return
			}
			rec := Record{
				Stream: [16]byte(b[:16]),
				End:    int64(binary.LittleEndian.Uint64(b[16:])),
				At:     time.Unix(0, int64(binary.LittleEndian.Uint64(b[24:]))),
				Sum:    binary.LittleEndian.Uint32(b[32:]),
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// New makes the engine of probe:/path/of/socket.
func New(s *spec.Spec, h transcribe.Host) (transcribe.Engine, error) {
	if !strings.HasPrefix(s.Rest, "/") {
		return transcribe.Engine{}, errors.New("probe: the path of a socket follows, from the root on")
	}
	if err := s.Err(); err != nil {
		return transcribe.Engine{}, err
	}
	return transcribe.Engine{Name: "probe", Recognizer: &recognizer{path: s.Rest, host: h}}, nil
}

// recognizer writes the records of all streams.
type recognizer struct {
	path string
	host transcribe.Host

	mu     sync.Mutex // guards what follows, and writing
	conn   net.Conn
	buf    []byte
	oldest time.Time // when the first record in buf came
}

// Open implements transcribe.Recognizer.
func (r *recognizer) Open(ctx context.Context, o transcribe.Options) (transcribe.Stream, error) {
	id, err := ulid.ParseStrict(o.Track)
	if err != nil {
		return nil, fmt.Errorf("the track %q: %w", o.Track, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		if r.conn, err = r.host.Dial(ctx, "unix", r.path); err != nil {
			r.conn = nil
			return nil, err
		}
	}
	return &stream{r: r, id: [16]byte(id), results: make(chan transcribe.Result, 1)}, nil
}

// add takes one record, and writes when it is time to.
func (r *recognizer) add(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf) == 0 {
		r.oldest = rec.At
	}
	r.buf = append(r.buf, rec.Stream[:]...)
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(rec.End))
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(rec.At.UnixNano()))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, rec.Sum)
	if len(r.buf) < writeBytes && rec.At.Sub(r.oldest) < writeAfter {
		return nil
	}
	return r.write()
}

func (r *recognizer) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write()
}

// write writes what waits, with r.mu held.
func (r *recognizer) write() error {
	if r.conn == nil {
		return net.ErrClosed
	}
	err := r.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if err == nil {
		_, err = r.conn.Write(r.buf)
	}
	r.buf = r.buf[:0]
	if err != nil { // the next Open dials again
		err = errors.Join(err, r.conn.Close())
		r.conn = nil
	}
	return err
}

// stream is one of a track.
type stream struct {
	r        *recognizer
	id       [16]byte
	results  chan transcribe.Result
	once     sync.Once
	got      int64 // samples
	finished int64 // of them, those that there was a result for
	sounds   bool  // since then, something loud
}

// Write implements transcribe.Stream.
func (s *stream) Write(ctx context.Context, f audio.Frame) error {
	s.got += int64(len(f.PCM))
	s.sounds = s.sounds || f.Kind == audio.Coded && slices.ContainsFunc(f.PCM, func(v int16) bool { return v >= loud })
	err := s.r.add(Record{Stream: s.id, End: f.Start + int64(len(f.PCM)), At: time.Now(), Sum: Sum(f.PCM)})
	if err != nil || s.got-s.finished < utterance {
		return err
	}
	if !s.sounds {
		s.finished = s.got
		return nil
	}
	return s.say(ctx)
}

// say gives a result for what was written since the one before.
func (s *stream) say(ctx context.Context) error {
	res := transcribe.Result{Final: true, Start: s.finished, End: s.got}
	if s.sounds {
		res.Text = "probe"
	}
	s.finished, s.sounds = s.got, false
	select {
	case s.results <- res:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Results implements transcribe.Stream.
func (s *stream) Results() <-chan transcribe.Result { return s.results }

// Finish implements transcribe.Stream.
func (s *stream) Finish(ctx context.Context) error {
	err := s.say(ctx)
	s.end()
	return errors.Join(err, s.r.flush())
}

// Close implements transcribe.Stream.
func (s *stream) Close() error {
	s.end()
	return nil
}

func (s *stream) end() { s.once.Do(func() { close(s.results) }) }
