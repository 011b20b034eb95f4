package red

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    []Block // nil: malformed
	}{
		{"primary alone", []byte{111, 1, 2}, []Block{{111, 0, []byte{1, 2}}}},
		{"primary without audio", []byte{111}, []Block{{111, 0, []byte{}}}},
		// As Chromium sends it: offset 2880 (60 ms), 2 bytes.
		{"one redundant", []byte{0x80 | 111, 2880 >> 6, 2880 & 63 << 2, 2, 111, 8, 9, 1, 2, 3}, []Block{{111, 2880, []byte{8, 9}}, {111, 0, []byte{1, 2, 3}}}},
		{"two redundant", []byte{0x80 | 111, 30, 0, 1, 0x80 | 111, 15, 0, 1, 111, 7, 8, 9},
			[]Block{{111, 1920, []byte{7}}, {111, 960, []byte{8}}, {111, 0, []byte{9}}}},
		{"an empty redundant block is left out", []byte{0x80 | 111, 30, 0, 0, 111, 9}, []Block{{111, 0, []byte{9}}}},
		{"the largest offset and length", append([]byte{0x80 | 111, 255, 255, 255, 111}, make([]byte, 1023)...),
			[]Block{{111, 16383, make([]byte, 1023)}, {111, 0, []byte{}}}},
		{"empty", []byte{}, nil},
		{"ends in a header", []byte{0x80 | 111, 30, 0}, nil},
		{"ends before the primary header", []byte{0x80 | 111, 30, 0, 1}, nil},
		{"a block longer than the payload", []byte{0x80 | 111, 30, 0, 5, 111, 1, 2, 3, 4}, nil},
		{"too many blocks", append(bytes.Repeat([]byte{0x80 | 111, 0, 4, 0}, MaxBlocks+1), 111, 1), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Split(nil, c.payload)
			if (c.want == nil) != errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			if !slices.EqualFunc(got, c.want, equal) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func equal(a, b Block) bool {
	return a.PayloadType == b.PayloadType && a.Offset == b.Offset && bytes.Equal(a.Data, b.Data)
}

// join is the sender's side.
func join(blocks []Block) (p []byte) {
	last := len(blocks) - 1
	for _, b := range blocks[:last] {
		n := len(b.Data)
		p = append(p, 0x80|b.PayloadType, byte(b.Offset>>6), byte(b.Offset&63)<<2|byte(n>>8), byte(n))
	}
	p = append(p, blocks[last].PayloadType)
	for _, b := range blocks {
		p = append(p, b.Data...)
	}
	return p
}

// What a sender joined is taken apart again, whatever it is.
func TestSplitUndoesJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var blocks []Block
		for range rapid.IntRange(0, MaxBlocks).Draw(t, "blocks") {
			blocks = append(blocks, Block{
				PayloadType: rapid.Uint8Range(0, 127).Draw(t, "type"),
				Offset:      rapid.Uint32Range(0, 16383).Draw(t, "offset"),
				Data:        rapid.SliceOfN(rapid.Byte(), 1, 1023).Draw(t, "data"),
			})
		}
		blocks = append(blocks, Block{PayloadType: 111, Data: rapid.SliceOf(rapid.Byte()).Draw(t, "primary")})
		got, err := Split(nil, join(blocks))
		if err != nil || !slices.EqualFunc(got, blocks, equal) {
			t.Fatalf("got %v (%v), want %v", got, err, blocks)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte{0x80 | 111, 45, 0, 2, 111, 8, 9, 1, 2, 3})
	f.Add([]byte{0x80 | 111, 30, 0, 0, 0x80 | 111, 15, 0, 1, 111, 9})
	f.Fuzz(func(t *testing.T, p []byte) {
		blocks, err := Split(make([]Block, 0, MaxBlocks+1), p)
		if err != nil {
			if len(blocks) != 0 {
				t.Fatalf("%d blocks of a malformed payload", len(blocks))
			}
			return
		}
		n := 0
		for i, b := range blocks {
			n += len(b.Data)
			if last := i == len(blocks)-1; !last && len(b.Data) == 0 || last && b.Offset != 0 {
				t.Fatalf("block %d of %d is %v", i, len(blocks), b)
			}
		}
		if n > len(p) {
			t.Fatalf("%d bytes of audio in %d", n, len(p))
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	p := join([]Block{{111, 2880, make([]byte, 180)}, {111, 0, make([]byte, 180)}})
	dst := make([]Block, 0, MaxBlocks+1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Split(dst, p); err != nil {
			b.Fatal(err)
		}
	}
}
