// Package red takes apart RTP payloads with redundant audio (RFC 2198). It is
// pure, and keeps nothing.
package red

import (
	"errors"
	"fmt"
)

// MaxBlocks bounds the redundant blocks of a payload that are looked at.
// Browsers send one or two.
const MaxBlocks = 8

const (
	headerLen = 4 // of a redundant block: F, payload type, offset, length
	lastLen   = 1 // of the primary one: F and payload type
)

// ErrMalformed is returned for what is no RED payload.
var ErrMalformed = errors.New("malformed RED payload")

// Block is one encoding within a payload. Data is part of the payload.
type Block struct {
	PayloadType uint8
	// Offset is how much earlier than the packet's timestamp the block begins,
	// in units of the RTP clock; 0 for the primary block. At most 16,383.
	Offset uint32
	Data   []byte
}

// Split appends the blocks of a payload to dst: the redundant ones from the
// oldest on, and last the primary one, which is the audio of the packet itself.
// Blocks without data, which senders use to keep a place, are left out, except
// for the primary one.
func Split(dst []Block, payload []byte) ([]Block, error) {
	var (
		lengths [MaxBlocks]int
		blocks  = dst
		rest    = payload
		total   int
		n       int
	)
	for {
		if len(rest) == 0 {
			return dst, fmt.Errorf("%w: it ends within its headers", ErrMalformed)
		}
		if rest[0]&0x80 == 0 {
			break
		}
		if len(rest) < headerLen {
			return dst, fmt.Errorf("%w: it ends within its headers", ErrMalformed)
		}
		if n == MaxBlocks {
			return dst, fmt.Errorf("%w: more than %d redundant blocks", ErrMalformed, MaxBlocks)
		}
		lengths[n] = int(rest[2]&3)<<8 | int(rest[3])
		blocks = append(blocks, Block{
			PayloadType: rest[0] & 0x7f,
			Offset:      uint32(rest[1])<<6 | uint32(rest[2])>>2,
		})
		total += lengths[n]
		n++
		rest = rest[headerLen:]
	}
	primary := Block{PayloadType: rest[0] & 0x7f}
	rest = rest[lastLen:]
	if total > len(rest) {
		return dst, fmt.Errorf("%w: blocks of %d bytes in %d", ErrMalformed, total, len(rest))
	}
	kept := blocks[:len(dst)]
	for i, b := range blocks[len(dst):] {
		b.Data, rest = rest[:lengths[i]:lengths[i]], rest[lengths[i]:]
		if len(b.Data) > 0 {
			kept = append(kept, b)
		}
	}
	primary.Data = rest
	return append(kept, primary), nil
}
