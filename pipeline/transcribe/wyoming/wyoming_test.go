package wyoming

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

// engine makes a recognizer whose connections are served in memory.
func engine(t *testing.T, options string, serve func(conn net.Conn)) *Recognizer {
	t.Helper()
	s, err := spec.Parse("wyoming+tcp://recognizer" + options)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(s, transcribe.Host{
		Logger: slog.New(slog.DiscardHandler),
		Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
			if network != "tcp" || addr != "recognizer:10300" {
				t.Errorf("dials %s %s", network, addr)
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				serve(theirs)
			}()
			return ours, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.Recognizer.(*Recognizer)
}

// request is what a client sent: the events in short, and the audio.
func request(r *bufio.Reader) (said string, pcm []int16, err error) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return said, pcm, err
		}
		var e struct {
			Type    string          `json:"type"`
			Data    json.RawMessage `json:"data"`
			Payload int             `json:"payload_length"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return said, pcm, err
		}
		payload := make([]byte, e.Payload)
		if _, err := io.ReadFull(r, payload); err != nil {
			return said, pcm, err
		}
		if e.Type != "audio-chunk" || len(pcm) == 0 {
			said += e.Type + string(e.Data) + " "
		}
		audio := make([]int16, e.Payload/2)
		if _, err := binary.Decode(payload, binary.LittleEndian, audio); err != nil {
			return said, pcm, err
		}
		if pcm = append(pcm, audio...); e.Type == "audio-stop" {
			return strings.TrimSpace(said), pcm, nil
		}
	}
}

var utter = utterance.Utterance{PCM: tonecode.Signal(7, 15)[:10001]}

func TestRequest(t *testing.T) {
	const format = `{"rate":16000,"width":2,"channels":1}`
	for _, c := range []struct{ options, want string }{
		{"", `{}`},
		{"?language=de&model=large", `{"name":"large","language":"de"}`},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := engine(t, c.options, func(conn net.Conn) {
				said, pcm, err := request(bufio.NewReader(conn))
				want := "transcribe" + c.want + " audio-start" + format + " audio-chunk" + format + " audio-stop{}"
				if err != nil || said != want || !slices.Equal(pcm, utter.PCM) {
					t.Errorf("%v: %d samples with %s, want %s", err, len(pcm), said, want)
				}
				fmt.Fprintln(conn, `{"type":"transcript","data":{"text":" w0007"}}`)
			})
			if res, err := r.recognize(t.Context(), utter, "before"); err != nil || res.Text != " w0007" {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	block := `{"text":"Hello","language":"en"}`
	for _, c := range []struct {
		name, answer string
		text, err    string
		refused      bool
	}{
		{"data in the line", `{"type":"transcript","data":{"text":"Hello"},"version":"1.0"}` + "\n", "Hello", "", false},
		{"data behind it", fmt.Sprintf(`{"type":"transcript","version":"1.7.1","data_length":%d}`+"\n%s", len(block), block), "Hello", "", false},
		{"data in both", fmt.Sprintf(`{"type":"transcript","data":{"text":"a"},"data_length":%d}`+"\n%s", len(block), block), "Hello", "", false},
		{
			"other events before", `{"type":"info","data":{"asr":[]},"payload_length":3}` + "\nabc\n" + `{"type":"transcript-chunk","data":{"text":"He"}}` + "\n" +
				`{"type":"transcript","data":{"text":"Hello"}}` + "\n", "Hello", "", false,
		},
		{"silence", `{"type":"transcript","data":{"text":""}}` + "\n", "", "", false},
		{"no text", `{"type":"transcript","data":{}}` + "\n", "", "without text", false},
		{"an error", `{"type":"error","data":{"text":"no model","code":"x"}}` + "\n", "", "no model, x", true},
		{"closed", ``, "", "before the transcript", false},
		{"cut off", `{"type":"transcri`, "", "unexpected EOF", false},
		{"cut off in its data", `{"type":"transcript","data_length":10}` + "\n{", "", "unexpected EOF", false},
		{"cut off in its payload", `{"type":"info","payload_length":10}` + "\n{", "", "unexpected EOF", false},
		{"garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", "", "no event", false},
		{"garbage as data", `{"type":"transcript","data_length":3}` + "\n{a}", "", "data that is none", false},
		{"no type", `{}` + "\n", "", "an event of type", false},
		{"too much data", `{"type":"transcript","data_length":100000000}` + "\n", "", "100000000 bytes", false},
		{"less than none", `{"type":"transcript","payload_length":-1}` + "\n", "", "-1 of payload", false},
		{"a long line", strings.Repeat("x", maxLine+10), "", "a line of more than", false},
		{"events without end", strings.Repeat(`{"type":"pong"}`+"\n", maxEvents+1), "", "no transcript", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, early := range []bool{false, true} { // before it has read the request
				synctest.Test(t, func(t *testing.T) {
					r := engine(t, "", func(conn net.Conn) {
						if !early {
							if _, _, err := request(bufio.NewReader(conn)); err != nil {
								t.Error(err)
							}
						}
						_, _ = io.WriteString(conn, c.answer)
					})
					res, err := r.recognize(t.Context(), utter, "")
					var refused *utterance.RefusedError
					if res.Text != c.text || (err != nil) != (c.err != "") || errors.As(err, &refused) != c.refused {
						t.Fatalf("%+v, error %v", res, err)
					}
					if err != nil && !strings.Contains(err.Error(), c.err) {
						t.Errorf("error %v, want %s", err, c.err)
					}
				})
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(conn net.Conn)
	}{
		{"no answer", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }},
		{"reads nothing", func(net.Conn) { time.Sleep(time.Minute) }},
		{"half an answer", func(conn net.Conn) {
			go fmt.Fprint(conn, `{"type":`)
			_, _ = io.Copy(io.Discard, conn)
		}},
		{"blank lines", func(conn net.Conn) {
			for {
				if _, err := fmt.Fprintln(conn); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := engine(t, "?timeout=7s", c.serve)
				began := time.Now()
				_, err := r.recognize(t.Context(), utter, "")
				if err == nil || !strings.Contains(err.Error(), "within 7s (option timeout)") || time.Since(began) != 7*time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := r.recognize(ctx, utter, ""); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				time.Sleep(time.Hour) // the server ends
			})
		})
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ text, name, addr, want string }{
		{"wyoming+tcp://127.0.0.1:10301?model=tiny", "wyoming:tiny", "127.0.0.1:10301", ""},
		{"wyoming+tcp://[::1]/", "wyoming", "[::1]:10300", ""},
		{"wyoming+tcp://host?lang=en", "", "", `no option "lang", there are: language, longest, model, requests, streams, timeout`},
		{"wyoming+tcp://host/asr", "", "", "no use for /asr"},
		{"wyoming+tcp://host?longest=1h", "", "", "at most"},
		{"wyoming+tcp:", "", "", "no host"},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, err := spec.Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			e, err := New(s, transcribe.Host{})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %s", err, c.want)
				}
				return
			}
			if err != nil || e.Name != c.name || e.Recognizer.(*Recognizer).addr != c.addr {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func FuzzReadEvent(f *testing.F) {
	f.Add([]byte(`{"type":"transcript","data":{"text":"a"},"data_length":12,"payload_length":2}` + "\n" + `{"text":"b"}` + "ab"))
	f.Add([]byte("\n\n{\"type\":\"error\",\"data\":{\"text\":\"a\",\"code\":null}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			e, err := readEvent(r)
			if err != nil {
				return
			}
			if e.kind == "" {
				t.Error("an event without a type")
			}
			e.data.message()
		}
	})
}
