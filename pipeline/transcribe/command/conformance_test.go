package command

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/conformance"
)

// scriptEnv is the address of the script that a child plays.
const scriptEnv = "COMMAND_TEST_SCRIPT"

// scripted is a recognizer that does what the test says: its input goes there,
// and what comes from there is its output. It fails if that ends early.
func scripted() int {
	c, err := net.Dial("tcp", os.Getenv(scriptEnv))
	if err != nil {
		return 4
	}
	conn := c.(*net.TCPConn)
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.CloseWrite()
	}()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if lines.Text() == "bye" {
			return 0
		}
		fmt.Println(lines.Text())
	}
	fmt.Fprintln(os.Stderr, "the script says so")
	return 3
}

// A final that a process leaves out means silence; so it goes silent instead.
func TestConformance(t *testing.T) {
	conformance.Run(t, startScripted, conformance.Options{
		RealTime: true, Interims: true,
		As: map[conformance.Fault]conformance.Fault{conformance.Never: conformance.Silent},
	})
}

func startScripted(t *testing.T, s *conformance.Script) transcribe.Engine {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if !s.Refused() { // it cannot start
					playScript(c, s)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	r, err := NewRecognizer([]string{os.Args[0]}, Options{
		Logger: s.Host(nil).Logger,
		Env:    []string{roleEnv + "=scripted", scriptEnv + "=" + l.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return transcribe.Engine{Recognizer: r, Name: "command"}
}

// playScript is one process.
func playScript(c net.Conn, s *conformance.Script) {
	turn, ok := s.Turn()
	if !ok || turn.Status != 0 { // a process has no status but that it exits
		return
	}
	in := bufio.NewReader(c)
	buf := make([]byte, 2*audio.FrameRate/50)
	for {
		n, err := io.ReadFull(in, buf)
		pcm := make([]int16, n/2)
		_, _ = binary.Decode(buf[:n], binary.LittleEndian, pcm)
		said, alive := turn.Hear(pcm)
		ended := err != nil
		if alive && ended {
			var rest []conformance.Said
			rest, alive = turn.Finish()
			said = append(said, rest...)
		}
		if !alive {
			return
		}
		for _, one := range said {
			fmt.Fprintln(c, line(one))
		}
		if ended {
			fmt.Fprintln(c, "bye")
			return
		}
	}
}

// line is what a process writes.
func line(s conformance.Said) string {
	if s.Garbage {
		return "}{"
	}
	type word struct {
		Text  string  `json:"text"`
		Start float64 `json:"start"`
		End   float64 `json:"end"`
	}
	seconds := func(samples int64) float64 { return float64(samples) / audio.FrameRate }
	m := struct {
		Type  string  `json:"type"`
		Start float64 `json:"start"`
		End   float64 `json:"end"`
		Text  string  `json:"text"`
		Words []word  `json:"words"`
	}{"interim", seconds(s.From), seconds(s.To), s.Text(), nil}
	if s.Final {
		m.Type = "final"
	}
	for _, w := range s.Words {
		m.Words = append(m.Words, word{w.Text, seconds(w.Start), seconds(w.End)})
	}
	if len(m.Words) > 0 {
		m.Start = m.Words[0].Start
	}
	b, _ := json.Marshal(m)
	return string(b)
}
