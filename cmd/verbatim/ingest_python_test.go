//go:build pocketsphinx

package main

import (
	"cmp"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// proxy stands between a client and servers that come and go.
type proxy struct {
	l net.Listener

	mu    sync.Mutex // guards what follows
	to    string     // empty: nobody is there
	conns []net.Conn
}

func newProxy(t *testing.T) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			s, err := net.Dial("tcp", p.to)
			if err != nil {
				_ = c.Close()
				p.mu.Unlock()
				continue
			}
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut("")
		wg.Wait()
	})
	return p
}

// cut breaks all connections; new ones go to another address.
func (p *proxy) cut(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns, p.to = nil, strings.TrimPrefix(to, "http://")
}

// The example of docs/INGEST.md, which needs python3-websockets: neither broken
// connections nor a server that is killed cost it a sample.
func TestExampleIngest(t *testing.T) {
	p := newProxy(t)
	data := t.TempDir()
	s := serve(t, data, "none:")
	p.cut(s.url)
	const file = "../../internal/speech/sas-0870.wav"
	python := cmp.Or(os.Getenv("PYTHON"), "/usr/bin/python3") // Debian's modules belong to its own
	cmd := exec.CommandContext(t.Context(), python, "../../examples/ingest.py", "--room", "r", "--url", "ws://"+p.l.Addr().String(), file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, ms := range []int64{1000, 2500} {
		s.until("audio", func(m meeting.Meeting) bool { return m.Coverage.DurationMS >= ms })
		p.cut(s.url)
	}
	s.until("audio", func(m meeting.Meeting) bool { return m.Coverage.DurationMS >= 4000 })
	s.kill()
	s = serve(t, data, "none:")
	p.cut(s.url)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	pcm := speech.PCM("sas-0870")
	if took := time.Since(began); took < time.Duration(len(pcm))*time.Second/16000 {
		t.Errorf("%d samples were sent in %v", len(pcm), took)
	}
	m := s.complete("both tracks")
	if len(m.Tracks) != 2 || m.Participants[0].Name != "Python" {
		t.Fatalf("meeting %+v: %s", m, &out)
	}
	before, after := s.wav(m, 0), s.wav(m, 1)
	// Written when the server died, and not acknowledged: a write every 0.5 s, a
	// sync 1 to 1.5 s after the last, an ack a second.
	again := len(before) + len(after) - len(pcm)
	t.Logf("%d samples, then %d; %d twice: %s", len(before), len(after), again, &out)
	if again < 0 || again > 4*16000 || !slices.Equal(before, pcm[:len(before)]) || !slices.Equal(after, pcm[len(pcm)-len(after):]) {
		t.Errorf("%d samples, then %d, of %d: not what was sent", len(before), len(after), len(pcm))
	}
	s.stop()
}
