package recording

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"
	"github.com/mewkiz/flac/meta"

	"verbatim/media/audio"
)

// WriteFLAC writes blocks as a FLAC file. If w can seek, the file's length and
// checksum stand at its beginning; else they are left open there.
func WriteFLAC(w io.Writer, comments [][2]string, blocks iter.Seq2[[]int16, error]) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
	var to io.Writer = struct{ io.Writer }{buffered} // flac closes what can be closed
	if s, ok := w.(io.WriteSeeker); ok {
		to = flushSeeker{buffered, s}
	}
	enc, err := flac.NewEncoder(to, &meta.StreamInfo{
		BlockSizeMin: block, BlockSizeMax: block, SampleRate: audio.FrameRate, NChannels: 1, BitsPerSample: 16,
	}, &meta.Block{
		Header: meta.Header{Type: meta.TypeVorbisComment, Length: 1},
		Body:   &meta.VorbisComment{Vendor: "Verbatim", Tags: comments},
	})
	if err != nil {
		return fmt.Errorf("write FLAC: %w", err)
	}
	f := &frame.Frame{
		Header: frame.Header{
			HasFixedBlockSize: true, BlockSize: block, SampleRate: audio.FrameRate, Channels: frame.ChannelsMono, BitsPerSample: 16,
		},
		Subframes: []*frame.Subframe{{Samples: make([]int32, block), NSamples: block}},
	}
	for pcm, err := range blocks {
		if err != nil {
			return err
		}
		s := f.Subframes[0]
		s.SubHeader = frame.SubHeader{Pred: frame.PredVerbatim} // the encoder finds a better one
		for i, v := range pcm {
			s.Samples[i] = int32(v)
		}
		if err := enc.WriteFrame(f); err != nil {
			return fmt.Errorf("write FLAC: %w", err)
		}
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write FLAC: %w", err)
	}
	return buffered.Flush()
}

// flushSeeker is a buffered writer that can seek.
type flushSeeker struct {
	*bufio.Writer
	s io.Seeker
}

func (f flushSeeker) Seek(offset int64, whence int) (int64, error) {
	if err := f.Flush(); err != nil {
		return 0, err
	}
	return f.s.Seek(offset, whence)
}
