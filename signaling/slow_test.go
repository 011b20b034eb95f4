package signaling

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/pipeline/events"
	"verbatim/pipeline/meeting"
)

// reel is a recording without an end, made while it is sent, or kept.
type reel struct{ kept bool }

func (r reel) Mix(context.Context, string) (meeting.Recording, error) {
	if r.kept {
		return meeting.Recording{Kept: nopCloser{strings.NewReader(strings.Repeat("f", 1<<20))}, At: time.Now()}, nil
	}
	return meeting.Recording{Write: func(w io.Writer) error {
		for page := make([]byte, 1000); ; {
			if _, err := w.Write(page); err != nil {
				return err
			}
		}
	}}, nil
}

func (r reel) Opus(ctx context.Context, id, _ string) (meeting.Recording, error) {
	return r.Mix(ctx, id)
}

// pipes is a server's listener within a bubble. Nothing is buffered on the way.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// A client that takes hardly anything of a file is cut off, however it is made; one
// whose line is slow is not.
func TestSlowDownloads(t *testing.T) {
	const flac, wav = "/v1/meetings/m/audio.flac", "/v1/meetings/m/tracks/t/audio.wav"
	for name, c := range map[string]struct {
		path string
		cfg  Config
	}{
		"made": {flac, Config{Recordings: reel{}}},
		"kept": {flac, Config{Recordings: reel{kept: true}}},
		"WAV":  {wav, Config{Transcripts: &tape{samples: 1 << 20}}},
	} {
		for _, line := range []struct {
			name  string
			bytes int64
			every time.Duration
			cut   bool
		}{
			{"a byte a minute", 1, time.Minute, true},
			{"a kilobyte every 10 s", 1 << 10, 10 * time.Second, true},
			{"8 KiB every 10 s", 8 << 10, 10 * time.Second, false},
		} {
			t.Run(name+", "+line.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := c.cfg
					cfg.Logger = slog.New(slog.DiscardHandler)
					s, l := New(cfg), newPipes()
					srv := s.HTTPServer(context.Background())
					ended := make(chan error)
					go func() { ended <- srv.Serve(l) }()
					conn := l.dial()
					if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", c.path); err != nil {
						t.Fatal(err)
					}
					began, read := time.Now(), int64(0)
					var err error
					for err == nil && time.Since(began) < 15*time.Minute {
						var n int64
						n, err = io.CopyN(io.Discard, conn, line.bytes)
						if read += n; err == nil {
							time.Sleep(line.every)
						}
					}
					if cut := err != nil; cut != line.cut {
						t.Errorf("after %v and %d bytes: %v", time.Since(began), read, err)
					}
					if took := time.Since(began); line.cut && took > 3*patience {
						t.Errorf("it took %v until it was cut off", took)
					}
					conn.Close()
					synctest.Wait()
					if n := s.Stats().Used[tooManyDownloads]; n != 0 {
						t.Errorf("%d downloads are counted when there are none", n)
					}
					srv.Close()
					if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
						t.Error(err)
					}
				})
			})
		}
	}
}

// An event stream on which nothing happens stays, over HTTP/1 and HTTP/2.
func TestQuietEvents(t *testing.T) {
	for name, two := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				srv := New(Config{Meetings: noMeetings{}, Events: &events.Hub{}, Logger: slog.New(slog.DiscardHandler)}).HTTPServer(context.Background())
				protocols := new(http.Protocols)
				protocols.SetHTTP1(!two)
				protocols.SetUnencryptedHTTP2(two)
				srv.Protocols = protocols
				ended := make(chan error)
				go func() { ended <- srv.Serve(l) }()
				client := &http.Transport{
					Protocols:   protocols,
					DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial(), nil },
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/v1/rooms/r/events", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if (resp.ProtoMajor == 2) != two {
					t.Error(resp.Proto)
				}
				began, beats := time.Now(), 0
				lines := bufio.NewScanner(resp.Body)
				for time.Since(began) < 5*time.Minute && lines.Scan() {
					if lines.Text() == ": still here" {
						beats++
					}
				}
				if beats != 20 {
					t.Errorf("%d signs of life, then after %v: %v", beats, time.Since(began), lines.Err())
				}
				cancel()
				resp.Body.Close()
				client.CloseIdleConnections()
				srv.Close()
				if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}
