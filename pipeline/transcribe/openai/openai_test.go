package openai

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/internal/tonecode"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/spec"
	"verbatim/pipeline/transcribe/utterance"
)

const secret = "sk-secret-of-the-test"

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serve starts a server in memory and makes a recognizer of it. Both end with
// the test, which must be a bubble.
func serve(t *testing.T, options string, handler http.HandlerFunc) *Recognizer {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(p) }()
	h := host(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if network != "tcp" || addr != "recognizer:8081" {
			t.Errorf("dials %s %s", network, addr)
		}
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	s, err := spec.Parse("openai+http://recognizer:8081/v1" + options)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(s, h)
	if err != nil {
		t.Fatal(err)
	}
	r := e.Recognizer.(*Recognizer)
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		_ = server.Close()
		<-done
		time.Sleep(time.Minute) // Close does not wait for handlers
	})
	return r
}

func host(dial func(ctx context.Context, network, addr string) (net.Conn, error)) transcribe.Host {
	return transcribe.Host{
		Logger: slog.New(slog.DiscardHandler),
		Dial:   dial,
		Getenv: func(name string) string {
			if name == "OPENAI_API_KEY" {
				return secret
			}
			return ""
		},
	}
}

// utter is an utterance of one number.
var utter = utterance.Utterance{PCM: tonecode.Signal(7, 8)}

func TestRequest(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          map[string][]string
	}{
		{"default", "", map[string][]string{
			"model": {"whisper-1"}, "response_format": {"verbose_json"}, "timestamp_granularities[]": {"word", "segment"},
			"prompt": {"words that were said"},
		}},
		{"all", "?model=large-v3&language=de&prompt=Verbatim,+SFU.&response_format=json&context=10", map[string][]string{
			"model": {"large-v3"}, "language": {"de"}, "prompt": {"Verbatim, SFU. were said"}, "response_format": {"json"},
		}},
		{"no context", "?context=0", map[string][]string{
			"model": {"whisper-1"}, "response_format": {"verbose_json"}, "timestamp_granularities[]": {"word", "segment"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := serve(t, c.options, func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodPost || r.URL.Path != "/v1/audio/transcriptions" || r.Header.Get("Authorization") != "Bearer "+secret {
						t.Errorf("%s %s %q", r.Method, r.URL, r.Header)
					}
					if err := r.ParseMultipartForm(1 << 20); err != nil {
						t.Error(err)
					}
					if fmt.Sprint(r.MultipartForm.Value) != fmt.Sprint(c.want) {
						t.Errorf("fields %q, want %q", r.MultipartForm.Value, c.want)
					}
					f, _, err := r.FormFile("file")
					if err != nil {
						t.Fatal(err)
					}
					b, _ := io.ReadAll(f)
					pcm := make([]int16, (len(b)-44)/2)
					if _, err := binary.Decode(b[44:], binary.LittleEndian, pcm); err != nil {
						t.Error(err)
					}
					if string(b[:4]) != "RIFF" || int(binary.LittleEndian.Uint32(b[40:])) != 2*leastAudio || len(pcm) != leastAudio ||
						!slices.Equal(pcm[:len(utter.PCM)], utter.PCM) {
						t.Errorf("a WAV of %d samples: %x", len(pcm), b[:44])
					}
					fmt.Fprint(w, `{"text":"w0007"}`)
				})
				res, err := r.recognize(t.Context(), utter, "words that were said")
				if err != nil || res.Text != "w0007" {
					t.Errorf("%+v, %v", res, err)
				}
			})
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	const refused, retry, failed = "refused", "retry", "failed"
	for _, c := range []struct {
		name   string
		code   int
		header string // Retry-After
		body   string
		kind   string
		after  time.Duration
		want   string
	}{
		{"400", 400, "", `{"error":{"message":"Audio file is too short","type":"invalid_request_error"}}`, refused, 0, "400 Bad Request: Audio file is too short"},
		{"413", 413, "", `too large`, refused, 0, "too large"},
		{"422 of FastAPI", 422, "", `{"detail":[{"loc":["body","file"],"msg":"bad file"}]}`, refused, 0, "bad file"},
		{"401", 401, "", `{"error":{"message":"Incorrect API key provided: sk-sec***test"}}`, retry, 30 * time.Second, "OPENAI_API_KEY"},
		{"403", 403, "", secret, retry, 30 * time.Second, "does not take the key"},
		{"404", 404, "", `File Not Found (/v1/audio/transcriptions)`, retry, 30 * time.Second, "is the URL right"},
		{"a redirect", 302, "", ``, retry, 30 * time.Second, "is the URL right"},
		{"402", 402, "", `{"detail":"pay"}`, retry, 30 * time.Second, "pay"},
		{"429", 429, "", `{"error":{"message":"Rate limit reached"}}`, retry, 5 * time.Second, "Rate limit reached"},
		{"429 that says when", 429, "17", ``, retry, 17 * time.Second, "(nothing)"},
		{"429 that says when, by the clock", 429, "Sat, 01 Jan 2000 00:02:00 GMT", ``, retry, 2 * time.Minute, "429"},
		{"503", 503, "", `{"status":"loading model"}`, failed, 0, "loading model"},
		{"503 that says when", 503, "1.5", ``, retry, 1500 * time.Millisecond, "503"},
		{"500", 500, "", `{"message":"` + secret + `"}`, failed, 0, "500 Internal Server Error: (the key)"},
		{"408", 408, "", ``, failed, 0, "408"},
		{"an error under 200", 200, "", `{"error":"failed to process audio of ` + secret + `"}`, failed, 0, "failed to process audio of (the key)"},
		{"garbage", 200, "", "\x00\xff", failed, 0, "not as expected"},
		{"an error beside text", 200, "", `{"error":{"message":"out of memory"},"text":"sk-sec"}`, failed, 0, "out of memory"},
		{"what was said, in another form", 200, "", `{"text":["sk-sec"]}`, failed, 0, "not shown"},
		{"what was said, cut off", 200, "", `{"segments":[{"words":[{"word":"sk-sec`, failed, 0, "not shown"},
		{"too long", 200, "", strings.Repeat(" ", maxBody+1), failed, 0, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
					if c.header != "" {
						w.Header().Set("Retry-After", c.header)
					}
					w.WriteHeader(c.code)
					_, _ = io.WriteString(w, c.body)
				})
				res, err := r.recognize(t.Context(), utter, "")
				var e *utterance.RefusedError
				var re *transcribe.RetryError
				switch {
				case err == nil:
					t.Fatalf("no error: %+v", res)
				case errors.As(err, &e) != (c.kind == refused), errors.As(err, &re) != (c.kind == retry):
					t.Errorf("%T %v, want %s", err, err, c.kind)
				case re != nil && re.After != c.after:
					t.Errorf("try again after %v, want %v", re.After, c.after)
				case !strings.Contains(err.Error(), c.want):
					t.Errorf("error %q does not say %q", err, c.want)
				}
				if strings.Contains(err.Error(), "sk-sec") {
					t.Errorf("the key is in %q", err)
				}
			})
		})
	}
}

// A server that knows no verbose_json is asked for it once.
func TestFallsBackToPlainJSON(t *testing.T) {
	for _, body := range []string{
		`{"error":{"message":"response_format 'verbose_json' is not compatible with model 'gpt-4o-transcribe'.","param":"response_format"}}`,
		`{"detail":"timestamp_granularities is not supported"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			r := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
				if asked++; r.FormValue("response_format") != "json" {
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprint(w, body)
					return
				}
				fmt.Fprint(w, `{"text":"w0007"}`)
			})
			for range 3 {
				if res, err := r.recognize(t.Context(), utter, ""); err != nil || res.Text != "w0007" {
					t.Fatalf("%+v, %v", res, err)
				}
			}
			if asked != 4 {
				t.Errorf("%d requests for 3 utterances", asked)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}},
		{"half an answer", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, `{"text":`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"reads nothing", func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := serve(t, "?timeout=7s", c.handler)
				began := time.Now()
				_, err := r.recognize(t.Context(), utter, "")
				if err == nil || !strings.Contains(err.Error(), "within 7s (option timeout)") || time.Since(began) != 7*time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestCutConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"text":`)
			panic(http.ErrAbortHandler)
		})
		_, err := r.recognize(t.Context(), utter, "")
		if err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("error %v", err)
		}
	})
}

// A connection that the server has closed in between is no failure.
func TestClosedIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 2 {
				panic(http.ErrAbortHandler) // before a word of the answer
			}
			fmt.Fprint(w, `{"text":"w0007"}`)
		})
		for range 2 {
			if _, err := r.recognize(t.Context(), utter, ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if asked != 3 {
			t.Errorf("%d requests", asked)
		}
	})
}

// No more requests than are allowed are under way, and who comes first is
// served first.
func TestRequestsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most int
		var served []string
		turns := make(chan struct{}, 1)
		turns <- struct{}{}
		r := serve(t, "?requests=2&response_format=json", func(w http.ResponseWriter, r *http.Request) {
			<-turns
			under++
			most = max(most, under)
			served = append(served, r.FormValue("prompt"))
			turns <- struct{}{}
			time.Sleep(time.Second)
			<-turns
			under--
			turns <- struct{}{}
			fmt.Fprint(w, `{"text":"a"}`)
		})
		var want []string
		done := make(chan error)
		for i := range 9 {
			name := fmt.Sprint("utterance ", i)
			want = append(want, name)
			go func() {
				_, err := r.recognize(t.Context(), utter, name)
				done <- err
			}()
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		for range want {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if most != 2 || !slices.Equal(served, want) {
			t.Errorf("%d at once, served %q", most, served)
		}
	})
}

func TestOptions(t *testing.T) {
	h := host(nil)
	for _, c := range []struct{ text, want string }{
		{"openai+http://127.0.0.1:8081/v1?model=tiny&streams=3", ""},
		{"openai+https://api.openai.com/v1/", ""},
		{"openai+http://127.0.0.1:8081/v1?modl=x", `no option "modl", there are: context, key_env, key_file, language, longest, model, prompt, requests, response_format, streams, timeout`},
		{"openai+http://127.0.0.1:8081/v1?response_format=text", "verbose_json or json"},
		{"openai+http://127.0.0.1:8081/v1?longest=10m", "at most 5m0s"},
		{"openai+http://127.0.0.1:8081/v1?requests=0", "requests"},
		{"openai+http://?model=x", "no host"},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, err := spec.Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			e, err := New(s, h)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %s", err, c.want)
				}
				return
			}
			if err != nil || !strings.HasPrefix(e.Name, "openai:") {
				t.Errorf("%+v, %v", e, err)
			}
			if u := e.Recognizer.(*Recognizer).url; !strings.HasSuffix(u, "/v1/audio/transcriptions") {
				t.Errorf("URL %s", u)
			}
		})
	}
}
