// Package speech gives tests and the demo a few sentences of human speech,
// together with the words that are spoken in them.
package speech

import (
	"embed"
	"encoding/binary"
	"fmt"
	"strings"
)

//go:embed *.wav *.opus *.txt
var files embed.FS

// Names are the sentences that there are.
var Names = []string{"sas-0870", "sas-0880", "sas-0890"}

// Opus is the sentence as an Ogg Opus file (20 ms packets, 24 kb/s).
func Opus(name string) []byte { return read(name + ".opus") }

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
