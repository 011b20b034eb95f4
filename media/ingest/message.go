package ingest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"

	"verbatim/media/codec"
)

// Protocol is the WebSocket subprotocol. docs/INGEST.md describes it.
const Protocol = "verbatim.pcm.v1"

const (
	// maxMessage is the most bytes of a message: 0.7 s at 48 kHz, 4 s at 8 kHz.
	maxMessage = 64 << 10
	headerLen  = 8 // the counter
	// maxLate is how old the first sample of a stream may be, in ms.
	maxLate = 10 * 60 * 1000
	// maxCounter is the largest integer that JSON numbers hold in every language.
	maxCounter = 1<<53 - 1
)

// Close codes (RFC 6455, 7.4.2: 4000–4999 are ours). Their numbers end like the
// HTTP status that would say the same.
const (
	codeBadMessage websocket.StatusCode = 4400 // what the client sent cannot be meant: don't try again
	codeNoStream   websocket.StatusCode = 4404 // nothing to resume: begin a new stream
	codeTimeout    websocket.StatusCode = 4408 // no hello in time
	codeReplaced   websocket.StatusCode = 4409 // the participant is here by another session or connection
	codeOver       websocket.StatusCode = 4410 // the meeting was ended
)

// hello is the client's first message.
type hello struct {
	Type   string `json:"type"`
	Rate   int    `json:"rate"`             // Hz
	Resume string `json:"resume,omitempty"` // token of the stream to go on with
	// LateMS is how many ms ago sample 0 of a new stream was recorded.
	LateMS int64 `json:"late_ms,omitempty"`
}

// ready is the answer: the stream goes on with the sample that Next counts.
type ready struct {
	Type    string `json:"type"`
	Session string `json:"session"`
	Meeting string `json:"meeting"`
	Resume  string `json:"resume"`
	Next    int64  `json:"next"`
	Node    string `json:"node,omitempty"` // URL of the server that has the stream
}

// ack says that all samples before Durable are on disk, that all before Next
// have arrived or never will, and how many came more than once.
type ack struct {
	Type      string `json:"type"`
	Durable   int64  `json:"durable"`
	Next      int64  `json:"next"`
	Duplicate int64  `json:"duplicate"`
}

// badMessage is an error of the client's. Its text goes into a close frame,
// which has room for 123 bytes.
type badMessage string

func (e badMessage) Error() string { return string(e) }

func parseHello(b []byte) (hello, error) {
	var h hello
	if err := json.Unmarshal(b, &h); err != nil || h.Type != "hello" {
		return hello{}, badMessage(`the first message must be a text like {"type":"hello","rate":16000}`)
	}
	if h.Rate < codec.MinRate || h.Rate > codec.MaxRate {
		return hello{}, badMessage(fmt.Sprintf("rate must be %d to %d", codec.MinRate, codec.MaxRate))
	}
	if h.LateMS < 0 || h.LateMS > maxLate {
		return hello{}, badMessage(fmt.Sprintf("late_ms must be 0 to %d", maxLate))
	}
	return h, nil
}

// parseText reads a text message after the hello; there is only one.
func parseText(b []byte) error {
	var m struct{ Type string }
	if err := json.Unmarshal(b, &m); err != nil || m.Type != "end" {
		return badMessage(`the only text message after the hello is {"type":"end"}`)
	}
	return nil
}

// parseAudio reads a binary message: the counter of its first sample and s16le
// PCM, which is part of b.
func parseAudio(b []byte) (counter int64, pcm []byte, err error) {
	if len(b) < headerLen+2 || len(b)%2 != 0 {
		return 0, nil, badMessage("a binary message is a 64-bit counter and one or more samples of 2 bytes")
	}
	c := binary.BigEndian.Uint64(b)
	if c > maxCounter-maxMessage {
		return 0, nil, badMessage("the counter is beyond 2^53: it is a big-endian count of samples")
	}
	return int64(c), b[headerLen:], nil
}
