package wyoming

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
	"verbatim/pipeline/transcribe/spec"
)

// A transcript is one event, and has no times of words.
func TestConformance(t *testing.T) {
	conformance.Run(t, start, conformance.Options{NoWords: true, As: map[conformance.Fault]conformance.Fault{
		conformance.Twice:   conformance.None,
		conformance.Swapped: conformance.None,
		conformance.Never:   conformance.Silent,
	}})
}

func start(t *testing.T, s *conformance.Script) transcribe.Engine {
	text, err := spec.Parse("wyoming+tcp://recognizer?timeout=30s")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(text, s.Host(nil))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := s.Listener().Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answerScripted(conn, s)
			}()
		}
	}()
	t.Cleanup(func() { s.Listener().Close(); <-ended })
	return e
}

// answerScripted is a server as the script has it. Its answers have their data in
// a block of its own, as newer servers write it.
func answerScripted(conn net.Conn, s *conformance.Script) {
	turn, ok := s.Turn()
	if !ok {
		return
	}
	_, pcm, err := request(bufio.NewReader(conn))
	if err != nil {
		return
	}
	answer := func(kind string, data map[string]string) {
		block, _ := json.Marshal(data)
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"type":%q,"version":"1.7.1","data_length":%d}`+"\n%s", kind, len(block), block)
		_, _ = conn.Write(b.Bytes())
	}
	if turn.Status != 0 {
		answer("error", map[string]string{"text": http.StatusText(turn.Status), "code": fmt.Sprint(turn.Status)})
		return
	}
	said, ok := conformance.Utterance(turn, pcm)
	if !ok {
		return
	}
	var text []string
	for _, one := range said {
		if one.Garbage {
			_, _ = fmt.Fprintln(conn, "}{")
			return
		}
		text = append(text, one.Text())
	}
	answer("transcript", map[string]string{"text": strings.Join(text, " ")})
}
