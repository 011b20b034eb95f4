// Package speech gives tests and the demo a few sentences of human speech,
// together with the words that are spoken in them.
package speech

import (
	"bytes"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pion/opus/pkg/oggreader"
)

//go:embed *.wav *.opus *.txt
var files embed.FS

// Names are the sentences that there are.
var Names = []string{"sas-0870", "sas-0880", "sas-0890"}

// Opus is the sentence as an Ogg Opus file (20 ms packets, 24 kb/s).
func Opus(name string) []byte { return read(name + ".opus") }

// Packets are the Opus packets of the sentence, 20 ms each.
func Packets(name string) (packets [][]byte) {
	ogg, _, err := oggreader.NewWith(bytes.NewReader(Opus(name)))
	for err == nil {
		var p []byte
		if p, _, err = ogg.ParseNextPacket(); err == nil && !bytes.HasPrefix(p, []byte("OpusTags")) {
			packets = append(packets, bytes.Clone(p))
		}
	}
	if !errors.Is(err, io.EOF) {
		panic(fmt.Sprintf("speech: %s: %v", name, err))
	}
	return packets
}

// Words are the spoken words, lower case.
func Words(name string) []string { return strings.Fields(string(read(name + ".txt"))) }

// PCM is the sentence as 16 kHz mono s16.
func PCM(name string) []int16 {
	b := read(name + ".wav")[44:] // canonical header
	pcm := make([]int16, len(b)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return pcm
}

func read(file string) []byte {
	b, err := files.ReadFile(file)
	if err != nil {
		panic(fmt.Sprintf("speech: %v (names: %v)", err, Names))
	}
	return b
}
