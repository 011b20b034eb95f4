package socket

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"verbatim/pipeline/transcribe"
)

// serve serves one connection in memory and returns a Server that leads there.
// It ends with the test.
func serve(t *testing.T, h http.HandlerFunc) *Server {
	theirs := make(chan net.Conn, 4)
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	l := &listener{theirs, make(chan struct{})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return NewServer("ws://test/path", transcribe.Host{Dial: func(context.Context, string, string) (net.Conn, error) {
		a, b := net.Pipe()
		t.Cleanup(func() { b.Close() })
		theirs <- b
		return a, nil
	}})
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { close(l.closed); return nil }
func (l *listener) Addr() net.Addr { return &net.UnixAddr{} }

// accepted is a server that goes on with a WebSocket.
func accepted(t *testing.T, h func(ws *websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		h(ws)
	}
}

// silent hears nothing in any message.
var silent = Protocol{Hear: func([]byte) ([]transcribe.Result, bool, error) { return nil, false, nil }}

func TestRefusals(t *testing.T) {
	const secret = "secret-key"
	for _, c := range []struct {
		name, retryAfter string
		status           int
		body, want       string
		after            time.Duration
	}{
		{"busy", "7", 429, "too many", "429 too many requests: too many", 7 * time.Second},
		{"busy until", "Sat, 01 Jan 2000 00:01:00 GMT", 503, "", "503 service unavailable", time.Minute},
		{"busy for ever", "99999999999", 429, "", "429", maxRetryAfter},
		{"busy for no time", "-5", 429, "", "429", 0},
		{"busy, soon", "soon", 429, "", "429", 0},
		{"broken", "", 500, "<html>\n\n oops", "500 internal server error: <html> oops", 0},
		{"a key that is wrong", "", 401, "no such key: " + secret, "no such key: …", Person},
		{"no money", "", 402, "", "402 payment required", Person},
		{"forbidden", "", 403, strings.Repeat("x", 2000), "xxx…", Person},
		{"elsewhere", "", 307, "", "307", 0},
		{"no WebSocket", "", 200, "hello", "200 ok: hello", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					asked++
					w.Header().Set("Location", "/elsewhere")
					if c.retryAfter != "" {
						w.Header().Set("Retry-After", c.retryAfter)
					}
					w.WriteHeader(c.status)
					io.WriteString(w, c.body)
				})
				_, err := s.Open(t.Context(), http.Header{"Authorization": {secret}}, secret, silent)
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) || len(err.Error()) > 300 {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				var retry *transcribe.RetryError
				if errors.As(err, &retry) != (c.after > 0) || c.after > 0 && retry.After != c.after {
					t.Errorf("retry %+v, want after %v", retry, c.after)
				}
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

func TestHandshakeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		s := serve(t, func(http.ResponseWriter, *http.Request) { <-over })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Open(ctx, nil, "", silent); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(over)
	})
}

// An open stream lives on when the context of its opening has ended.
func TestIdleConnections(t *testing.T) {
	t.Run("are kept alive by a message", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var heard []string
			over := make(chan struct{})
			s := serve(t, accepted(t, func(ws *websocket.Conn) {
				defer close(over)
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					kind, b, err := ws.Read(ctx)
					cancel()
					if err != nil {
						return
					}
					heard = append(heard, kind.String()+" "+string(b))
				}
			}))
			p := silent
			p.KeepAlive, p.KeepAfter = "here", 4*time.Second
			ctx, cancel := context.WithCancel(t.Context())
			stream, err := s.Open(ctx, nil, "", p)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			time.Sleep(2 * time.Second)
			if err := stream.Binary(t.Context(), []byte("audio")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if err := stream.Close(); err != nil {
				t.Error(err)
			}
			<-over
			if len(heard) != 15 || heard[0] != "MessageBinary audio" || heard[1] != "MessageText here" {
				t.Errorf("%d messages: %q", len(heard), heard)
			}
		})
	})
	t.Run("are pinged", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, accepted(t, func(ws *websocket.Conn) { ws.Read(context.Background()) }))
			stream, err := s.Open(t.Context(), nil, "", silent)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			if err := stream.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("are noticed when they are dead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			over := make(chan struct{})
			s := serve(t, accepted(t, func(*websocket.Conn) { <-over }))
			stream, err := s.Open(t.Context(), nil, "", silent)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if _, open := <-stream.Results(); open {
				t.Error("a result")
			}
			if d := time.Since(begin); d > 2*pingAfter {
				t.Errorf("after %v", d)
			}
			if err := stream.Close(); err == nil {
				t.Error("it is not noticed")
			}
			close(over)
		})
	})
}

func TestEnds(t *testing.T) {
	// open opens a stream to a server that does do.
	open := func(t *testing.T, p Protocol, do func(ws *websocket.Conn)) *Stream {
		stream, err := serve(t, accepted(t, do)).Open(t.Context(), nil, "", p)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	echo := Protocol{Hear: func(b []byte) ([]transcribe.Result, bool, error) {
		return []transcribe.Result{{Text: string(b)}}, string(b) == "bye", nil
	}}
	t.Run("the server says why it closes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, silent, func(ws *websocket.Conn) { ws.Close(websocket.StatusPolicyViolation, "DATA-0000") })
			<-s.Over()
			err := s.Text(t.Context(), []byte("x"))
			var retry *transcribe.RetryError
			if !errors.As(err, &retry) || !strings.Contains(err.Error(), "1008 DATA-0000") || !errors.Is(s.Close(), err) {
				t.Error(err)
			}
		})
	})
	t.Run("a message is too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, silent, func(ws *websocket.Conn) {
				ws.Write(context.Background(), websocket.MessageText, make([]byte, maxMessage+1))
				ws.Read(context.Background())
			})
			<-s.Over()
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "limited") {
				t.Error(err)
			}
		})
	})
	t.Run("everything is said, and more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, echo, func(ws *websocket.Conn) {
				for _, m := range []string{"a", "bye", "b"} {
					ws.Write(context.Background(), websocket.MessageText, []byte(m))
				}
				ws.Read(context.Background()) // it does not close
			})
			begin := time.Now()
			var got []string
			for r := range s.Results() {
				got = append(got, r.Text)
			}
			if strings.Join(got, " ") != "a bye b" || time.Since(begin) > farewell {
				t.Errorf("%q after %v", got, time.Since(begin))
			}
			if err := errors.Join(s.Wait(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
			if err := s.Text(t.Context(), nil); !errors.Is(err, ErrEnded) {
				t.Error(err)
			}
		})
	})
	t.Run("nobody takes the results", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, echo, func(ws *websocket.Conn) {
				for range 2 * resultRoom {
					if ws.Write(context.Background(), websocket.MessageText, []byte("a")) != nil {
						return
					}
				}
			})
			time.Sleep(time.Second)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("closed while a write blocks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			over := make(chan struct{})
			s := open(t, silent, func(*websocket.Conn) { <-over })
			time.AfterFunc(time.Second, func() { s.Close() })
			if err := s.Binary(t.Context(), make([]byte, 1<<20)); !errors.Is(err, errClosed) {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			close(over)
		})
	})
	t.Run("a write that blocks has a deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			over := make(chan struct{})
			s := open(t, silent, func(*websocket.Conn) { <-over })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Binary(ctx, make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			s.Close()
			close(over)
		})
	})
	t.Run("what is waited for does not come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, silent, func(ws *websocket.Conn) { ws.Read(context.Background()) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			s.Close()
		})
	})
}
