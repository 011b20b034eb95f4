//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"verbatim/internal/harness"
	"verbatim/internal/wer"
	"verbatim/media/audio"
)

// countWords transcribes each cell's audio and compares it with that of the
// sender's first cell without loss. Two at a time: it is work for minutes.
func countWords(ctx context.Context, o options, all []result) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clean := map[string]int{} // by sender
	for i := range all {
		r := &all[i]
		if _, ok := clean[r.Sender]; !ok && r.cell.Loss == 0 && r.Err == "" {
			clean[r.Sender] = i
		}
	}
	type job struct {
		cells []int
		pcm   []int16
		words []string
	}
	var jobs []*job
	same := map[[sha256.Size]byte]*job{} // bit-exact audio has the same words
	for i := range all {
		if _, ok := clean[all[i].Sender]; !ok || all[i].Err != "" {
			continue // nothing to compare with
		}
		pcm, err := readWAV(all[i].wav)
		if err != nil {
			return err
		}
		if n := int(o.wordsFor.Seconds() * audio.FrameRate); n > 0 {
			pcm = pcm[:min(len(pcm), n)]
		}
		sum := sha256.Sum256(s16(pcm))
		if same[sum] == nil {
			same[sum] = &job{pcm: pcm}
			jobs = append(jobs, same[sum])
		}
		same[sum].cells = append(same[sum].cells, i)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	next, done := 0, 0
	for range 2 {
		wg.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n >= len(jobs) || ctx.Err() != nil {
					return
				}
				words, err := recognize(ctx, o.sphinx, jobs[n].pcm)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				jobs[n].words = words
				done++
				harness.Progress("words: %d of %d different tracks transcribed", done, len(jobs))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	words := make([][]string, len(all))
	for _, j := range jobs {
		for _, i := range j.cells {
			words[i] = j.words
		}
	}
	for i := range all {
		r := &all[i]
		if ref, ok := clean[r.Sender]; ok && r.Err == "" {
			r.Words = len(words[ref])
			r.WordsLost, r.WordsAdded = wer.Differ(words[ref], words[i])
		}
	}
	return nil
}

// recognize runs the recognizer of the server over a whole track.
func recognize(ctx context.Context, program string, pcm []int16) (words []string, err error) {
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdin = bytes.NewReader(s16(pcm))
	var out bytes.Buffer
	cmd.Stdout = &out
	err = startAt(ordinary, cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	for line := range bytes.Lines(out.Bytes()) {
		var r struct{ Type, Text string }
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", program, err)
		}
		if r.Type == "final" {
			words = append(words, strings.Fields(r.Text)...)
		}
	}
	return words, nil
}

func s16(pcm []int16) []byte {
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}
