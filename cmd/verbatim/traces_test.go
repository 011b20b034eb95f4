package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is an OpenTelemetry collector.
type spans struct {
	t   *testing.T
	url string
	mu  sync.Mutex
	all []*trace.Span
}

func collect(t *testing.T) *spans {
	c := &spans{t: t}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(b, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%s %s: %v", r.URL.Path, r.Header.Get("Content-Type"), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.all = append(c.all, ss.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// roots are the spans of a name, each with the names of its children in the order
// in which they began. Children lie within their parent and follow each other.
func (c *spans) roots(name string) (roots []*trace.Span, children [][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, root := range c.all {
		if root.Name != name {
			continue
		}
		var names []string
		at := root.StartTimeUnixNano
		for _, s := range c.all {
			if !bytes.Equal(s.ParentSpanId, root.SpanId) {
				continue
			}
			names = append(names, s.Name)
			if s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano || s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano < at {
				c.t.Errorf("%s of %s: %d to %d, in %d to %d, after %d", s.Name, name, s.StartTimeUnixNano, s.EndTimeUnixNano, root.StartTimeUnixNano, root.EndTimeUnixNano, at)
			}
			at = s.EndTimeUnixNano
		}
		roots, children = append(roots, root), append(children, names)
	}
	return roots, children
}

// A join and segments are traced from end to end, the join as a part of the trace
// that its client sends.
func TestTraces(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	c := collect(t)
	s := serve(t, t.TempDir(), "command:"+os.Args[0], "--otlp-endpoint", c.url)
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", s.url).CombinedOutput()
	if err != nil {
		t.Fatalf("publish: %v: %s", err, out)
	}
	const parent = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]int{"00-" + parent + "-00f067aa0ba902b7-01": http.StatusUnsupportedMediaType, "garbage": http.StatusUnsupportedMediaType} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/rooms/r/whip", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
	}
	s.stop() // sends the rest

	joins, steps := c.roots("join")
	if len(joins) != 3 {
		t.Fatalf("%d joins: %v", len(joins), steps)
	}
	var joined, ofParent int
	for i, j := range joins {
		if hex.EncodeToString(j.TraceId) == parent {
			ofParent++
		}
		switch strings.Join(steps[i], ", ") {
		case "negotiate, connect, first packet":
			joined++
			if took := time.Duration(j.EndTimeUnixNano - j.StartTimeUnixNano); took <= 0 || took > time.Minute || j.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
				t.Errorf("the join took %v: %v", took, j.Status)
			}
		case "negotiate":
			if j.Status.GetCode() != trace.Status_STATUS_CODE_ERROR {
				t.Errorf("a refused join is %v", j.Status)
			}
		default:
			t.Errorf("a join has %v", steps[i])
		}
	}
	if joined != 1 || ofParent != 1 {
		t.Errorf("%d joined, %d are of the client's trace", joined, ofParent)
	}
	segments, steps := c.roots("segment")
	for i := range segments {
		if strings.Join(steps[i], ", ") != "arrive, recognize, commit, publish" {
			t.Errorf("a segment has %v", steps[i])
		}
	}
	if len(segments) < 8 {
		t.Errorf("%d segments", len(segments))
	}
}

// A collector that never answers holds up nothing.
func TestTracesGoNowhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts nothing
	s := serve(t, t.TempDir(), "none:", "--otlp-endpoint", "http://"+l.Addr().String())
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "r", "--url", s.url).CombinedOutput()
	if err != nil {
		t.Errorf("publish: %v: %s", err, out)
	}
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the server ended after %v", took)
	}
}

// Of all that could be traced, the part that was asked for is.
func TestTraceRatio(t *testing.T) {
	c := collect(t)
	s := serve(t, t.TempDir(), "none:", "--otlp-endpoint", c.url, "--trace-ratio", "0")
	for range 20 {
		resp, err := http.Post(s.url+"/v1/rooms/r/whip", "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	s.stop()
	if joins, _ := c.roots("join"); len(joins) != 0 {
		t.Errorf("%d of none are traced", len(joins))
	}
}
