package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"verbatim/pipeline/transcribe"
)

// The environment of a child: which recognizer it plays, and an address that it
// stays connected to as long as it lives.
const (
	roleEnv  = "COMMAND_TEST_ROLE"
	aliveEnv = "COMMAND_TEST_ALIVE"
)

// TestMain is the tests, or one of the recognizers that they start.
func TestMain(m *testing.M) {
	role, ok := os.LookupEnv(roleEnv)
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	if addr := os.Getenv(aliveEnv); addr != "" {
		if _, err := net.Dial("tcp", addr); err != nil {
			panic(err)
		}
	}
	os.Exit(roles[role]())
}

// roles are recognizers. They return their exit code.
var roles = map[string]func() int{
	"scripted": scripted,
	// A final for every second of audio and for what is left at its end.
	"good": func() int {
		second := make([]byte, 2*16000)
		for n := 0; ; n++ {
			k, err := io.ReadFull(os.Stdin, second)
			if k > 0 {
				fmt.Printf(`{"type":"interim","start":%d,"end":%d,"text":"i%d"}`+"\n", n, n+1, n)
				fmt.Printf(`{"type":"final","start":%d,"end":%g,"text":"f%d of %d"}`+"\n", n, float64(n)+float64(k)/32000, n, int8(second[0]))
			}
			if err != nil {
				return 0
			}
		}
	},
	"dies": func() int {
		readSecond()
		fmt.Println(`{"type":"final","start":0,"end":1,"text":"a"}`)
		fmt.Fprint(os.Stderr, strings.Repeat("chatter\n", 20)+"out of memory\n")
		return 7
	},
	"dies in a line": func() int {
		fmt.Print(`{"type":"final","sta`)
		return 7
	},
	"fails at the end": func() int {
		consume()
		fmt.Println(`{"type":"final","start":0,"end":1,"text":"a"}`)
		fmt.Fprintln(os.Stderr, "cannot flush")
		return 5
	},
	"exits early": func() int { readSecond(); return 0 },
	"hangs":       hang,
	"hangs at the end": func() int {
		consume()
		return hang()
	},
	"garbage": func() int { fmt.Println("Loading model..."); return hang() },
	"huge":    func() int { fmt.Print(strings.Repeat("x", 2*maxLine)); return hang() },
	"no newline": func() int {
		consume()
		fmt.Print(`{"type":"final","start":0,"end":1,"text":"last"}`)
		return 0
	},
	"floods": func() int {
		for {
			fmt.Println(`{"type":"interim","start":0,"end":1,"text":"again"}`)
		}
	},
	"closes stdout": func() int { _ = os.Stdout.Close(); return hang() },
	"closes stdin":  func() int { _ = os.Stdin.Close(); return hang() },
	// Leaves a child behind that holds all its pipes.
	"leaves a child": func() int {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), roleEnv+"=hangs")
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			panic(err)
		}
		consume()
		fmt.Println(`{"type":"final","start":0,"end":1,"text":"a"}`)
		return 0
	},
	"tells its environment": func() int {
		consume()
		fmt.Printf(`{"type":"final","start":0,"end":1,"text":"%s/%s/%s"}`+"\n", os.Getenv("ENGINE_KEY"), os.Getenv("VERBATIM_TEST_SECRET"), os.Args[len(os.Args)-1])
		return 0
	},
	// A server with a stream open, for the test that kills it.
	"server": func() int {
		r, err := NewRecognizer([]string{os.Args[0]}, Options{Env: []string{roleEnv + "=hangs", aliveEnv + "=" + os.Getenv("SERVER_ALIVE")}})
		if err == nil {
			_, err = r.Open(context.Background(), transcribe.Options{})
		}
		if err != nil {
			panic(err)
		}
		return hang()
	},
}

func consume() { _, _ = io.Copy(io.Discard, os.Stdin) }

func readSecond() { _, _ = io.ReadFull(os.Stdin, make([]byte, 2*16000)) }

// hang neither reads nor writes nor heeds SIGTERM and SIGINT.
func hang() int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	for range c {
	}
	return 0
}
