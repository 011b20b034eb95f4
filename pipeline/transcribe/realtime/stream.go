package realtime

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
	"verbatim/pipeline/transcribe/utterance"
)

const (
	// inHand is how many utterances may wait for their text.
	inHand = 8
	// lateBy is how long the oldest of them waits.
	lateBy = 30 * time.Second

	// hold is how much of the newest audio of an utterance is not sent yet, in
	// samples: the Splitter knows of an end 400 ms after it, and leaves 200 ms.
	hold = 300 * audio.FrameRate / 1000
	// chunk is the most that one message has, in samples.
	chunk = audio.FrameRate / 2
	// least is how much a message has while it is spoken, and an item, which
	// the server refuses below that.
	least = audio.FrameRate / 10
	// past is how much of what was written is kept, in samples: a Splitter cuts
	// within the last 5 s.
	past = 6 * audio.FrameRate
)

var (
	errNeverCame = errors.New("openai-realtime: the text of an utterance never came")
	errOrder     = errors.New("openai-realtime: the server has the utterances in another order")
)

const (
	clearBuffer  = `{"type":"input_audio_buffer.clear"}`
	commitBuffer = `{"type":"input_audio_buffer.commit"}`
	appendBegin  = `{"type":"input_audio_buffer.append","audio":"`
	appendEnd    = `"}`
)

// Stream is one session. Recognizer.Open makes it; see transcribe.Stream for who
// may call what.
type Stream struct {
	*socket.Stream
	items items
	late  *time.Timer   // fires when the oldest utterance has waited too long
	slots chan struct{} // holds one for each utterance that waits for its text

	// Of the goroutine that writes.
	splitter *utterance.Splitter
	up       *codec.Resampler
	pieces   []utterance.Piece
	recent   []int16 // the newest samples
	pos      int64   // the sample behind them
	talking  bool
	sent     int64 // of the utterance under way, up to this sample
	pcm      []int16
	message  []byte
}

var (
	_ transcribe.Stream  = (*Stream)(nil)
	_ transcribe.Flusher = (*Stream)(nil)
)

// Write sends what of the frame is speech. It blocks while too many utterances
// wait for their texts.
func (s *Stream) Write(ctx context.Context, f audio.Frame) error {
	if err := s.Err(); err != nil {
		return err
	}
	if over := len(s.recent) - 2*past; over > 0 {
		s.recent = s.recent[:copy(s.recent, s.recent[past+over:])]
	}
	s.recent = append(s.recent, f.PCM...)
	s.pos += int64(len(f.PCM))
	s.splitter.Write(f.PCM, s.collect)
	if err := s.take(ctx, false); err != nil {
		return err
	}
	if s.talking && s.pos-hold-s.sent >= least {
		return s.send(ctx, s.since(s.sent, s.pos-hold))
	}
	return nil
}

// Flush makes an utterance of what was said so far.
func (s *Stream) Flush(ctx context.Context) error {
	if err := s.Err(); err != nil {
		return err
	}
	s.splitter.Flush(s.collect)
	return s.take(ctx, true)
}

// Finish waits for the texts of all utterances.
func (s *Stream) Finish(ctx context.Context) error {
	if err := s.Err(); err != nil {
		return err
	}
	s.splitter.Finish(s.collect)
	if err := s.take(ctx, true); err != nil {
		return err
	}
	s.items.finish()
	s.deliver()
	return s.Wait(ctx)
}

// Close ends the session.
func (s *Stream) Close() error {
	s.late.Stop()
	err := s.Stream.Close()
	s.late.Stop() // whoever heard may have set it
	return err
}

func (s *Stream) collect(p utterance.Piece) { s.pieces = append(s.pieces, p) }

// take makes items of the pieces. Short silences are left to the utterances
// that follow them, unless all is asked for.
func (s *Stream) take(ctx context.Context, all bool) error {
	defer func() { s.pieces = s.pieces[:0] }()
	for i, p := range s.pieces {
		s.pieces[i] = utterance.Piece{} // not to hold its audio
		var err error
		switch p.Kind {
		case utterance.Begun:
			s.talking, s.sent = true, p.Start
			s.items.begin(p.Start)
		case utterance.Speech:
			s.talking = false
			err = s.commit(ctx, p)
		case utterance.Silence:
			if s.talking && s.sent > p.Start {
				err = s.Text(ctx, []byte(clearBuffer))
			}
			if s.talking || all || p.End-p.Start >= 10*audio.FrameRate {
				s.items.silence(p.Start, p.End)
			}
			s.talking = false
		}
		if err != nil {
			return err
		}
		s.deliver()
	}
	return nil
}

// commit sends the rest of an utterance, and that it is one.
func (s *Stream) commit(ctx context.Context, p utterance.Piece) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.Over():
		return s.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.sent > p.End { // it was cut where it had been sent already
		if err := s.Text(ctx, []byte(clearBuffer)); err != nil {
			return err
		}
		s.sent = p.Start
	}
	rest := p.PCM[s.sent-p.Start:]
	if short := least - len(p.PCM); short > 0 {
		rest = append(rest, make([]int16, short)...)
	}
	if err := s.send(ctx, rest); err != nil {
		return err
	}
	s.up.Reset()
	s.items.commit(p.Voice, p.End)
	return s.Text(ctx, []byte(commitBuffer))
}

// since is what was written between two samples.
func (s *Stream) since(from, to int64) []int16 {
	first := s.pos - int64(len(s.recent))
	return s.recent[from-first : to-first]
}

// send appends samples to the server's buffer.
func (s *Stream) send(ctx context.Context, pcm []int16) error {
	for len(pcm) > 0 {
		n := min(len(pcm), chunk)
		s.pcm = s.up.Resample(s.pcm[:0], pcm[:n])
		raw := make([]byte, 0, 2*len(s.pcm))
		for _, v := range s.pcm {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(v))
		}
		s.message = append(s.message[:0], appendBegin...)
		s.message = base64.StdEncoding.AppendEncode(s.message, raw)
		s.message = append(s.message, appendEnd...)
		if err := s.Text(ctx, s.message); err != nil {
			return err
		}
		s.sent += int64(n)
		pcm = pcm[n:]
	}
	return nil
}

// hear takes an event of the server.
func (s *Stream) hear(message []byte) (results []transcribe.Result, done bool, err error) {
	e, err := parse(message)
	if err != nil {
		return nil, false, err
	}
	switch e.Type {
	case "input_audio_buffer.committed":
		err = s.items.committed(e.ItemID, e.PreviousItemID)
	case transcriptionPrefix + "delta":
		if r, ok := s.items.delta(e.ItemID, e.Delta); ok {
			results = append(results, r)
		}
	case transcriptionPrefix + "completed":
		if s.items.completed(e.ItemID, e.Transcript) {
			<-s.slots
			s.deliver()
		}
	}
	return results, false, err
}

// deliver hands out the results that are due.
func (s *Stream) deliver() {
	var over bool
	s.Deliver(func() (due []transcribe.Result) {
		var waits bool
		due, waits, over = s.items.due()
		switch {
		case !waits:
			s.late.Stop()
		case len(due) > 0 || !s.items.timed:
			s.late.Reset(lateBy)
		}
		s.items.timed = waits
		return due
	})
	if over {
		s.Complete()
	}
}
