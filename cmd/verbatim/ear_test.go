package main

import (
	"context"
	"slices"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
)

// ear is a recognizer in this process that hears where sound begins and ends,
// to the packet, and nothing else.
type ear struct{}

func (ear) Open(context.Context, transcribe.Options) (transcribe.Stream, error) {
	return &hearing{results: make(chan transcribe.Result, 16)}, nil
}

// hearing is one stream of it. Positions are samples since its first frame.
type hearing struct {
	results chan transcribe.Result
	at      int64 // written so far
	sound   bool  // an utterance is under way
	begin   int64 // of it
	end     int64 // of its last sound
	closed  bool
}

const (
	loud = 2500 // peak of a frame that is sound
	// After hush without sound an utterance is over.
	hush = 400 * audio.FrameRate / 1000
)

func (h *hearing) Write(ctx context.Context, f audio.Frame) error {
	from := h.at
	h.at += int64(len(f.PCM))
	switch {
	case slices.ContainsFunc(f.PCM, func(v int16) bool { return v > loud || v < -loud }):
		h.end = h.at
		if h.sound {
			return nil
		}
		h.sound, h.begin = true, from
		return h.say(ctx, transcribe.Result{Start: from, End: h.at, Text: "sound"})
	case h.sound && h.at-h.end >= hush:
		return h.over(ctx)
	}
	return nil
}

func (h *hearing) over(ctx context.Context) error {
	h.sound = false
	return h.say(ctx, transcribe.Result{Final: true, Start: h.begin, End: h.end, Text: "sound"})
}

func (h *hearing) say(ctx context.Context, r transcribe.Result) error {
	select {
	case h.results <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hearing) Results() <-chan transcribe.Result { return h.results }

func (h *hearing) Finish(ctx context.Context) (err error) {
	if h.sound {
		err = h.over(ctx)
	}
	return err
}

func (h *hearing) Close() error {
	if !h.closed {
		h.closed = true
		close(h.results)
	}
	return nil
}
