// Program concealment measures what lost packets cost a recognizer, by how they
// are concealed. It speaks sentences (flite, and those of internal/speech),
// codes them (opusenc), loses packets, decodes, has PocketSphinx recognize what
// comes out, and counts wrong words. `make concealment` makes the tables of
// docs/CONCEALMENT.md with it:
//
//	(concealment measure; concealment-with-libopus measure) | concealment table
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pion/opus/pkg/oggreader"

	"verbatim/internal/speech"
	"verbatim/internal/wer"
	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/decode"
)

//go:embed sentences.txt
var sentences string

// burst is the mean length of bursts of loss, in milliseconds.
const burst = 120

const model = "/usr/share/pocketsphinx/model/en-us/"

func main() {
	seeds := flag.Int("seeds", 3, "how often to measure, each time with other losses")
	first := flag.Int("first", 0, "number of the first of the seeds")
	only := flag.String("only", "", "measure only what has this in its name")
	flag.Parse()
	var err error
	switch flag.Arg(0) {
	case "measure":
		err = measure(context.Background(), *first, *seeds, *only)
	case "table":
		err = table(os.Stdin, os.Stdout)
	default:
		err = errors.New("usage: concealment [-seeds N] [-first N] [-only NAME] measure|table")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "concealment:", err)
		os.Exit(1)
	}
}

// utterance is one sentence: its words, and a WAV file of it.
type utterance struct {
	words []string
	wav   string
}

// condition is how packets are coded, lost and concealed.
type condition struct {
	method  string // silence, fade, PLC, PLC+FEC
	ms      int    // of a packet
	percent int    // lost
	bursts  bool
}

func (c condition) String() string {
	pattern := "random"
	if c.bursts {
		pattern = "bursts"
	}
	return fmt.Sprintf("%d ms\t%s\t%d %%\t%s", c.ms, pattern, c.percent, c.method)
}

func (c condition) fec() bool { return c.method == "PLC+FEC" }

// measure prints a line for each condition and seed: its name, then for each
// sentence the wrong words and how many it has.
func measure(ctx context.Context, first, seeds int, only string) error {
	dir, err := os.MkdirTemp("", "concealment")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	us, err := material(ctx, dir)
	if err != nil {
		return err
	}
	for seed := first; seed < first+seeds; seed++ {
		for _, c := range conditions() {
			clean := c.percent == 0 && seed > 0 // measured once
			if clean || !strings.Contains(strings.ReplaceAll(c.String(), "\t", ", "), only) {
				continue
			}
			wrong, err := c.measure(ctx, dir, us, seed)
			if err != nil {
				return fmt.Errorf("%v: %w", c, err)
			}
			fmt.Print(c)
			for i, u := range us {
				fmt.Printf("\t%d/%d", wrong[i], len(u.words))
			}
			fmt.Println()
		}
	}
	return nil
}

// conditions are those that this build can measure.
func conditions() (cs []condition) {
	methods := []string{"silence", "fade"}
	if codec.OpusBy == "libopus" {
		methods = []string{"PLC", "PLC+FEC"}
	}
	for _, ms := range []int{20, 60} {
		for _, method := range methods {
			cs = append(cs, condition{method: method, ms: ms})
		}
		for _, percent := range []int{2, 5, 10, 20} {
			for _, bursts := range []bool{false, true} {
				for _, method := range methods {
					cs = append(cs, condition{method, ms, percent, bursts})
				}
			}
		}
	}
	return cs
}

// material speaks the sentences.
func material(ctx context.Context, dir string) (us []utterance, err error) {
	for line := range strings.Lines(sentences) {
		wav := filepath.Join(dir, strconv.Itoa(len(us))+".wav")
		if err := run(ctx, "flite", "-voice", "rms", "-t", strings.TrimSpace(line), "-o", wav); err != nil {
			return nil, err
		}
		us = append(us, utterance{strings.Fields(line), wav})
	}
	for _, name := range speech.Names {
		raw, wav := filepath.Join(dir, name+".raw"), filepath.Join(dir, name+".wav")
		if err := os.WriteFile(raw, bytesOf(speech.PCM(name)), 0o600); err != nil {
			return nil, err
		}
		if err := run(ctx, "sox", "-r", "16000", "-e", "signed", "-b", "16", "-c", "1", raw, wav); err != nil {
			return nil, err
		}
		us = append(us, utterance{speech.Words(name), wav})
	}
	return us, nil
}

// measure counts the wrong words of each utterance.
func (c condition) measure(ctx context.Context, dir string, us []utterance, seed int) (wrong []int, err error) {
	names := make([]string, len(us))
	for i, u := range us {
		packets, err := c.code(ctx, u.wav)
		if err != nil {
			return nil, err
		}
		// Whatever the method is, the same packets are lost.
		pcm, err := c.receive(packets, rand.New(rand.NewPCG(uint64(i), uint64(seed))))
		if err != nil {
			return nil, err
		}
		names[i] = strconv.Itoa(i)
		if err := os.WriteFile(filepath.Join(dir, names[i]+".raw"), bytesOf(pcm), 0o600); err != nil {
			return nil, err
		}
	}
	heard, err := recognize(ctx, dir, names)
	if err != nil {
		return nil, err
	}
	wrong = make([]int, len(us))
	for i, words := range heard {
		wrong[i] = wer.Rate(us[i].words, words)
	}
	return wrong, nil
}

// code makes Opus packets as a browser would: 24 kb/s, and told to expect the
// loss.
func (c condition) code(ctx context.Context, wav string) (packets [][]byte, err error) {
	fec := 0
	if c.fec() {
		fec = 1
	}
	cmd := exec.CommandContext(ctx, "opusenc", "--quiet", "--speech", "--bitrate", "24", "--framesize", strconv.Itoa(c.ms),
		"--expect-loss", strconv.Itoa(c.percent), "--set-ctl-int", "4012="+strconv.Itoa(fec), wav, "-") // OPUS_SET_INBAND_FEC
	cmd.Stderr = os.Stderr
	file, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("opusenc: %w", err)
	}
	ogg, _, err := oggreader.NewWith(bytes.NewReader(file))
	for err == nil {
		var p []byte
		if p, _, err = ogg.ParseNextPacket(); err == nil && !bytes.HasPrefix(p, []byte("OpusTags")) {
			packets = append(packets, bytes.Clone(p))
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return packets, nil
}

// receive loses some packets and decodes the rest.
func (c condition) receive(packets [][]byte, r *rand.Rand) (pcm []int16, err error) {
	for f, err := range decode.Frames(c.lose(packets, r)) {
		if err != nil {
			return nil, err
		}
		if f.Kind == audio.Lost && c.method == "silence" {
			clear(f.PCM)
		}
		pcm = append(pcm, f.PCM...)
	}
	return pcm, nil
}

// lose is the track as the timeline would have it. Bursts come from a chain of
// two states (Gilbert) with the same loss in the mean.
func (c condition) lose(packets [][]byte, r *rand.Rand) iter.Seq2[audio.Packet, error] {
	loss := float64(c.percent) / 100
	stay := loss // lost after a lost one
	if c.bursts {
		stay = 1 - float64(c.ms)/burst
	}
	begin := loss * (1 - stay) / (1 - loss) // lost after one that came
	return func(yield func(audio.Packet, error) bool) {
		var p audio.Packet
		lost := false
		for i, payload := range packets {
			if p.Kind == audio.Coded {
				p = audio.Packet{Seq: p.Seq + 1, Start: p.Next()}
			}
			ticks := int64(c.ms) * audio.TickRate / 1000
			// The first one tells that there is a track.
			if lost = i > 0 && r.Float64() < map[bool]float64{false: begin, true: stay}[lost]; lost {
				p.Kind, p.Samples = audio.Lost, p.Samples+ticks
				continue
			}
			if p.Kind == audio.Lost {
				if !yield(p, nil) {
					return
				}
				p = audio.Packet{Seq: p.Seq + 1, Start: p.Next()}
			}
			p.Kind, p.Samples, p.Format, p.Payload = audio.Coded, ticks, audio.FormatOpus, payload
			if !yield(p, nil) {
				return
			}
		}
		if p.Kind == audio.Lost && !yield(p, nil) {
			return
		}
		yield(audio.Packet{Seq: p.Seq + 1, Start: p.Next(), Kind: audio.End}, nil)
	}
}

// recognize gives the words of each of the files NAME.raw.
func recognize(ctx context.Context, dir string, names []string) (words [][]string, err error) {
	list, out := filepath.Join(dir, "list"), filepath.Join(dir, "heard")
	if err := os.WriteFile(list, []byte(strings.Join(names, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := run(ctx, "pocketsphinx_batch", "-hmm", model+"en-us", "-lm", model+"en-us.lm.bin", "-dict", model+"cmudict-en-us.dict",
		"-adcin", "yes", "-cepdir", dir, "-cepext", ".raw", "-ctl", list, "-hyp", out, "-logfn", "/dev/null"); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		heard, _, _ := strings.Cut(line, "(") // then the file's name
		words = append(words, strings.Fields(heard))
	}
	if len(words) != len(names) {
		return nil, fmt.Errorf("pocketsphinx_batch heard %d of %d utterances", len(words), len(names))
	}
	return words, nil
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func bytesOf(pcm []int16) []byte {
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}
