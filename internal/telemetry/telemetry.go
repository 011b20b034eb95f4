// Package telemetry makes OpenTelemetry traces of joins and of segments, and sends
// them to a collector by OTLP over HTTP. It alone knows OpenTelemetry: the parts of
// the server say what happened when, by hooks that are nil while nobody listens, and
// spans are made here afterwards.
//
//	join:    negotiate (offer → answer) · connect (→ ICE and DTLS) · first packet
//	segment: arrive (audio due → at the recognizer) · recognize · commit · publish
//
// Nothing here waits for the collector: spans that are finished go into a bounded
// queue, from which one goroutine sends; what does not fit is dropped. Close sends
// the rest within its deadline.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	queueSize     = 2048            // spans, about 2 MB
	exportTimeout = 5 * time.Second // of one request, with its retries
	exportEvery   = 2 * time.Second
	// maxJoins bounds the joins that are not finished.
	maxJoins = 10_000
)

// Config of a Tracer.
type Config struct {
	// Endpoint is the collector's URL; without a path, /v1/traces. "" means what the
	// standard variables say (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
	// OTEL_EXPORTER_OTLP_ENDPOINT; headers only from OTEL_EXPORTER_OTLP_HEADERS).
	Endpoint string
	// Ratio of traces that are kept, 0 to 1. A client's traceparent that is sampled
	// counts as one of them.
	Ratio   float64
	Version string
	Failed  func(error) // is told of exports that failed
}

// Wanted reports whether there is a collector to send to.
func Wanted(endpoint string) bool {
	return endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
}

// Tracer makes spans. New makes it, whoever made it closes it. Its methods may be
// called by anyone at any time, and wait for nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer

	mu    sync.Mutex // guards joins
	joins map[string]*join
}

// join is one that is under way.
type join struct {
	ctx    context.Context // of its span
	span   trace.Span
	before time.Time // when the last step was done
	done   bool      // connected
}

// CheckEndpoint says what is wrong with a URL for Config.Endpoint. It does not
// repeat it.
func CheckEndpoint(endpoint string) error {
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("the collector is a URL such as http://127.0.0.1:4318")
	}
	return nil
}

// New makes a tracer; it does not ask whether the collector is there.
func New(ctx context.Context, cfg Config) (*Tracer, error) {
	o := []otlptracehttp.Option{otlptracehttp.WithTimeout(exportTimeout), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: exportTimeout,
	})}
	if cfg.Endpoint != "" {
		if err := CheckEndpoint(cfg.Endpoint); err != nil {
			return nil, err
		}
		u, err := url.Parse(cfg.Endpoint)
		if err != nil {
			return nil, errors.New("the collector's URL cannot be read")
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = "/v1/traces"
		}
		if u.User != nil {
			return nil, errors.New("the collector's URL holds a password: give it by OTEL_EXPORTER_OTLP_HEADERS instead")
		}
		o = append(o, otlptracehttp.WithEndpointURL(u.String()))
	}
	exporter, err := otlptracehttp.New(ctx, o...)
	if err != nil {
		return nil, fmt.Errorf("set up the export of traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(reporting{exporter, cfg.Failed},
			sdktrace.WithMaxQueueSize(queueSize), sdktrace.WithBatchTimeout(exportEvery), sdktrace.WithExportTimeout(exportTimeout)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "verbatim"), attribute.String("service.version", cfg.Version))),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("verbatim"), joins: map[string]*join{}}, nil
}

// reporting tells of failures, which the SDK would tell a global handler.
type reporting struct {
	sdktrace.SpanExporter
	failed func(error)
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil && r.failed != nil {
		r.failed(err)
	}
	return nil
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	t.mu.Lock()
	for id, j := range t.joins {
		j.fail(time.Now(), "the server shut down")
		delete(t.joins, id)
	}
	t.mu.Unlock()
	return t.provider.Shutdown(ctx)
}

// Join begins the trace of a WHIP offer that is about to be answered. parent is the
// client's traceparent. Without a session it was refused, and the trace is over.
func (t *Tracer) Join(began, answered time.Time, session string, status int, parent string) {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent})
	ctx, span := t.tracer.Start(ctx, "join", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.Int("http.response.status_code", status)))
	t.step(ctx, "negotiate", began, answered)
	j := &join{ctx: ctx, span: span, before: answered}
	if session == "" {
		j.fail(answered, "refused")
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.joins) >= maxJoins {
		j.fail(answered, "too many joins are under way")
		return
	}
	t.joins[session] = j
}

// Connected says that a session's ICE and DTLS have connected.
func (t *Tracer) Connected(session string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.joins[session]; j != nil && !j.done {
		t.step(j.ctx, "connect", j.before, at)
		j.before, j.done = at, true
	}
}

// FirstPacket says that a session's first audio has come: it has joined.
func (t *Tracer) FirstPacket(session string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.joins[session]; j != nil {
		t.step(j.ctx, "first packet", j.before, at)
		j.span.End(trace.WithTimestamp(at))
		delete(t.joins, session)
	}
}

// Closed says that a session is over, which may be before it has joined.
func (t *Tracer) Closed(session string, at time.Time, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.joins[session]; j != nil {
		j.fail(at, "no audio came: "+why)
		delete(t.joins, session)
	}
}

func (j *join) fail(at time.Time, why string) {
	j.span.SetStatus(codes.Error, why)
	j.span.End(trace.WithTimestamp(at))
}

// Segment is what happened to a piece of transcript, and when.
type Segment struct {
	Track  string // its id
	Engine string
	Due    time.Time // the end of what was said
	Heard  time.Time // when the recognizer had it; zero: not known
	Said   time.Time // when the recognizer answered
	Stored time.Time
	Sent   time.Time // to those who watch
}

// Segment makes the spans of one.
func (t *Tracer) Segment(s Segment) {
	// Where in time something was said is known by the sender's clock, to some
	// milliseconds: one thing after the other, all the same.
	s.Said = earlier(s.Said, s.Stored)
	if !s.Heard.IsZero() {
		s.Heard = earlier(s.Heard, s.Said)
		s.Due = earlier(s.Due, s.Heard)
	}
	s.Due = earlier(s.Due, s.Said)
	ctx, root := t.tracer.Start(context.Background(), "segment", trace.WithTimestamp(s.Due),
		trace.WithAttributes(attribute.String("verbatim.track", s.Track), attribute.String("verbatim.engine", s.Engine)))
	before := s.Due
	if !s.Heard.IsZero() {
		t.step(ctx, "arrive", before, s.Heard)
		before = s.Heard
	}
	t.step(ctx, "recognize", before, s.Said)
	t.step(ctx, "commit", s.Said, s.Stored)
	t.step(ctx, "publish", s.Stored, s.Sent)
	root.End(trace.WithTimestamp(s.Sent))
}

func (t *Tracer) step(ctx context.Context, name string, from, to time.Time) {
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from))
	span.End(trace.WithTimestamp(to))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
