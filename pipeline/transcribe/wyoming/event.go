package wyoming

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"verbatim/pipeline/transcribe/utterance"
)

const (
	maxLine    = 64 << 10 // an event's header
	maxData    = 1 << 20
	maxPayload = 16 << 20 // passed over
)

// event is one of the server's. Its payload is passed over.
type event struct {
	kind string
	data data
}

// data is what we want to know of an event.
type data struct {
	Text *string `json:"text"`
	Code *string `json:"code"`
}

// readEvent reads an event: a JSON line, of which data may be a part or a block
// behind it, or both, and a payload. io.EOF says that there is none,
// io.ErrUnexpectedEOF that it is cut off.
func readEvent(r *bufio.Reader) (e event, err error) {
	line, err := readLine(r)
	if err != nil {
		return e, err
	}
	var header struct {
		Type    string `json:"type"`
		Data    data   `json:"data"`
		DataLen int64  `json:"data_length"`
		Payload int64  `json:"payload_length"`
	}
	if err := json.Unmarshal(line, &header); err != nil {
		return e, fmt.Errorf("it sends what is no event (%w)", err)
	}
	if header.Type == "" || header.DataLen < 0 || header.DataLen > maxData || header.Payload < 0 || header.Payload > maxPayload {
		return e, fmt.Errorf("it sends an event of type %q with %d bytes of data and %d of payload",
			utterance.Quote(header.Type), header.DataLen, header.Payload)
	}
	e = event{header.Type, header.Data}
	if header.DataLen > 0 {
		block := make([]byte, header.DataLen)
		if _, err := io.ReadFull(r, block); err != nil {
			return e, cut(err)
		}
		if err := json.Unmarshal(block, &e.data); err != nil {
			return e, fmt.Errorf("it sends data that is none (%w)", err)
		}
	}
	if _, err := io.CopyN(io.Discard, r, header.Payload); err != nil {
		return e, cut(err)
	}
	return e, nil
}

// readLine reads up to the end of the line, of at most maxLine bytes.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("it sends a line of more than %d bytes", maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil && len(bytes.TrimSpace(line)) > 0:
			return nil, cut(err)
		case err != nil:
			return nil, err
		case len(bytes.TrimSpace(line)) > 0:
			return line, nil
		default:
			line = line[:0] // an empty line
		}
	}
}

// cut says that an event is not complete.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message is what an error says.
func (d data) message() string {
	var parts []string
	for _, p := range []*string{d.Text, d.Code} {
		if p != nil && *p != "" {
			parts = append(parts, *p)
		}
	}
	return utterance.Quote(strings.Join(parts, ", "))
}
