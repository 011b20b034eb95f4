package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"verbatim/internal/metrics"
	"verbatim/internal/telemetry"
	"verbatim/media/audio"
	"verbatim/pipeline"
	"verbatim/signaling"
)

// traceFlags are about OpenTelemetry.
type traceFlags struct {
	OTLPEndpoint string  `name:"otlp-endpoint" help:"URL of an OpenTelemetry collector (OTLP over HTTP) that gets traces of joins and of segments, such as http://127.0.0.1:4318. OTEL_EXPORTER_OTLP_ENDPOINT and its kin do as well; headers with keys belong into OTEL_EXPORTER_OTLP_HEADERS." placeholder:"URL" secret:"url" group:"Operations"`
	TraceRatio   float64 `help:"Which part of joins and segments is traced, from 0 to 1; a join whose client is traced (traceparent) is, too." default:"1" group:"Operations"`
}

func (f *traceFlags) wanted() bool { return telemetry.Wanted(f.OTLPEndpoint) }

// Check implements checker.
func (f *traceFlags) Check(context.Context) (err error) {
	if f.OTLPEndpoint != "" {
		err = telemetry.CheckEndpoint(f.OTLPEndpoint)
	}
	if err == nil && !(f.TraceRatio >= 0 && f.TraceRatio <= 1) {
		return errors.New("--trace-ratio: a number from 0 to 1")
	}
	if err != nil {
		return fmt.Errorf("--otlp-endpoint: %w", err)
	}
	return nil
}

// trace begins to trace, if that is wanted, and to count joins.
func (s *server) trace(ctx context.Context, f *traceFlags) (closeIt func(), err error) {
	s.joins = joins{counts: metrics.NewJoins(), open: map[string]time.Time{}}
	if err := f.Check(ctx); err != nil {
		return nil, err
	}
	if !f.wanted() {
		return func() {}, nil
	}
	seldom := rate.Sometimes{Interval: time.Minute}
	s.joins.tracer, err = telemetry.New(ctx, telemetry.Config{
		Endpoint: f.OTLPEndpoint, Ratio: f.TraceRatio, Version: version(),
		Failed: func(err error) {
			if u := new(url.Error); errors.As(err, &u) {
				err = u.Err // the URL may hold what is secret
			}
			seldom.Do(func() { s.log.Warn("traces cannot be sent, and are dropped", "err", err) })
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := s.joins.tracer.Close(ctx); err != nil {
			s.log.Log(ctx, slog.LevelDebug, "the last traces were not sent")
		}
	}, nil
}

// segmentHook is the pipeline's, nil if nothing is traced.
func (s *server) segmentHook() func(pipeline.Times) {
	t := s.joins.tracer
	if t == nil {
		return nil
	}
	return func(m pipeline.Times) {
		t.Segment(telemetry.Segment{Track: m.Track, Engine: m.Engine, Due: m.Due, Heard: m.Heard, Said: m.Said, Stored: m.Stored, Sent: m.Sent})
	}
}

// joins follows each WHIP session until its first audio.
type joins struct {
	counts *metrics.Joins
	tracer *telemetry.Tracer // nil: nothing is traced

	mu   sync.Mutex           // guards open
	open map[string]time.Time // when the offers of those came that nothing was heard of
}

// begun is signaling's hook.
func (j *joins) begun(o signaling.Join) {
	now := time.Now()
	if j.tracer != nil {
		j.tracer.Join(o.Began, now, o.Session, o.Status, o.Parent)
	}
	switch {
	case o.Session != "":
		j.mu.Lock()
		defer j.mu.Unlock()
		j.open[o.Session] = o.Began
	case o.Status >= http.StatusInternalServerError:
		j.counts.Unavailable.Inc()
	default:
		j.counts.Refused.Inc()
	}
}

// connected is the media engine's hook.
func (j *joins) connected(session string) {
	if j.tracer != nil {
		j.tracer.Connected(session, time.Now())
	}
}

// heard says that a session's first audio came.
func (j *joins) heard(session string) {
	now := time.Now()
	if began, ok := j.take(session); ok {
		j.counts.Joined.Inc()
		j.counts.Seconds.Observe(now.Sub(began).Seconds())
	}
	if j.tracer != nil {
		j.tracer.FirstPacket(session, now)
	}
}

// closed says that a session is over.
func (j *joins) closed(session string, r audio.Reason) {
	if _, ok := j.take(session); ok {
		j.counts.Silent.Inc()
	}
	if j.tracer != nil {
		j.tracer.Closed(session, time.Now(), r.String())
	}
}

func (j *joins) take(session string) (began time.Time, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	began, ok = j.open[session]
	delete(j.open, session)
	return began, ok
}
